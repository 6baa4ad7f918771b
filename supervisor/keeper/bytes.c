/* Frames: taking them apart without trusting them, putting them together, sending them.
 * Nothing is aligned, so every number goes through memcpy. */
#include "keeper.h"
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the wire is little-endian");

uint64_t get_number(struct in *in, size_t size) {
    uint64_t value = 0;
    in->bad = in->bad || (size_t)(in->end - in->at) < size;
    if (in->bad) return 0;
    memcpy(&value, in->at, size);
    in->at += size;
    return value;
}
const char *get_text(struct in *in) {
    const char *text = (const char *)in->at;
    size_t left = (size_t)(in->end - in->at), length = in->bad ? left : strnlen(text, left);
    in->bad = length == left;
    if (!in->bad) in->at += length + 1;
    return in->bad ? "" : text;
}
bool has_room(const struct outbox *box) {
    return !box->stalled && box->length + 512 <= sizeof box->bytes && box->fd_count < WIRE_MAX_FDS;
}

static uint32_t last_frame; /* where it begins: a frame is finished before another box is used */

void put_text(struct outbox *box, const char *text, size_t size) {
    if (size > sizeof box->bytes - box->length) return; /* cannot be, if has_room() was asked */
    memcpy(box->bytes + box->length, text, size);
    box->length += (uint32_t)size;
    uint32_t length = box->length - last_frame;
    memcpy(box->bytes + last_frame, &length, sizeof length);
}
void put(struct outbox *box, uint16_t op, uint64_t tag, const void *fixed, size_t size) {
    const struct { uint32_t length; uint16_t op, fds; uint64_t tag; } header = {0, op, 0, tag};
    last_frame = box->length;
    put_text(box, (const char *)&header, sizeof header);
    put_text(box, fixed, size);
}
void put_fd(struct outbox *box, int fd) {
    box->bytes[last_frame + 6]++;
    box->fds[box->fd_count++] = fd;
}
void empty_box(struct outbox *box) {
    while (box->fd_count) close(box->fds[--box->fd_count]);
    box->stalled = box->length = 0;
}

int send_box(struct outbox *box, int sock) {
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof box->fds)]; } control = {0};
    struct iovec bytes = {box->bytes, box->length};
    size_t size = (size_t)box->fd_count * sizeof *box->fds;
    struct msghdr message = {NULL, 0, &bytes, 1, &control, size ? CMSG_SPACE(size) : 0, 0};
    control.header = (struct cmsghdr){CMSG_LEN(size), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), box->fds, size);
    if (sendmsg(sock, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) return errno;
    return empty_box(box), 0;
}
