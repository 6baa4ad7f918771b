/* The manager's socket: its requests, and what it is told.
 * What the manager is owed is kept as flags on the rows themselves, never as a queue: when the socket
 * is full, nothing is built up and no request is read until the answer to the last one is gone. */
#include "keeper.h"

static struct outbox *const box = &boxes[MANAGER];
static uint8_t input[WIRE_MAX_FRAME];
static struct in rest; /* the frames of the last datagram that are still to be taken */
static int sent[WIRE_MAX_FDS], sent_count, sent_used;
static bool readable;
enum { NO_ANSWER = -1 };

static void answer(uint16_t op, uint64_t tag, int32_t error) { put(box, op, tag, &error, sizeof error); }

static int give(uint64_t tag, const char *name, int fd) { /* takes fd; -1: errno says why not */
    if (fd < 0) return errno;
    put(box, OP_FD, tag, name, strlen(name) + 1);
    put_fd(box, fd);
    return NO_ANSWER;
}

static int greet(int64_t version) {
    if (version != WIRE_VERSION) return EPROTONOSUPPORT;
    kept.greeted = kept.ever_greeted = kept.owes_ready = 1, kept.early_deaths = 0;
    if (kept.exits_told) kept.exits_told = now_ns();
    spawners_tick(); /* the pids of those that are on their way */
    for (int row = (int)keys.count - 1; row >= 0; row--)
        if (children[row].owes & OWES_REFUSED) child_remove(row); /* an answer that nobody waits for any more */
        else owe(row, OWES_CHILD);
    for (uint32_t row = 0; row < stored.count; row++)
        stored_flags[row] |= stored_flags[row] & IS_GONE ? 0 : OWES_STORED;
    return NO_ANSWER;
}

static int send_signal(int row, int sig, int64_t scope) {
    if (sig < 1 || sig > 64 || scope > 1) return EINVAL;
    spawners_tick(); /* whose process is which by now */
    pid_t pid = row < 0 ? 0 : (pid_t)child_pid[row];
    if (!pid) return ESRCH;
    if (!children[row].settled && children[row].signal != SIGKILL) /* what would kill it is not forgotten */
        children[row].signal = (uint8_t)sig;
    if (child_pid[row] == UNBORN) return NO_ANSWER; /* on its way */
    if (scope && !kill(-pid, sig)) return NO_ANSWER;
    return kill(pid, sig) ? errno : NO_ANSWER; /* also one that has no group of its own yet */
}
static int acknowledge(int row) {
    if (row < 0 || child_pid[row]) return row < 0 ? NO_ANSWER : EBUSY;
    child_remove(row);
    kept.exits_told = find_row(child_pid, 0) < 0 ? 0 : now_ns(); /* it goes on: patience begins anew */
    return NO_ANSWER;
}

static const char *const FORMATS[] = {
    [OP_HELLO] = "u", [OP_SIGNAL] = "iu", [OP_ACK] = "", [OP_PUT] = "t", [OP_GET] = "t", [OP_DROP] = "t",
    [OP_STREAM] = "tt", [OP_PONG] = "", [OP_ADOPT] = "i", [OP_EXIT] = "i", [OP_REEXEC] = "t",
    [OP_EXIT_BY] = "ii"};

/* An errno, 0 for done, or NO_ANSWER. Descriptors that it takes become -1 in fds. */
static int request(uint16_t op, uint64_t tag, struct in payload, int *fds, int fd_count) {
    struct step is = {0};
    int row = op == OP_SPAWN ? launch(tag, payload, fds, fd_count) : find_row(child_launch, tag);
    if (op == OP_SPAWN) return row ? row : NO_ANSWER;
    if (op >= sizeof FORMATS / sizeof *FORMATS || !FORMATS[op] || fd_count != (op == OP_PUT)
        || !take_fields(payload, FORMATS[op], &is))
        return EINVAL;
    const char *name = is.text[0], *options = is.text[1];
    size_t longest = op == OP_REEXEC ? MAX_PATH : WIRE_MAX_NAME - (op == OP_STREAM ? strlen("log:") : 0);
    if ((name && (!*name || strlen(name) > longest)) || (options && strlen(options) > MAX_OPTIONS)) return EINVAL;
    int word = (int)is.number[0], fd = op == OP_PUT ? fds[0] : -1;
    switch (op) {
    case OP_HELLO: return greet(is.number[0]);
    case OP_SIGNAL: return send_signal(row, word, is.number[1]);
    case OP_ACK: return acknowledge(row);
    case OP_PUT:
        if (!strncmp(name, "log:", 4)) return EINVAL;
        fds[0] = -1;
        return store_put(name, "", fd, 0);
    case OP_GET:
        row = store_find(name);
        return row < 0 ? ENOENT : give(tag, name, fcntl(stored_fd[row], F_DUPFD_CLOEXEC, LOW));
    case OP_DROP: return store_drop(name);
    case OP_STREAM:
        row = stream_have(name, options);
        return row < 0 ? -row : give(tag, name, lift(reopen(stored_fd[row], O_WRONLY)));
    case OP_PONG: kept.ping_sent = 0; nudge_listen(true); return NO_ANSWER;
    case OP_ADOPT: return adopt(row, word);
    case OP_EXIT: return end_all(word, false) ? NO_ANSWER : EBUSY;
    case OP_EXIT_BY:
        kept.exit_by = now_ns() + (word > 0 ? (uint64_t)word : 0) * (SECOND / 1000);
        return kept.exit_by_status = (int32_t)is.number[1], kept.unheard = 0, NO_ANSWER;
    case OP_REEXEC: return reexec_ask(name, tag);
    }
    return EINVAL;
}

static void take_frame(void) {
    struct in frame = rest;
    uint64_t length = get_number(&frame, 4);
    uint16_t op = (uint16_t)get_number(&frame, 2), fds = (uint16_t)get_number(&frame, 2);
    uint64_t tag = get_number(&frame, 8);
    int had = sent_used, error = EINVAL;
    if (frame.bad || length < 16 || length > (size_t)(rest.end - rest.at)) {
        rest.at = rest.end; /* where the next frame would begin is not known */
        return answer(OP_RESULT, tag, EMSGSIZE);
    }
    frame.end = rest.at += length;
    if (fds <= sent_count - sent_used) {
        sent_used += fds;
        error = request(op, tag, frame, sent + had, fds);
    }
    if (error != NO_ANSWER) answer(op == OP_SPAWN ? OP_REFUSED : OP_RESULT, tag, error);
    for (; had < sent_used; had++) close_for(0, sent[had]);
}
static void close_sent(void) {
    while (sent_used < sent_count) close_for(0, sent[sent_used++]);
    sent_used = sent_count = 0;
}

bool manager_receive(void) {
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof sent)]; } control = {0};
    struct iovec bytes = {input, sizeof input};
    struct msghdr message = {NULL, 0, &bytes, 1, &control, sizeof control, 0};
    if (rest.at < rest.end || box->stalled) return false;
    close_sent();
    ssize_t got = -1; /* twice: that the manager left answers unread is told first, and only once */
    for (int i = 0; i < 2 && got < 0 && (!i || errno == ECONNRESET); i++)
        got = recvmsg(kept.peers[MANAGER].sock, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got <= 0) return got < 0 && (errno == EINTR || errno == ENOMEM || errno == ENOBUFS); /* it is still there */
    rest = (struct in){input, input + got, false};
    int error = message.msg_flags & MSG_TRUNC ? EMSGSIZE : 0;
    if (control.header.cmsg_type == SCM_RIGHTS) { /* nothing else was ever asked for */
        sent_count = (int)((control.header.cmsg_len - CMSG_LEN(0)) / sizeof *sent);
        memcpy(sent, CMSG_DATA(&control.header), (size_t)sent_count * sizeof *sent);
    }
    if (message.msg_flags & MSG_CTRUNC) error = sent_count == WIRE_MAX_FDS ? EINVAL : EMFILE;
    for (int i = 0; i < sent_count; i++)
        if ((sent[i] = lift(sent[i])) < 0) error = errno;
    if (!error) return true;
    rest.at = rest.end;
    answer(OP_RESULT, 0, error);
    return true;
}

static void put_child(int row, uint16_t op) {
    put(box, op, child_launch[row], &children[row].layout, sizeof children[row].layout);
    put_text(box, name_of(&keys, row), strlen(name_of(&keys, row)) + 1);
}

static void put_events(int row) {
    struct child *child = &children[row];
    const struct layout *is = &child->layout;
    const struct { int32_t pid; uint32_t zero; uint64_t at; } execed = {is->pid, 0, child->execed};
    const int32_t failure[] = {is->pid, (int32_t)child->step_index, is->step, is->error};
    if (child->owes & OWES_CHILD) put_child(row, OP_CHILD);
    if (child->owes & OWES_EXECED) put(box, OP_EXECED, child_launch[row], &execed, sizeof execed);
    if (child->owes & OWES_FAILED) put(box, OP_LAUNCH_FAILED, child_launch[row], failure, sizeof failure);
    if (child->owes & OWES_EXITED) put_child(row, OP_EXITED);
    if (child->owes & OWES_REFUSED) answer(OP_REFUSED, child_launch[row], is->error), child_remove(row);
    else child->owes = 0;
}

static void put_ready(void) {
    const struct { uint64_t highest, orphans; uint32_t flags; int32_t logger; uint32_t starts, zero; } ready = {
        kept.highest, kept.orphans, (getpid() == 1 ? FLAG_PID1 : 0) | (kept.resumed ? FLAG_RESUMED : 0),
        kept.peers[LOGGER].pid, kept.peers[MANAGER].starts, 0};
    put(box, OP_READY, 0, &ready, sizeof ready - sizeof ready.zero);
    kept.owes_ready = 0;
}

/* Everything owed that there is room for: after HELLO first the tables and READY, then what happens. */
static void fill(void) {
    if (kept.owes_reexec && has_room(box)) {
        answer(OP_RESULT, kept.reexec_tag, kept.reexec_error);
        kept.owes_reexec = 0;
    }
    if (kept.owes_ping && has_room(box)) {
        put(box, OP_PING, 0, "", 0);
        kept.owes_ping = 0;
    }
    if (owing.to > (int)keys.count) owing.to = (int)keys.count;
    while (kept.greeted && owing.to > owing.from && has_room(box)) /* downwards: a row may go */
        if (children[--owing.to].owes) put_events(owing.to);
    if (owing.to <= owing.from) owing.from = MAX_ROWS, owing.to = 0;
    for (int row = 0; kept.owes_ready && row < (int)stored.count && has_room(box); row++)
        if (stored_flags[row] & OWES_STORED) {
            put(box, OP_STORED, 0, name_of(&stored, row), strlen(name_of(&stored, row)) + 1);
            stored_flags[row] &= (uint8_t)~OWES_STORED;
        }
    if (kept.owes_ready && has_room(box)) put_ready();
    for (int sig = 1; kept.greeted && sig < 64 && has_room(box); sig++)
        if (kept.signals_owed >> sig & 1) {
            put(box, OP_SIGNALLED, 0, &kept.sender[sig], sizeof *kept.sender);
            kept.signals_owed &= ~(UINT64_C(1) << sig);
        }
}

bool manager_settled(void) { return rest.at == rest.end && !box->length; }
void manager_readable(void) { readable = true; } /* told once, until all has been read */

static bool can_take(void) {
    return rest.at < rest.end && has_room(box) && (rest.end - rest.at < 6 || rest.at[4] != OP_SPAWN || spawn_room());
}

bool manager_pump(void) { /* true: there is more to do at once */
    if (kept.peers[MANAGER].sock < 0) return false;
    do {
        while (can_take()) take_frame();
        fill();
    } while (box->length && flush(MANAGER));
    if (readable && rest.at == rest.end && !box->stalled) readable = manager_receive();
    return !box->stalled && (rest.at < rest.end ? can_take() : readable || box->length);
}

/* Its process has ended, or its socket is broken. What it had asked before still counts (a PUT of its
 * state most of all), the answers do not. Bounded, since another process may hold the socket. */
void manager_gone(void) {
    empty_box(box);
    for (int i = 0; i < 4096 && (rest.at < rest.end || manager_receive()); i++, empty_box(box))
        for (; rest.at < rest.end; empty_box(box)) take_frame();
    close_sent();
    readable = (kept.ping_sent = kept.greeted = kept.owes_ready = kept.owes_ping = 0);
    if (kept.unheard) kept.signals_owed |= UINT64_C(1) << kept.unheard;
    nudge_listen(true);
}
