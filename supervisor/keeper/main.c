/* unboxed-init: the keeper (--supervise), and a small init for containers (anything else).
 *
 * Main thread, main loop, one epoll: signals (by signalfd: every signal is blocked, so none can end
 * the keeper), the manager, the logger, nudges, launches under way. It waits for ever when nothing is
 * pending. The architecture is in docs/keeper-protocol.md. */
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include "keeper.h"

static int epoll = -1, signals = -1;
static bool child_ended;

int watch(int fd, enum watch kind, uint32_t events, uint64_t launch_number)
{
    struct epoll_event event = {events, {.u64 = (uint64_t)kind << 56 | launch_number}};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

int rewatch(int fd, enum watch kind, uint32_t events)
{
    struct epoll_event event = {events, {.u64 = (uint64_t)kind << 56}};
    return epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
}

/* Explicitly, since a child that is still on its way to exec holds copies of what we close. */
void unwatch(int fd)
{
    epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL); /* fails only where watch() had */
}

static void take_signals(void)
{
    struct signalfd_siginfo taken[16];
    ssize_t got = read(signals, taken, sizeof taken);
    for (ssize_t i = 0; i < got / (ssize_t)sizeof *taken; i++)
        if (taken[i].ssi_signo == SIGCHLD)
            child_ended = true;
        else
            life_signal((int)taken[i].ssi_signo, (int)taken[i].ssi_pid, taken[i].ssi_uid);
}

static void manager_event(uint32_t events)
{
    if (events & EPOLLOUT)
        manager_box.stalled = false;
    if (events & EPOLLIN && !(events & (EPOLLHUP | EPOLLRDHUP)))
        manager_receive();
    if (events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR))
        peer_lost(&kept.manager);
}

static void logger_event(uint32_t events)
{
    char ignored[64];
    if (events & EPOLLOUT)
        logger_box.stalled = false;
    if (events & EPOLLIN && recv(kept.logger.sock, ignored, sizeof ignored, MSG_DONTWAIT) < 0)
        events |= errno == EAGAIN ? 0 : EPOLLERR;
    if (events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR))
        peer_lost(&kept.logger);
}

static void dispatch(const struct epoll_event *event)
{
    uint64_t launch_number = event->data.u64 & (~UINT64_C(0) >> 8);
    int row;
    switch ((enum watch)(event->data.u64 >> 56)) {
    case WATCH_SIGNALS: take_signals(); break;
    case WATCH_MANAGER: if (kept.manager.sock >= 0) manager_event(event->events); break;
    case WATCH_LOGGER: if (kept.logger.sock >= 0) logger_event(event->events); break;
    case WATCH_NUDGE: life_nudged(); break;
    case WATCH_ADOPTED: adopted_ended(launch_number); break;
    case WATCH_LAUNCH:
        row = child_by_launch(launch_number);
        if (row >= 0 && children[row].status_fd >= 0)
            launch_settle(row);
        break;
    }
}

static int timeout_ms(void)
{
    uint64_t deadline = life_deadline(), now = now_ns();
    if ((manager_box.stalled || logger_box.stalled) && (!deadline || deadline > now + SECOND))
        deadline = now + SECOND; /* out of memory: no event tells its end */
    if (!deadline)
        return -1;
    return deadline <= now ? 0 : (int)((deadline - now) / MILLISECOND) + 1;
}

static _Noreturn void supervise(void)
{
    struct epoll_event events[64];
    for (;;) {
        life_tick();
        logger_pump();
        manager_pump();
        reexec_tick();
        int got = epoll_wait(epoll, events, 64, timeout_ms());
        if (got == 0)
            manager_box.stalled = logger_box.stalled = false;
        for (int i = 0; i < got; i++)
            dispatch(&events[i]);
        if (child_ended) { /* not each time: with many children, wait4 that finds none is slow */
            child_ended = false;
            reap();
        }
    }
}

static void prepare(void)
{
    sigset_t all;
    struct rlimit limit;
    memset(&all, 0xff, sizeof all);
    block_all_signals();
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            open("/dev/null", fd ? O_WRONLY : O_RDONLY);
    epoll = lift(epoll_create1(EPOLL_CLOEXEC));
    signals = lift(signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK));
    if (epoll < 0 || signals < 0 || watch(signals, WATCH_SIGNALS, EPOLLIN, 0)
        || (getpid() != 1 && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)))
        say("cannot start: ", strerrordesc_np(errno), NULL), _exit(1);
    if (!getrlimit(RLIMIT_NOFILE, &limit)) {
        if (!kept.nofile.rlim_max)
            kept.nofile = limit;
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit); /* may not fail: the soft limit goes up to the hard one */
    }
}

static void add_environment(char **to)
{
    static char version[] = "UNBOXED_KEEPER_VERSION=00", *digits = version + sizeof version - 3;
    for (char **from = environ; *from; from++)
        if (strncmp(*from, version, (size_t)(digits - version)))
            *to++ = *from;
    strcpy(digits, number(WIRE_VERSION));
    *to++ = version;
    *to = NULL;
}

static char **cut(char **argv) /* at the next "--"; what follows it, or NULL */
{
    for (; *argv; argv++)
        if (!strcmp(*argv, "--")) {
            *argv = NULL;
            return argv[1] ? argv + 1 : NULL;
        }
    return NULL;
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "", *patience = getenv("UNBOXED_PING_TIMEOUT_MS");
    bool resume = !strcmp(word, "--resume") && argc > 4;
    if (!strcmp(word, "--check") && argc == 3)
        return reexec_check(atoi(argv[2]));
    if (strcmp(word, "--supervise") && !resume)
        return mini(argc, argv);
    int variables = 0;
    while (environ[variables])
        variables++;
    char *space[variables + 2], *again[argc + 4]; /* on the stack: the last memory we ask for */
    for (int i = 0; i + (resume ? 4 : 2) <= argc; i++)
        again[4 + i] = argv[i + (resume ? 4 : 2)];
    resume_argv = again;
    peer_environ = space;
    add_environment(space);
    manager_argv = argv + (resume ? 4 : 2);
    if (*manager_argv && !strcmp(*manager_argv++, "--"))
        logger_argv = cut(manager_argv);
    if (!logger_argv || !*manager_argv) {
        say("usage: unboxed-init --supervise -- MANAGER... -- LOGGER...", NULL);
        return 2;
    }
    if (patience && atoi(patience) > 0)
        ping_timeout = (uint64_t)atoi(patience) * MILLISECOND;
    if (resume)
        reexec_take_over(atoi(argv[2]), atoi(argv[3]));
    else
        syscall(SYS_close_range, 3, ~0U, 0); /* what the one who started us left open */
    prepare();
    if (resume)
        reexec_watch();
    child_ended = true; /* what ended while nobody watched */
    supervise();
}
