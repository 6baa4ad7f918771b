/* unboxed-init: the keeper (--supervise), and a small init for containers (anything else).
 * One thread, one loop, one epoll: signals (by signalfd: all are blocked, so none can end the keeper),
 * the manager, the logger, nudges, launches under way. With nothing pending it waits for ever. */
#include <sys/signalfd.h>
#include "keeper.h"

static int epoll = -1, signals = -1, ended_pid = -1; /* 0: no SIGCHLD came; a pid: perhaps of it alone */

int watch(int fd, int kind, uint32_t events) { /* for these, if it is watched already */
    struct epoll_event event = {events, {.fd = kind}};
    int error = epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
    return error && errno == ENOENT ? epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) : error;
}

/* Explicitly, since a spawner that is just being made holds copies of what we close. */
void unwatch(int fd) { epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL); }

static void take_signals(void) {
    struct signalfd_siginfo taken[16];
    ssize_t got = read(signals, taken, sizeof taken);
    for (ssize_t i = 0; i < got / (ssize_t)sizeof *taken; i++) {
        int sig = (int)taken[i].ssi_signo, pid = (int)taken[i].ssi_pid;
        if (sig == SIGCHLD) ended_pid = pid ? pid : -1;
        else life_signal(sig, pid, taken[i].ssi_uid);
    }
}

static void dispatch(const struct epoll_event *event) {
    int kind = event->data.fd;
    if (kind == WATCH_SIGNALS) take_signals();
    else if (kind == WATCH_NUDGE) life_nudged();
    else if (kind == WATCH_SPAWNER) spawners_answer();
    else if (kind < PEERS && kept.peers[kind].sock >= 0) { /* not lost since epoll_wait */
        if (event->events & EPOLLOUT) unstall(kind);
        if (event->events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR)) peer_lost(kind); /* hears out a manager */
        else if (event->events & EPOLLIN) manager_readable();
    }
}

static _Noreturn void supervise(void) {
    struct epoll_event events[64];
    for (;;) {
        if (ended_pid) reap(ended_pid);
        ended_pid = 0;
        bool more = manager_pump();
        logger_pump();
        reexec_tick();
        uint64_t next = life_tick(), now = now_ns();
        int timeout = more || (next && next <= now) ? 0 : !next ? -1 : (int)((next - now) / (SECOND / 1000)) + 1;
        for (int i = 0, got = epoll_wait(epoll, events, 64, timeout); i < got; i++) dispatch(&events[i]);
    }
}

static void prepare(int resume) {
    sigset_t all;
    struct rlimit limit;
    memset(&all, 0xff, sizeof all);
    block_all_signals();
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0) open("/dev/null", fd ? O_WRONLY : O_RDONLY); /* perhaps there is none */
    epoll = lift(epoll_create1(EPOLL_CLOEXEC));
    signals = lift(signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK));
    if ((!resume && !tables_make()) || epoll < 0 || signals < 0 || watch(signals, WATCH_SIGNALS, EPOLLIN)
        || watch(kept.answers, WATCH_SPAWNER, EPOLLIN)
        || (getpid() != 1 && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)) || getrlimit(RLIMIT_NOFILE, &limit))
        say("cannot start: ", strerrordesc_np(errno), NULL), machine_fails("there is no keeper");
    if (resume) reexec_watch();
    else kept.nofile = limit;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit); /* cannot fail: a soft limit may go up to the hard one */
}

int main(int argc, char **argv) {
    static char version[40] = "UNBOXED_KEEPER_VERSION=", times[64] = "UNBOXED_KEEPER_NS=";
    own_words = argv[0]; /* one behind the other */
    own_words_size = (size_t)(argv[argc - 1] + strlen(argv[argc - 1]) - argv[0]);
    strcat(times, number((int64_t)now_ns())), argv = machine_main(&argc, argv);
    const char *word = argc > 1 ? argv[1] : "", *patience = getenv("UNBOXED_PING_TIMEOUT_MS");
    int logger = 3, resume = !strncmp(word, "--resume=", 9);
    if (strcmp(word, "--supervise") && !resume) mini(argv);
    while (logger < argc && strcmp(argv[logger], "--")) logger++;
    /* When it began, and when what comes before the keeper was done. */
    strcat(version, number(WIRE_VERSION)), strcat(strcat(times, " "), number((int64_t)now_ns()));
    if (logger < 4 || logger + 1 >= argc || strcmp(argv[2], "--") || putenv(version) || putenv(times)) {
        say("usage: unboxed-init --supervise -- MANAGER... -- LOGGER...", NULL);
        return 2;
    }
    if (patience && atoi(patience) > 0) ping_timeout = (uint64_t)atoi(patience) * (SECOND / 1000);
    peer_argv[MANAGER] = argv + 3;
    peer_argv[LOGGER] = argv + logger + 1;
    argv[logger] = NULL; /* the manager's end; REEXEC puts it back */
    if (resume) reexec_take_over(word + 9);
    else close_from(3); /* what our starter left open */
    prepare(resume);
    supervise();
}
