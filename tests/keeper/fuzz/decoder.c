/* Feeds the keeper's frame decoder with random and mutated datagrams; a sanitizer is the judge.
 *   decoder SEED COUNT
 * The decoder, plan checker and tables are the keeper's own; what would start, end or store anything
 * else is replaced here. Everything that a request may reach is read again after each datagram. */
#include <stdio.h>
#include <stdlib.h>
#include "keeper.h"

struct outbox boxes[PEERS];
uint64_t ping_timeout;
static uint64_t state;
static int far_end;
static long calls; /* places in the data of plans that were written to */

static uint32_t draw(uint32_t below) { /* xorshift64*: the same numbers everywhere */
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)((state * UINT64_C(2685821657736338717)) >> 33) % below;
}

/* Stand-ins for the rest of the keeper. */
int watch(int fd, int kind, uint32_t events) {
    (void)kind, (void)events;
    return fd < 0;
}
void unwatch(int fd) { (void)fd; }
void nudge_listen(bool on) { (void)on; }
bool end_all(int status, bool by_itself) { return status == 0 && !by_itself; }
bool life_ending(void) { return false; }
int reexec_ask(const char *path, uint64_t tag) { return strlen(path) + tag > 9 ? ENOEXEC : -1; }
bool spawn_room(void) { return true; }
uint64_t spawners_tick(void) { return 0; }
int adopt(int row, int pid) { return row >= 0 && pid > 0 ? 0 : ESRCH; }
bool flush(int who) { return send_box(&boxes[who], kept.peers[who].sock) == 0; }
int stream_have(const char *name, const char *options) {
    char full[WIRE_MAX_NAME + 1] = "log:";
    int fd = lift(dup(0)), error = store_put(strcat(full, name), options, fd, IS_STREAM | OWES_OPEN);
    return error ? -error : store_find(full);
}

static void reach(const struct plan *plan, int64_t offset) { /* as a child does, but for what there is */
    uint8_t *data = (uint8_t *)(uintptr_t)plan->data.at;
    if (offset < 0 || offset + 8 > plan->data.end - plan->data.at) abort();
    memset(data + offset, 0xa5, 8);
    calls++;
}

/* A launch goes as far as its child would: each step of a plan that passed is taken apart again. */
int launch(uint64_t number, struct in payload, const int *sent, int sent_count) {
    const char *key = get_text(&payload);
    struct plan plan = {.steps = payload, .sent_count = sent_count};
    struct step step;
    uint64_t sum = 0;
    (void)sent;
    int error = check_plan(&plan);
    if (error) return error;
    while (next_step(&plan.steps, &step)) {
        for (int i = 0; i < 2; i++) sum += step.text[i] ? strlen(step.text[i]) : 0;
        if (step.code == STEP_DATA) plan.data = step.list;
        if (step.code == STEP_CALL && step.number[0] >= WIRE_CALL_COUNT) abort();
        if (step.code == STEP_CALL) reach(&plan, step.number[2]);
        for (int i = 0; step.code == STEP_CALL && i < 5; i++)
            if (step.number[3] >> 2 * i & 3) reach(&plan, step.number[4 + i]);
        for (int i = 0; step.code == STEP_ADDRESS && i < 2; i++) reach(&plan, step.number[i]);
        for (uint32_t i = 0; i < step.count; i++) sum += strlen(get_text(&step.list));
    }
    if (!*key || strlen(key) > WIRE_MAX_KEY || names_find(&keys, key) >= 0) return EINVAL;
    int row = child_add(number, key);
    if (row < 0) return ENOSPC;
    children[row].layout.peak_kib = (uint32_t)sum;
    children[row].layout.state = STATE_EXITED_UNACKED;
    child_pid[row] = 0; /* no process: nothing can be signalled */
    owe(row, OWES_EXITED);
    return 0;
}

static uint8_t datagram[4096];
static size_t used;

static void add(const void *data, size_t size) {
    if (used + size > sizeof datagram) return;
    memcpy(datagram + used, data, size);
    used += size;
}

static void add_text(const char *text) { add(text, strlen(text) + 1); }

static void add_step(uint16_t code) { /* mostly as its format says */
    uint16_t zero = 0;
    size_t head = used;
    add(&code, 2), add(&zero, 2), add("\0\0\0", 4);
    uint32_t word = draw(4), high = draw(9) ? 0 : draw(2) - 1, count = draw(3);
    const char *letter = code < sizeof STEP_FORMATS / sizeof *STEP_FORMATS && STEP_FORMATS[code] ? STEP_FORMATS[code] : "";
    for (; *letter; letter++)
        if (*letter == '#') add(&count, 4);
        else if (*letter == '*')
            for (uint32_t i = 0; i < count; i++) add_text("A=1");
        else if (*letter == 'b') add("what calls point to", draw(20));
        else if (*letter == 't') add_text(draw(4) ? "name" : "a/b");
        else if (*letter == 'U') word = draw(20), add(&word, 4), add(&high, 4);
        else add(&word, 4);
    uint32_t length = (uint32_t)(used - head - 8);
    memcpy(datagram + head + 4, &length, 4);
}

static void add_frame(void) {
    static const char *const names[] = {"name", "log:name", "na*", "*", "nudge", "", "cgroup"};
    uint16_t op = (uint16_t)(draw(20) ? draw(14) : draw(70)), fds = (uint16_t)(op == OP_PUT || !draw(8) ? draw(3) : 0);
    uint64_t tag = draw(50);
    uint32_t word = draw(70);
    size_t head = used;
    add("\0\0\0", 4), add(&op, 2), add(&fds, 2), add(&tag, 8);
    if (op == OP_SPAWN) {
        add_text(names[draw(7)]);
        if (draw(2)) add_step(STEP_DATA);
        for (uint32_t i = draw(6); i > 0; i--) add_step((uint16_t)(draw(4) ? draw(30) : STEP_CALL));
        add_step(STEP_EXEC);
    } else if (op == OP_HELLO) add("\1\0\0", 4);
    else if (op == OP_SIGNAL) add(&word, 4), add("\0\0\0", 4);
    else if (op >= OP_PUT && op <= OP_STREAM) {
        add_text(names[draw(7)]);
        if (op == OP_STREAM) add_text("keep=1");
    } else if (draw(4)) add(&word, 4);
    uint32_t length = (uint32_t)(used - head);
    memcpy(datagram + head, &length, 4);
}

static void mutate(void) {
    for (uint32_t i = draw(4); i > 0 && used; i--)
        if (draw(3)) datagram[draw((uint32_t)used)] = (uint8_t)draw(256);
        else used = draw((uint32_t)used) + 1;
}

static void check(void) { /* the tables are whole: every row can be read, every name be found */
    for (int row = 0; row < (int)keys.count; row++)
        if (names_find(&keys, name_of(&keys, row)) != row || *options_of(&keys, row)) abort();
    for (int row = 0; row < (int)stored.count; row++)
        if (names_find(&stored, name_of(&stored, row)) != row || fcntl(stored_fd[row], F_GETFD) < 0) abort();
}

int main(int argc, char **argv) {
    static uint8_t answer[64 * 1024];
    static union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int[WIRE_MAX_FDS]))]; } control;
    int ends[2];
    long count = argc > 2 ? atol(argv[2]) : 1000, answers = 0;
    state = 88172645463325252u + (argc > 1 ? strtoull(argv[1], NULL, 10) : 0) * 2654435761u;
    if (!tables_make() || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends)) return 1;
    kept.peers[MANAGER].sock = ends[0];
    far_end = ends[1];
    for (long i = 0; i < count; i++) {
        used = 0;
        for (uint32_t frames = draw(4) + 1; frames > 0; frames--) add_frame();
        mutate();
        struct iovec bytes = {datagram, used};
        struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};
        int fds[4] = {0, 1, 2, 0}, sending = (int)draw(5);
        if (sending) {
            size_t size = (size_t)sending * sizeof *fds;
            message.msg_control = &control;
            message.msg_controllen = CMSG_SPACE(size);
            control.header = (struct cmsghdr){CMSG_LEN(size), SOL_SOCKET, SCM_RIGHTS};
            memcpy(CMSG_DATA(&control.header), fds, size);
        }
        if (used && sendmsg(far_end, &message, 0) < 0) return 2;
        for (manager_readable(); manager_pump() || manager_receive();) continue;
        for (ssize_t got; (got = recv(far_end, answer, sizeof answer, MSG_DONTWAIT)) > 0; answers++) {
            uint32_t length;
            for (ssize_t at = 0; at < got; at += length) { /* our own frames are well formed */
                memcpy(&length, answer + at, 4);
                if (length < 16 || at + (ssize_t)length > got) abort();
            }
        }
        if (i % 64 == 0) check();
    }
    manager_gone();
    printf("%ld datagrams, %ld answers, %ld calls, %u children, %u names\n", count, answers, calls, keys.count,
           stored.count);
    return !answers || !calls;
}
