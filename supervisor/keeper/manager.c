/* The manager's socket: its requests, and what it is told.
 *
 * What the manager is owed is kept as flags on the rows themselves, never as a queue: when the socket
 * is full, nothing is built up and no request is read until the answer to the last one is gone. */
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include "keeper.h"

struct outbox manager_box;
static struct outbox *const box = &manager_box;
static uint8_t input[WIRE_MAX_FRAME];
static struct in rest; /* the frames of the last datagram that are still to be taken */
static int sent[WIRE_MAX_FDS], sent_count, sent_used;

static const int NO_ANSWER = -1;

static void answer(uint16_t op, uint64_t tag, int error)
{
    begin(box, op, tag);
    put_i32(box, error);
}

static int give(uint64_t tag, const char *name, int fd) /* takes fd; -1: errno says why not */
{
    if (fd < 0)
        return errno;
    begin(box, OP_FD, tag);
    put_text(box, name);
    put_fd(box, fd);
    return NO_ANSWER;
}

static int greet(uint32_t version)
{
    if (version != WIRE_VERSION)
        return EPROTONOSUPPORT;
    uint64_t now = now_ns();
    kept.greeted = kept.ever_greeted = kept.owes_ready = 1;
    for (uint32_t row = 0; row < keys.count; row++) {
        child_owes[row] = OWES_CHILD;
        children[row].told = now;
    }
    for (uint32_t row = 0; row < stored.count; row++)
        if (!(stored_flags[row] & IS_GONE))
            stored_flags[row] |= OWES_STORED;
    return NO_ANSWER;
}

static int send_signal(uint64_t launch_number, int sig, uint32_t scope)
{
    int row = child_by_launch(launch_number);
    if (sig < 1 || sig > 64 || scope > 1)
        return EINVAL;
    if (row < 0 || children[row].state == STATE_EXITED_UNACKED)
        return ESRCH;
    int pid = child_pid[row], pidfd = children[row].pidfd;
    if (pidfd >= 0) { /* not ours to reap, so its pid may have been used again */
        const unsigned whole_group = 1u << 2; /* PIDFD_SIGNAL_PROCESS_GROUP, Linux 6.9 */
        long done = syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, scope ? whole_group : 0);
        if (done && scope && errno == EINVAL)
            done = syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0);
        return done ? errno : NO_ANSWER;
    }
    if (scope && !kill(-pid, sig))
        return NO_ANSWER;
    return kill(pid, sig) ? errno : NO_ANSWER; /* also one that has no group of its own yet */
}

static int acknowledge(uint64_t launch_number)
{
    int row = child_by_launch(launch_number);
    if (row >= 0 && children[row].state != STATE_EXITED_UNACKED)
        return EBUSY;
    if (row >= 0)
        child_remove(row);
    return NO_ANSWER;
}

static int get(uint64_t tag, const char *name)
{
    int row = store_find(name);
    return row < 0 ? ENOENT : give(tag, name, fcntl(stored_fd[row], F_DUPFD_CLOEXEC, LOW));
}

static int give_stream(uint64_t tag, const char *name, const char *options)
{
    int row = stream_have(name, options);
    return row < 0 ? -row : give(tag, name, lift(reopen(stored_fd[row], O_WRONLY)));
}

/* An errno (0: done) to be answered, or NO_ANSWER. */
static int request(uint16_t op, uint64_t tag, struct in payload, int *fds, int fd_count)
{
    struct in p = payload;
    if (op == OP_SPAWN) {
        int error = launch(tag, payload, fds, fd_count);
        return error ? error : NO_ANSWER;
    }
    const char *name = NULL, *options = "";
    uint32_t words[2] = {0};
    switch (op) {
    case OP_PUT: case OP_GET: case OP_DROP: name = get_text(&p, WIRE_MAX_NAME); break;
    case OP_STREAM:
        name = get_text(&p, WIRE_MAX_NAME - strlen("log:"));
        options = get_text(&p, 0);
        break;
    case OP_REEXEC: name = get_text(&p, MAX_PATH); break;
    case OP_HELLO: case OP_ADOPT: case OP_EXIT: words[0] = get_u32(&p); break;
    case OP_SIGNAL: words[0] = get_u32(&p); words[1] = get_u32(&p); break;
    }
    if (!all_read(&p) || fd_count != (op == OP_PUT) || strlen(options) > MAX_OPTIONS)
        return EINVAL;
    switch (op) {
    case OP_HELLO: return greet(words[0]);
    case OP_SIGNAL: return send_signal(tag, (int)words[0], words[1]);
    case OP_ACK: return acknowledge(tag);
    case OP_PUT:
        if (!strncmp(name, "log:", 4))
            return EINVAL;
        words[0] = (uint32_t)fds[0];
        fds[0] = -1; /* the store owns it from here on */
        return store_put(name, "", (int)words[0], 0);
    case OP_GET: return get(tag, name);
    case OP_DROP: return store_drop(name);
    case OP_STREAM: return give_stream(tag, name, options);
    case OP_PONG:
        kept.ping_sent = 0;
        nudge_listen(true);
        return NO_ANSWER;
    case OP_ADOPT: return adopt(tag, (int)words[0]);
    case OP_EXIT: end_all((int)words[0], false); return NO_ANSWER;
    case OP_REEXEC: return reexec_ask(name, tag);
    }
    return EINVAL;
}

static void take_frame(void)
{
    struct in frame = rest;
    uint32_t length = get_u32(&frame), op = get_u32(&frame), fds = op >> 16;
    uint64_t tag = get_u64(&frame);
    if (frame.bad || length < 16 || length > (size_t)(rest.end - rest.at)) {
        answer(OP_RESULT, tag, EMSGSIZE); /* and where the next frame begins is not known */
        rest.at = rest.end;
        return;
    }
    op &= 0xffff;
    rest.at += length;
    struct in payload = {frame.at, rest.at, false};
    int had = sent_used, error = EINVAL;
    if (fds <= (uint32_t)(sent_count - sent_used)) {
        sent_used += (int)fds;
        error = request((uint16_t)op, tag, payload, sent + had, (int)fds);
    }
    if (error != NO_ANSWER)
        answer(op == OP_SPAWN ? OP_REFUSED : OP_RESULT, tag, error);
    for (; had < sent_used; had++)
        if (sent[had] >= 0)
            close(sent[had]);
}

static void close_sent(void)
{
    while (sent_used < sent_count)
        close(sent[sent_used++]);
    sent_used = sent_count = 0;
}

bool manager_receive(void)
{
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof sent)]; } control;
    struct iovec bytes = {input, sizeof input};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    if (rest.at < rest.end || box->stalled)
        return false;
    close_sent();
    ssize_t got = recvmsg(kept.manager.sock, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got <= 0)
        return false;
    rest = (struct in){input, input + got, false};
    bool lacking = false;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
            for (size_t at = 0; at + sizeof(int) <= c->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
                int fd;
                memcpy(&fd, CMSG_DATA(c) + at, sizeof fd);
                if ((sent[sent_count] = lift(fd)) >= 0)
                    sent_count++;
                else
                    lacking = true;
            }
    if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC) || lacking) {
        bool many = sent_count == WIRE_MAX_FDS;
        close_sent();
        rest.at = rest.end;
        answer(OP_RESULT, 0, message.msg_flags & MSG_TRUNC ? EMSGSIZE : many ? EINVAL : EMFILE);
    }
    return true;
}

static void put_child(int row, uint16_t op)
{
    const struct child *child = &children[row];
    begin(box, op, child_launch[row]);
    put_i32(box, child_pid[row]);
    put_u32(box, child->state);
    put_u64(box, child->started);
    put_u64(box, child->ended);
    put_i32(box, child->code);
    put_i32(box, child->status);
    put_u32(box, child->user_ms);
    put_u32(box, child->system_ms);
    put_u32(box, child->peak_kib);
    put_u32(box, (uint16_t)child->failed_step | (uint32_t)(uint16_t)child->error << 16);
    put_text(box, name_of(&keys, row));
}

static void put_ready(void)
{
    begin(box, OP_READY, 0);
    put_u64(box, kept.highest);
    put_u64(box, kept.orphans);
    put_u32(box, (getpid() == 1 ? FLAG_PID1 : 0) | (kept.resumed ? FLAG_RESUMED : 0));
    put_i32(box, kept.logger.pid);
    put_u32(box, kept.manager.starts);
    kept.owes_ready = 0;
}

static void put_events(int row)
{
    const struct child *child = &children[row];
    if (child_owes[row] & OWES_EXECED) {
        begin(box, OP_EXECED, child_launch[row]);
        put_i32(box, child_pid[row]);
        put_u32(box, 0);
        put_u64(box, child->execed);
    }
    if (child_owes[row] & OWES_FAILED) {
        begin(box, OP_LAUNCH_FAILED, child_launch[row]);
        put_i32(box, child_pid[row]);
        put_u32(box, child->step);
        put_i32(box, child->failed_step);
        put_i32(box, child->error);
    }
    if (child_owes[row] & OWES_EXITED)
        put_child(row, OP_EXITED);
    child_owes[row] = 0;
}

/* Everything owed that there is room for: after HELLO first the tables, then what happens. */
static void fill(void)
{
    for (uint32_t row = 0; kept.owes_ready && row < keys.count && has_room(box); row++)
        if (child_owes[row] & OWES_CHILD) {
            put_child((int)row, OP_CHILD);
            child_owes[row] = 0;
        }
    for (uint32_t row = 0; kept.owes_ready && row < stored.count && has_room(box); row++)
        if (stored_flags[row] & OWES_STORED) {
            begin(box, OP_STORED, 0);
            put_text(box, name_of(&stored, (int)row));
            stored_flags[row] &= (uint8_t)~OWES_STORED;
        }
    if (kept.owes_ready && has_room(box))
        put_ready();
    if (kept.owes_reexec && has_room(box)) {
        answer(OP_RESULT, kept.reexec_tag, kept.reexec_error);
        kept.owes_reexec = 0;
    }
    if (!kept.greeted || kept.owes_ready)
        return;
    for (uint32_t row = 0; row < keys.count && has_room(box); row++)
        if (child_owes[row])
            put_events((int)row);
    for (int i = 0; i < SIGNALS_TOLD && has_room(box); i++)
        if (kept.told[i].owed) {
            begin(box, OP_SIGNALLED, 0);
            put_i32(box, (int32_t)kept.told[i].owed);
            put_i32(box, kept.told[i].pid);
            put_u32(box, kept.told[i].uid);
            kept.told[i].owed = 0;
        }
}

void manager_pump(void)
{
    if (kept.manager.sock < 0)
        return;
    do {
        while (rest.at < rest.end && has_room(box))
            take_frame();
        if (rest.at == rest.end)
            fill();
        if (kept.owes_ping && has_room(box)) {
            begin(box, OP_PING, 0);
            kept.owes_ping = 0;
        }
    } while (box->length && flush(&kept.manager, box, WATCH_MANAGER));
}

bool manager_quiet(void)
{
    return rest.at == rest.end && !box->length;
}

/* Its process has ended or its socket is broken. What it had asked before still counts (a PUT of its
 * state most of all), the answers do not. Bounded, since another process may hold the socket. */
void manager_gone(void)
{
    for (int i = 0; i < 4096; i++) {
        for (; rest.at < rest.end; take_frame())
            empty_box(box);
        empty_box(box);
        if (!manager_receive())
            break;
    }
    close_sent();
    empty_box(box);
    box->armed = false;
    kept.greeted = kept.owes_ready = kept.owes_ping = 0;
    kept.ping_sent = 0;
    memset(child_owes, 0, keys.count);
    nudge_listen(true);
}
