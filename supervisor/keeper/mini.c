/* A small init for one command, as PID 1 of a container: starts it, passes signals on, reaps orphans,
 * ends as it ends. Called tini or dumb-init, it takes their options and environment and has their
 * habits (who gets a signal, the terminal, exit statuses); by any other name, tini's. */
#include <linux/capability.h>
#include <poll.h>
#include <sys/mount.h>
#include "keeper.h"

static bool dumb, whole_group, subreaper, tell_reaped; /* dumb: dumb-init's habits */
static int verbosity = 1, death_signal, rewritten[32];
static uint8_t to_zero[256], skipped[65]; /* exit statuses; signals that losing the terminal sends us */

static _Noreturn void tell(char what) { /* -h, -l, --version; else how it is used */
    if (what != '?' && !dumb) dup2(1, 2); /* it was asked for */
    if (what == 'V') say("keeper version ", number(WIRE_VERSION), NULL);
    else if (what == 'l') say("licence Apache-2.0", NULL);
    else say("usage: ", dumb ? "dumb-init [-c] [-r FROM:TO]... [-v] [-h] [-V] [--] COMMAND..." : "unboxed-init "
             "[-s] [-g] [-w] [-v]... [-p SIGNAL] [-e STATUS]... [-h] [-l] [--version] [--] COMMAND...", NULL);
    _exit(what == '?');
}

static bool take_option(char letter, const char *value) {
    char *rest = "-";
    long first = value ? strtol(value, &rest, 10) : 0;
    long second = rest[0] == ':' && rest[1] >= '0' && rest[1] <= '9' ? atol(rest + 1) : -1;
    switch (strchr(dumb ? "crvhV" : "sgwvpehlV", letter) ? letter : '?') {
    case 's': return subreaper = true;
    case 'g': return whole_group = true;
    case 'c': whole_group = false; return true;
    case 'w': return tell_reaped = true;
    case 'v': verbosity += dumb ? 2 : 1; return true;
    case 'e': return !*rest && first >= 0 && first < 256 && (to_zero[first] = 1);
    case 'r':
        if (first < 1 || first > 31 || second < 0 || second > 31) return false;
        rewritten[first] = (int)second;
        return true;
    case 'p':
        for (int sig = 31; sig > 0 && value && !strncmp(value, "SIG", 3); sig--)
            if (!strcmp(value + 3, sigabbrev_np(sig))) death_signal = sig;
        return death_signal;
    case '?': return false;
    }
    tell(letter);
}

static char **take_options(char **argv) { /* what follows them */
    static const char *const longs[] = {"--version", "--single-child", "--rewrite", "--verbose", "--help"};
    for (; *argv && argv[0][0] == '-' && argv[0][1]; argv++) {
        size_t length = strcspn(*argv, "="); /* of a long option's name */
        char *value = argv[0][length] ? *argv + length + 1 : NULL, *letters = *argv + 1;
        if (!strcmp(*argv, "--")) return argv + 1;
        for (int i = 0; *letters == '-' && i < (dumb ? 5 : 1); i++)
            if (!strncmp(longs[i], *argv, length) && !longs[i][length])
                letters = memcpy(*argv, &"V\0c\0r\0v\0h"[2 * i], 2);
        for (bool wants = false; *letters && !wants; letters++) {
            if ((wants = strchr("per", *letters)) && !value) value = letters[1] ? letters + 1 : *++argv;
            if ((wants && !value) || !take_option(*letters, wants ? value : NULL)) tell('?');
        }
    }
    return argv;
}

static _Noreturn void become_command(char **argv, uint64_t mask) {
    if (dumb && whole_group && (setsid() < 0 || ioctl(0, TIOCSCTTY, 0) > 0)) _exit(1); /* perhaps no terminal */
    if (!dumb && (setpgid(0, 0) || (tcsetpgrp(0, getpid()) && errno != ENOTTY && errno != ENXIO))) _exit(1);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, 8);
    execvp(argv[0], argv);
    int status = dumb ? 2 : errno == ENOENT ? 127 : errno == EACCES ? 126 : 1;
    say("cannot execute ", argv[0], ": ", strerrordesc_np(errno), NULL);
    _exit(status);
}

static void pass_on(int sig, int child) {
    int to = sig < 32 ? rewritten[sig] : sig;
    if (verbosity > 2) say("signal ", number(sig), " is passed on as ", number(to), NULL);
    if (to) kill(whole_group ? -child : child, to); /* fails when all have ended: SIGCHLD is under way */
}

static void reap_all(int child) { /* does not return once the command has ended */
    int status, pid, end = -1;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == child) end = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        else if (tell_reaped || verbosity > 2) say("reaped process ", number(pid), NULL);
    if (end < 0) return;
    if (dumb) pass_on(SIGTERM, child); /* to what is left of its session */
    if (verbosity > 1) say("the command ended with status ", number(end), NULL);
    _exit(to_zero[end] ? 0 : end);
}

static _Noreturn void run(char **argv) {
    uint64_t all = ~UINT64_C(0), mask = 0;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &mask, 8);
    if (signal(SIGCHLD, SIG_DFL) == SIG_ERR || (death_signal && prctl(PR_SET_PDEATHSIG, death_signal))
        || (subreaper && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)))
        _exit(1);
    if (!dumb && !subreaper && getpid() != 1 && verbosity > 0)
        say("neither PID 1 nor, with -s, a subreaper: orphans will not be reaped", NULL);
    if (dumb && whole_group && !ioctl(0, TIOCNOTTY) && getsid(0) == getpid())
        skipped[SIGHUP] = skipped[SIGCONT] = 1;
    int child = fork_self();
    if (child == 0) become_command(argv, mask);
    if (child < 0) say("cannot fork: ", strerrordesc_np(errno), NULL), _exit(1);
    if (verbosity > 1) say("started ", argv[0], " as process ", number(child), NULL);
    if (dumb && chdir("/")) say("cannot leave the working directory: ", strerrordesc_np(errno), NULL);
    for (int sig;;) {
        if ((sig = (int)syscall(SYS_rt_sigtimedwait, &all, NULL, NULL, 8)) < 0) continue; /* EINTR */
        if (sig == SIGCHLD) reap_all(child);
        else if (skipped[sig]) skipped[sig] = 0;
        else if (dumb || (sig != SIGTTIN && sig != SIGTTOU)) pass_on(sig, child);
        if (dumb && (sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU)) kill(getpid(), SIGSTOP);
    }
}

/* Keeps namespaces for those who join them. It goes on as soon as it is told that they have been joined, without
 * anything that the service could take from it, and until the far end of its socket closes: the service has
 * executed then, or never will. In a pid namespace it stays until the service has ended (process 2, which is
 * the keeper's child) and no other is left; whoever lost his parent is reaped by the kernel meanwhile. */
static _Noreturn void hold_namespaces(void) {
    const uint64_t all = ~UINT64_C(0);
    const uint32_t header[2] = {_LINUX_CAPABILITY_VERSION_3}, none[6] = {0};
    char byte;
    close_from(1);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8);
    if (signal(SIGCHLD, SIG_IGN) == SIG_ERR || chdir("/") || read(0, &byte, 1) != 1
        || syscall(SYS_capset, header, none) || prctl(PR_SET_DUMPABLE, 0) || write(0, "", 1) != 1)
        _exit(1);
    while (read(0, &byte, 1) > 0) {}
    struct pollfd service = {getpid() == 1 ? (int)syscall(SYS_pidfd_open, 2, 0) : -1, POLLIN, 0};
    while (service.fd >= 0 && poll(&service, 1, -1) < 1) {}
    while (getpid() == 1 && (waitpid(-1, NULL, 0) > 0 || errno == EINTR)) {}
    _exit(0);
}

/* Whoever may trace the holder (root of its user namespace) finds no other root by /proc/PID/root. */
static bool empty_root(void) {
#ifdef __SANITIZE_ADDRESS__ /* which begins by reading /proc/self/maps, and has libraries to load */
    return true;
#endif
    return !unshare(CLONE_NEWNS) && !mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL)
        && !mount("none", "/proc", "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k")
        && !chdir("/proc") && !syscall(SYS_pivot_root, ".", ".") && !umount2(".", MNT_DETACH);
}

_Noreturn void be_holder(int sock) { /* becomes that */
    static char *argv[] = {"unboxed-init", "--hold", NULL};
    int self = open("/proc/self/exe", O_PATH | O_CLOEXEC);
    if (self >= 0 && !dup2(sock, 0) && empty_root()) syscall(SYS_execveat, self, "", argv, argv + 2, AT_EMPTY_PATH);
    _exit(127);
}

_Noreturn void mini(char **argv) {
    const char *slash = strrchr(argv[0], '/'), *value;
    if (argv[1] && !strcmp(argv[1], "--hold")) hold_namespaces();
    dumb = whole_group = !strcmp(slash ? slash + 1 : argv[0], "dumb-init");
    for (int sig = 0; sig < 32; sig++) /* -1: decided below */
        rewritten[sig] = dumb && (sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU) ? -1 : sig;
    argv = take_options(argv + 1);
    subreaper |= !dumb && getenv("TINI_SUBREAPER");
    whole_group |= !dumb && getenv("TINI_KILL_PROCESS_GROUP");
    if ((value = getenv(dumb ? "DUMB_INIT_DEBUG" : "TINI_VERBOSITY"))) verbosity = atoi(value) * (dumb ? 3 : 1);
    if (dumb && (value = getenv("DUMB_INIT_SETSID")) && !strcmp(value, "0")) whole_group = false;
    for (int sig = 0; sig < 32; sig++) /* in an orphaned process group these would do nothing */
        if (rewritten[sig] < 0) rewritten[sig] = whole_group ? SIGSTOP : sig;
    if (!*argv) tell('?');
    run(argv);
}
