/* Log streams: one pipe each, held by one descriptor that is both its ends, and what the logger is
 * told of them. A dropped stream keeps its row until its last byte has been taken. */
#include "keeper.h"

static struct outbox *const box = &boxes[LOGGER];

static int make_pipe(void) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK)) return -1;
    int both = reopen(ends[0], O_RDWR | O_NONBLOCK);
    errno = close_for(close_for(errno, ends[0]), ends[1]);
    return lift(both);
}

int stream_have(const char *name, const char *options) {
    char full[WIRE_MAX_NAME + 1] = "log:";
    int row = names_find(&stored, strcat(full, name)); /* its length has been checked */
    if (row >= 0 && !(stored_flags[row] & IS_GONE) && !strcmp(options_of(&stored, row), options)) return row;
    /* With other options, or dropped and not yet drained, the same pipe goes on. */
    int fd = row >= 0 ? fcntl(stored_fd[row], F_DUPFD_CLOEXEC, LOW) : make_pipe();
    if (fd < 0) return -errno;
    int error = store_put(full, options, fd, IS_STREAM | OWES_OPEN);
    return error ? -error : (int)stored.count - 1;
}

void streams_tell_again(void) {
    for (uint32_t row = 0; row < stored.count; row++)
        if (stored_flags[row] & IS_STREAM)
            stored_flags[row] |= stored_flags[row] & IS_GONE ? OWES_OPEN | OWES_GONE : OWES_OPEN;
    empty_box(box);
}
static bool is_empty(int row) {
    int left = 0;
    return ioctl(stored_fd[row], FIONREAD, &left) || !left;
}

static void tell(int row) {
    bool opens = stored_flags[row] & OWES_OPEN;
    const char *name = name_of(&stored, row) + strlen("log:"), *options = options_of(&stored, row);
    int fd = opens ? fcntl(stored_fd[row], F_DUPFD_CLOEXEC, LOW) : -1;
    if (opens && fd < 0) return; /* owed until descriptors are free again */
    put(box, opens ? OP_STREAM_OPEN : OP_STREAM_GONE, 0, name, strlen(name) + 1);
    if (opens) put_text(box, options, strlen(options) + 1), put_fd(box, fd);
    stored_flags[row] &= (uint8_t)~(opens ? OWES_OPEN : OWES_GONE);
}

void logger_pump(void) {
    do
        for (int row = (int)stored.count - 1; row >= 0; row--) {
            uint8_t owed = stored_flags[row] & (OWES_OPEN | OWES_GONE);
            if (stored_flags[row] & IS_GONE && owed != OWES_GONE && is_empty(row))
                store_remove(row); /* the logger has heard of its end, or never of its beginning */
            else if (owed && kept.peers[LOGGER].sock >= 0 && has_room(box)) tell(row);
        }
    while (box->length && flush(LOGGER));
}

bool streams_empty(void) {
    for (int row = 0; row < (int)stored.count; row++)
        if (stored_flags[row] & IS_STREAM && !is_empty(row)) return false;
    return true;
}
