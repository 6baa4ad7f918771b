/* What the keeper's files share.
 *
 * The law of this folder: nothing allocates after start, nothing blocks, no frame is trusted, no
 * policy is known. Tables are static and dense (row 0 to count - 1, removal moves the last row into
 * the hole), so memory is touched only where it is used and a look-up scans a few cache lines.
 * The keeper's own descriptors are CLOEXEC and at LOW or above, out of the way of a plan's targets.
 */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "wire.h"

enum { MAX_ROWS = 16384, LOW = 256, MAX_OPTIONS = 119, MAX_PATH = 4095, MAX_PID_VARIABLES = 8 };
#define SECOND UINT64_C(1000000000)
#define MILLISECOND UINT64_C(1000000)

/* bytes.c: taking frames apart and putting them together. */
struct in { const uint8_t *at, *end; bool bad; }; /* bad: something read past the end */
uint32_t get_u32(struct in *in);
uint64_t get_u64(struct in *in);
const char *get_text(struct in *in, size_t longest); /* at least one byte, unless longest is 0 */
bool all_read(const struct in *in);

struct outbox { /* one datagram in the making, with the descriptors it owns */
    uint32_t length, frame;
    int fd_count, fds[WIRE_MAX_FDS];
    bool stalled, armed; /* the socket takes nothing now; epoll has been told to watch for it */
    uint8_t bytes[32 * 1024];
};
bool has_room(const struct outbox *box); /* for any one frame */
void begin(struct outbox *box, uint16_t op, uint64_t tag);
void put_u32(struct outbox *box, uint32_t value);
void put_i32(struct outbox *box, int32_t value);
void put_u64(struct outbox *box, uint64_t value);
void put_text(struct outbox *box, const char *text);
void put_fd(struct outbox *box, int fd); /* takes it */
int send_box(struct outbox *box, int sock); /* 0 sent, EAGAIN stalled, else the peer is gone */
void empty_box(struct outbox *box);

/* names.c: rows of text, each a name and its options. */
struct names {
    uint32_t count, used;
    uint32_t hash[MAX_ROWS], at[MAX_ROWS];
    char text[MAX_ROWS * (WIRE_MAX_NAME + MAX_OPTIONS + 2)];
};
int names_find(const struct names *names, const char *name); /* row or -1 */
int names_add(struct names *names, const char *name, const char *options); /* row or -1: full */
void names_remove(struct names *names, int row);
const char *name_of(const struct names *names, int row);
const char *options_of(const struct names *names, int row);

/* system.c: time, words on standard error, descriptors, processes. */
uint64_t now_ns(void);
void say(const char *first, ...) __attribute__((sentinel)); /* strings, a newline is added */
const char *number(int64_t value);
int lift(int fd); /* the same, CLOEXEC and at LOW or above; -1 (errno) closes it and passes on */
int reopen(int fd, int flags); /* a new open file description of the same object */
int cloexec_from(unsigned first);
int for_each_number(const char *directory, void (*visit)(int));
pid_t fork_into(int cgroup); /* -1: the keeper's own cgroup */
int reset_signals(uint64_t ignored); /* in a child: default dispositions, empty mask */
void block_all_signals(void);
void restore_nofile(void); /* in a child: the soft limit that the keeper raised for itself */
int signal_descendants(int sig, pid_t spared, pid_t spared_too); /* how many are left */
bool descends(int pid);

/* main.c: the one epoll. */
enum watch { WATCH_SIGNALS = 1, WATCH_MANAGER, WATCH_LOGGER, WATCH_NUDGE, WATCH_LAUNCH, WATCH_ADOPTED };
int watch(int fd, enum watch kind, uint32_t events, uint64_t launch);
int rewatch(int fd, enum watch kind, uint32_t events);
void unwatch(int fd);

/* state.c: everything that survives REEXEC. */
struct peer { /* the manager or the logger */
    int32_t pid, sock; /* 0, -1: none */
    uint64_t started, next_start; /* next_start 0: not to be started */
    uint32_t starts, delay_ms;
};
struct told_signal { int32_t pid; uint32_t uid, owed; };
enum { SIGNALS_TOLD = 8 };
struct kept {
    struct peer manager, logger;
    uint64_t highest, orphans, ping_sent;
    uint64_t stop_status; /* how the keeper is to end */
    uint32_t greeted, ever_greeted, owes_ready, owes_ping, early_deaths, stop_signals, resumed;
    struct told_signal told[SIGNALS_TOLD];
    struct rlimit nofile;
    uint64_t reexec_tag;
    int32_t reexec_error;
    uint32_t owes_reexec;
};
extern struct kept kept;

enum { OWES_CHILD = 1, OWES_EXECED = 2, OWES_FAILED = 4, OWES_EXITED = 8 };
struct child {
    uint64_t started, execed, ended, told; /* monotonic ns; told: since when an exit waits for ACK */
    int32_t code, status;
    uint32_t state, user_ms, system_ms, peak_kib, step;
    int16_t failed_step, error;
    int32_t status_fd, pidfd; /* -1: none. pidfd: an adopted process that is not ours to reap */
};
extern struct names keys;
extern int32_t child_pid[MAX_ROWS];
extern uint64_t child_launch[MAX_ROWS];
extern uint8_t child_owes[MAX_ROWS];
extern struct child children[MAX_ROWS];

enum { IS_STREAM = 1, OWES_STORED = 2, OWES_OPEN = 4, OWES_GONE = 8, IS_GONE = 16 };
extern struct names stored;
extern int32_t stored_fd[MAX_ROWS];
extern uint8_t stored_flags[MAX_ROWS];

int child_add(uint64_t launch, const char *key);
int child_by_launch(uint64_t launch);
int child_by_pid(int pid);
void child_remove(int row);
int store_find(const char *name);
int store_put(const char *name, const char *options, int fd, uint8_t flags); /* errno; takes fd */
int store_drop(const char *name);
void store_remove(int row);

/* plan.c: reading and checking launch plans; launch.c and child.c: carrying them out. */
struct step {
    uint32_t code, count;
    int64_t number[4];
    const char *text[2];
    struct in list;
};
bool next_step(struct in *plan, struct step *step);
int check_plan(struct in plan, int sent_count, struct step *cgroup, struct step *log, uint32_t *last);
int launch(uint64_t number, struct in payload, const int *sent, int sent_count);
void launch_settle(int row); /* its status pipe has ended: exec happened, or never will */
_Noreturn void become(struct in plan, const int *sent, int status_fd, int log_fd, int cgroup_fd);
void reap(void);
void adopted_ended(uint64_t launch);
int adopt(uint64_t launch, int pid);

/* streams.c: log streams and the logger's socket. */
int stream_have(const char *name, const char *options); /* a stored row, or -errno */
void streams_tell_again(void);
void logger_pump(void);
bool logger_owed(void);
bool streams_empty(void);
extern struct outbox logger_box;

/* manager.c: the manager's socket. */
void manager_pump(void);
bool manager_receive(void);
void manager_gone(void);
bool manager_quiet(void); /* nothing half taken, nothing half sent */
extern struct outbox manager_box;

/* life.c: start and end of manager, logger and keeper. */
void peer_lost(struct peer *peer);
bool flush(struct peer *peer, struct outbox *box, enum watch kind);
bool peer_reaped(int pid, int status);
void life_signal(int sig, int pid, uint32_t uid);
void life_nudged(void);
void nudge_listen(bool on);
uint64_t life_deadline(void); /* monotonic ns of the next thing to do, 0: none */
void life_tick(void);
bool life_ending(void);
void end_all(int status, bool politely);
extern char **manager_argv, **logger_argv, **peer_environ;
extern uint64_t ping_timeout;

/* reexec.c: one keeper becoming another. */
int reexec_ask(const char *path, uint64_t tag); /* errno, or -1: answered later */
bool reexec_checked(int pid, int status);
void reexec_tick(void);
int reexec_check(int table); /* the exit status of --check */
void reexec_take_over(int table, int old);
void reexec_watch(void);
extern char **resume_argv; /* room for program, --resume, table, old; then "--" MANAGER and so on */

/* mini.c */
int mini(int argc, char **argv);
