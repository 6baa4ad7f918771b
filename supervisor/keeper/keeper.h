/* What the keeper's files share.
 * The law of this folder: nothing allocates after start, nothing blocks, no frame is trusted, no policy
 * is known. Tables are dense (rows 0 to count - 1; the last row moves into a hole): memory is touched only
 * where used, a look-up scans a few cache lines. Our descriptors are CLOEXEC, and at LOW or above.
 * An `int` function without a word returns an errno, 0 for done. */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "wire.h"

enum { MAX_ROWS = 16384, LOW = 256, MAX_OPTIONS = 119, MAX_PATH = 4095 };
enum { MAX_LISTED = 16384, MAX_FD_STEPS = 192, MAX_PID_VARIABLES = 8 }; /* of one plan */
enum { MAX_SPAWNERS = 32, MAX_ORDERS = 64, MAX_HELD = 0x7e020000 }; /* CLONE_NEW... of a HOLD */
#define SECOND UINT64_C(1000000000)

/* bytes.c: putting frames together and, further below, taking them apart. */
struct outbox { /* one datagram in the making, with the descriptors it owns */
    uint32_t length;
    int fd_count, fds[WIRE_MAX_FDS];
    uint64_t stalled; /* the socket takes nothing now; when to try again at the latest, else 0 */
    uint8_t bytes[32 * 1024];
};
bool has_room(const struct outbox *box); /* for any one frame */
void put(struct outbox *box, uint16_t op, uint64_t tag, const void *fixed, size_t size);
void put_text(struct outbox *box, const char *text, size_t size); /* into the last frame */
void put_fd(struct outbox *box, int fd), empty_box(struct outbox *box); /* put_fd: likewise; takes it */
int send_box(struct outbox *box, int sock);
/* system.c: time, words on standard error, descriptors, signals, processes. */
uint64_t now_ns(void);
void say(const char *first, ...) __attribute__((sentinel)); /* strings; a newline is added */
const char *number(int64_t value); /* good until the fourth call from now */
int lift(int fd); /* the same at LOW or above, or -1; errno stays */
int close_for(int error, int fd); /* closes fd (-1: none), returns error */
int reopen(int fd, int flags); /* a new open file description of the same object, or -1 */
void close_from(unsigned first), block_all_signals(void);
int reset_signals(uint64_t ignored); /* in a child: default dispositions, empty mask */
int fork_self(void), signal_children(int sig, pid_t spared, pid_t spared_too); /* a pid; how many live */
/* tables.c: all that survives REEXEC, in one mapped file that the next keeper maps again. */
enum { MANAGER, LOGGER, PEERS };
enum { OWES_CHILD = 1, OWES_EXECED = 2, OWES_FAILED = 4, OWES_EXITED = 8, OWES_REFUSED = 16 };
#define UNBORN UINT64_MAX /* the pid of a launch whose process is not known yet */
enum { IS_STREAM = 1, OWES_STORED = 2, OWES_OPEN = 4, OWES_GONE = 8, IS_GONE = 16 };
struct tables {
    uint32_t version, size;
    struct kept {
        struct peer {
            int32_t pid, sock; /* 0, -1: none */
            uint64_t started, next_start; uint32_t starts, delay_ms;
        } peers[PEERS];
        uint64_t highest, orphans, reexec_tag, ping_sent, exits_told; /* those: since when; 0: no matter */
        uint32_t greeted, ever_greeted, owes_ready, owes_ping, owes_reexec, early_deaths, stop_signals, resumed, unheard;
        uint64_t exit_by, signals_owed; /* when to end as if asked (0: never); bit n: signal n is to be passed on */
        int32_t exit_by_status;
        struct sender { int32_t signal, pid; uint32_t uid; } sender[64]; /* who sent it last */
        struct spawner { int32_t pid, quit; } spawners[MAX_SPAWNERS]; /* pid 0: none */
        struct order { /* launch 0: free; taker: a spawner, plus one, 0 while it waits; child: its pid, by the kernel */
            uint64_t launch, since;
            int32_t taker, child, done, foreign; /* its descriptors are not open in this keeper */
        } orders[MAX_ORDERS];
        uint32_t given; /* orders that are not free */
        uint32_t first, end, queue[MAX_ORDERS]; /* of those that wait: first to end - 1, modulo MAX_ORDERS */
        int32_t answers; /* eventfd to which spawners write when they have done an order */
        int32_t reexec_error;
        struct rlimit nofile; /* as it was given to us */
    } kept;
    uint64_t child_launch[MAX_ROWS], child_pid[MAX_ROWS]; /* pid 0: it has ended */
    struct child {
        struct layout { /* as in a frame */
            int32_t pid; uint32_t state;
            uint64_t started, ended;
            int32_t code, status; uint32_t user_ms, system_ms, peak_kib;
            int16_t step, error;
        } layout;
        uint64_t execed;
        uint32_t step_index, owes;
        int32_t heir; /* -1: none; pid that is the main process once this one ends */
        uint8_t settled, over, signal; /* how its launch went is known; it was reaped; to be sent at its birth */
    } children[MAX_ROWS];
    int32_t stored_fd[MAX_ROWS];
    uint8_t stored_flags[MAX_ROWS];
    struct names { /* rows of text, each a name and its options */
        uint32_t count, used, hash[MAX_ROWS], at[MAX_ROWS];
        char text[MAX_ROWS * (WIRE_MAX_NAME + MAX_OPTIONS + 2)];
    } keys, stored;
    struct ordered {
        struct plan { /* steps, what is found in them, and what the child needs for them */
            struct in { const uint8_t *at, *end; bool bad; } steps; /* bad: something was not there */
            struct in data; /* of the calls: what they point to, and where they leave results */
            struct step { uint32_t code, count; int64_t number[9]; const char *text[3]; struct in list; } cgroup, log[2];
            int logs, fd_steps, sent_count, targets; /* the last: steps that overwrite a descriptor above 2 */
            int cgroup_fd, log_fd[2], writer[2], fds[MAX_FD_STEPS + WIRE_MAX_FDS]; /* for the FD steps, then those sent */
            uint32_t last, join; /* index of EXEC; the child goes to its cgroup itself, clone3 could not */
            uint32_t report[3]; /* index, code and errno of the step that failed; errno 0: it has executed */
        } plan;
        uint8_t bytes[WIRE_MAX_FRAME];
    } ordered[MAX_ORDERS];
};
extern struct tables *tables;
#define kept (tables->kept)
#define keys (tables->keys) /* rows of child_launch, child_pid, children */
#define stored (tables->stored) /* rows of stored_fd, stored_flags */
#define child_launch (tables->child_launch)
#define child_pid (tables->child_pid)
#define children (tables->children)
#define stored_fd (tables->stored_fd)
#define stored_flags (tables->stored_flags)
extern int tables_fd;
bool tables_make(void), tables_map(int fd); /* false: errno, or they are not as ours */
int names_find(const struct names *names, const char *name); /* row, or -1 */
const char *name_of(const struct names *names, int row), *options_of(const struct names *names, int row);
/* A row, or -1: of child_launch or child_pid; where the tables are full. */
int find_row(const uint64_t column[], uint64_t value), child_add(uint64_t launch, const char *key);
extern struct owing { int from, to; } owing; /* no row outside owes the manager anything */
void owe(int row, uint32_t what);
int store_put(const char *name, const char *options, int fd, uint8_t flags); /* takes fd */
int store_find(const char *name), store_drop(const char *name); /* row, or -1; an errno */
void child_remove(int row), store_remove(int row);
uint64_t get_number(struct in *in, size_t size);
const char *get_text(struct in *in);
/* plan.c reads and checks launch plans; launch.c and child.c carry them out. */
/* A format is one as in wire.h. */
bool take_fields(struct in body, const char *format, struct step *fields), next_step(struct in *plan, struct step *step);
int check_plan(struct plan *plan), adopt(int row, int pid), bear_again(struct plan *plan);
int launch(uint64_t launch, struct in payload, const int *sent, int sent_count);
_Noreturn void become(struct plan *plan);
int write_file(int directory, const char *path, const char *text);
void launch_settle(int row, int pid, const uint32_t report[3]); /* it has executed, or never will */
/* birth.c: how a process comes into the world; spawn.c: the processes that start others. */
int give_birth(struct order *order, struct plan *plan), hold(int flags, const char *const maps[3], int ends[2]);
bool spawn_room(void), spawners_idle(void), spawner_reaped(int pid);
int spawn(int row, const struct plan *plan), find_spawner(int pid), find_child(int pid); /* -1, or a row */
void spawners_answer(void), spawners_retire(bool again);
uint64_t spawners_tick(void); /* when next to look, 0: never */
void reap(int hint); /* everything that has ended; perhaps it is this pid alone */
/* streams.c: log streams, what the logger is told; manager.c: what the manager asks and is told. */
int stream_have(const char *name, const char *options); /* a stored row, or -errno */
void streams_tell_again(void), logger_pump(void), manager_gone(void), manager_readable(void);
bool streams_empty(void), manager_receive(void), manager_settled(void), manager_pump(void);
/* life.c: start and end of manager, logger and keeper. */
extern struct outbox boxes[PEERS];
extern char **peer_argv[PEERS], *own_words; /* where the kernel keeps our command line, for ps */
extern size_t own_words_size;
extern uint64_t ping_timeout;
bool flush(int who); /* sends its box; false: not all is out */
void unstall(int who), peer_lost(int who), peer_reaped(int pid, int status);
void life_signal(int sig, int pid, uint32_t uid), life_reaped(void), life_nudged(void), nudge_listen(bool on);
uint64_t life_tick(void); /* does what is due; when next (monotonic ns, 0: never) */
bool end_all(int status, bool by_itself), life_ending(void), bears_mark(const char *path); /* end_all: false if it is under way already */
/* reexec.c: one keeper becoming another. */
int reexec_ask(const char *path, uint64_t tag); /* -1: answered later */
void reexec_tick(void), reexec_take_over(const char *fds), reexec_watch(void); /* fds: "TABLES,OLD" */
/* main.c: the one epoll, and what is waited for; mini.c: tini, dumb-init and the like. */
enum { WATCH_SIGNALS = PEERS, WATCH_NUDGE, WATCH_SPAWNER }; /* and MANAGER, LOGGER, with: */
#define PEER_EVENTS(who) (EPOLLRDHUP | ((who) == MANAGER ? EPOLLIN | EPOLLET : 0u)) /* the logger says nothing */
int watch(int fd, int kind, uint32_t events);
void unwatch(int fd);
_Noreturn void mini(char **argv), be_holder(int sock);
/* machine.c: PID 1 of a machine, before it is the keeper; down.c: after. */
extern bool machine, on_hardware; /* PID 1 that booted one; and no container */
char **machine_main(int *argc, char **argv);
/* A shell on the console, unless there is one. Told: by a signal to go down. */
void machine_rescue(const char *reason), machine_reaped(int pid), machine_told(int sig, int end);
/* What a signal asks for: 0 poweroff, 1 reboot (and any end), 2 halt, 3 kexec; -1: nothing. -1: errno; there may be text. */
int machine_action(int sig), read_text(const char *path, char *text, size_t size);
_Noreturn void machine_end(int action), be_down(int action), machine_fails(const char *reason); /* elsewhere an exit status, 1 */
