/* Log streams: one pipe each, held by one descriptor that is both its ends, and what the logger is
 * told of them. A dropped stream keeps its row until its last byte has been taken. */
#include <sys/ioctl.h>
#include "keeper.h"

struct outbox logger_box;
static struct outbox *const box = &logger_box;

static int make_pipe(void)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
        return -1;
    int both = reopen(ends[0], O_RDWR | O_NONBLOCK), error = errno;
    close(ends[0]);
    close(ends[1]);
    errno = error;
    return lift(both);
}

int stream_have(const char *name, const char *options)
{
    char full[WIRE_MAX_NAME + 1] = "log:";
    strcat(full, name); /* its length has been checked */
    int row = names_find(&stored, full), fd;
    if (row >= 0 && !(stored_flags[row] & IS_GONE) && !strcmp(options_of(&stored, row), options))
        return row;
    /* Other options, or dropped and not yet drained: the same pipe goes on. */
    fd = row >= 0 ? fcntl(stored_fd[row], F_DUPFD_CLOEXEC, LOW) : make_pipe();
    if (fd < 0)
        return -errno;
    int error = store_put(full, options, fd, IS_STREAM | OWES_OPEN);
    return error ? -error : (int)stored.count - 1;
}

void streams_tell_again(void)
{
    for (uint32_t row = 0; row < stored.count; row++)
        if (stored_flags[row] & IS_STREAM)
            stored_flags[row] |= stored_flags[row] & IS_GONE ? OWES_OPEN | OWES_GONE : OWES_OPEN;
    empty_box(box);
    box->armed = false;
}

static void forget_drained(int row)
{
    int left = 0;
    bool unknown = stored_flags[row] & OWES_OPEN, told = !(stored_flags[row] & OWES_GONE);
    if ((unknown || told) && (ioctl(stored_fd[row], FIONREAD, &left) || !left))
        store_remove(row);
}

static void tell(int row)
{
    uint8_t *flags = &stored_flags[row];
    if (*flags & OWES_OPEN && has_room(box)) {
        int fd = fcntl(stored_fd[row], F_DUPFD_CLOEXEC, LOW);
        if (fd < 0)
            return; /* owed until descriptors are free again */
        begin(box, OP_STREAM_OPEN, 0);
        put_text(box, name_of(&stored, row) + strlen("log:"));
        put_text(box, options_of(&stored, row));
        put_fd(box, fd);
        *flags &= (uint8_t)~OWES_OPEN;
    }
    if ((*flags & (OWES_OPEN | OWES_GONE)) == OWES_GONE && has_room(box)) {
        begin(box, OP_STREAM_GONE, 0);
        put_text(box, name_of(&stored, row) + strlen("log:"));
        *flags &= (uint8_t)~OWES_GONE;
    }
}

void logger_pump(void)
{
    do {
        for (int row = (int)stored.count - 1; row >= 0; row--) {
            if (kept.logger.sock >= 0 && stored_flags[row] & (OWES_OPEN | OWES_GONE))
                tell(row);
            if (stored_flags[row] & IS_GONE)
                forget_drained(row);
        }
    } while (box->length && flush(&kept.logger, box, WATCH_LOGGER));
}

bool logger_owed(void)
{
    for (uint32_t row = 0; row < stored.count; row++)
        if (stored_flags[row] & (OWES_OPEN | OWES_GONE))
            return true;
    return box->length > 0;
}

bool streams_empty(void)
{
    int left = 0;
    for (uint32_t row = 0; row < stored.count && !left; row++)
        if (stored_flags[row] & IS_STREAM && ioctl(stored_fd[row], FIONREAD, &left))
            left = 0;
    return !left;
}
