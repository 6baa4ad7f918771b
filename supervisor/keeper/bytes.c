/* Frames: taking them apart without trusting them, putting them together, sending them.
 * Nothing is aligned, so every number goes through memcpy; everything is little-endian. */
#include <sys/socket.h>
#include "keeper.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the wire is little-endian");

static const void *take(struct in *in, size_t size)
{
    static const uint8_t zeros[8];
    if (in->bad || (size_t)(in->end - in->at) < size) {
        in->bad = true;
        return zeros;
    }
    in->at += size;
    return in->at - size;
}

uint32_t get_u32(struct in *in)
{
    uint32_t value;
    memcpy(&value, take(in, sizeof value), sizeof value);
    return value;
}

uint64_t get_u64(struct in *in)
{
    uint64_t value;
    memcpy(&value, take(in, sizeof value), sizeof value);
    return value;
}

const char *get_text(struct in *in, size_t longest)
{
    const uint8_t *nul = in->bad ? NULL : memchr(in->at, 0, (size_t)(in->end - in->at));
    if (!nul || (longest && (nul == in->at || (size_t)(nul - in->at) > longest))) {
        in->bad = true;
        return "";
    }
    const char *text = (const char *)in->at;
    in->at = nul + 1;
    return text;
}

bool all_read(const struct in *in)
{
    return !in->bad && in->at == in->end;
}

bool has_room(const struct outbox *box)
{
    return !box->stalled && box->length + 512 <= sizeof box->bytes && box->fd_count < WIRE_MAX_FDS;
}

static void put(struct outbox *box, const void *data, size_t size)
{
    memcpy(box->bytes + box->length, data, size);
    box->length += (uint32_t)size;
    uint32_t frame_length = box->length - box->frame;
    memcpy(box->bytes + box->frame, &frame_length, sizeof frame_length);
}

void begin(struct outbox *box, uint16_t op, uint64_t tag)
{
    const struct { uint32_t length; uint16_t op, fds; uint64_t tag; } header = {16, op, 0, tag};
    box->frame = box->length;
    put(box, &header, sizeof header);
}

void put_u32(struct outbox *box, uint32_t value) { put(box, &value, sizeof value); }
void put_i32(struct outbox *box, int32_t value) { put(box, &value, sizeof value); }
void put_u64(struct outbox *box, uint64_t value) { put(box, &value, sizeof value); }
void put_text(struct outbox *box, const char *text) { put(box, text, strlen(text) + 1); }

void put_fd(struct outbox *box, int fd)
{
    box->fds[box->fd_count++] = fd;
    box->bytes[box->frame + 6]++;
}

void empty_box(struct outbox *box)
{
    for (int i = 0; i < box->fd_count; i++)
        close(box->fds[i]);
    box->length = 0;
    box->fd_count = 0;
    box->stalled = false;
}

int send_box(struct outbox *box, int sock)
{
    if (!box->length)
        return 0;
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof box->fds)]; } control = {0};
    struct iovec bytes = {box->bytes, box->length};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};
    if (box->fd_count) {
        size_t size = (size_t)box->fd_count * sizeof *box->fds;
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(size);
        control.header = (struct cmsghdr){CMSG_LEN(size), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), box->fds, size);
    }
    if (sendmsg(sock, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        /* ENOBUFS, ENOMEM and too many descriptors in flight pass, as a full socket does. */
        if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS && errno != ENOMEM
            && errno != ETOOMANYREFS)
            return errno;
        box->stalled = true;
        return EAGAIN;
    }
    empty_box(box);
    return 0;
}
