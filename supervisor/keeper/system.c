/* Small wrappers over the kernel: time, words on standard error, descriptors, signals, processes. */
#include <poll.h>
#include <stdarg.h>
#include <time.h>
#include "keeper.h"

uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail: the clock exists, the address is good */
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

const char *number(int64_t value) {
    static char buffers[4][24];
    static unsigned next;
    char *at = buffers[next++ % 4] + 23;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do *--at = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0) *--at = '-';
    return at;
}

void say(const char *first, ...) {
    char line[1024] = "unboxed-init: ";
    size_t length = strlen(line);
    va_list rest;
    va_start(rest, first);
    for (const char *word = first; word; word = va_arg(rest, const char *))
        while (*word && length < sizeof line - 1) line[length++] = *word++;
    va_end(rest);
    line[length++] = '\n';
    /* A terminal that is stopped, or a pipe that nobody reads, must not stop the keeper. */
    struct pollfd ready = {2, POLLOUT, 0};
    if (poll(&ready, 1, 0) == 1 && ready.revents & POLLOUT && write(2, line, length) < 0)
        return; /* nowhere is left to say so */
}

int close_for(int error, int fd) {
    if (fd >= 0) close(fd);
    return error;
}
int lift(int fd) {
    if (fd < 0 || fd >= LOW) return fd;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, LOW);
    errno = close_for(errno, fd);
    return high;
}
int reopen(int fd, int flags) {
    char path[40] = "/proc/self/fd/";
    return open(strcat(path, number(fd)), flags | O_CLOEXEC | O_NOCTTY);
}

void close_from(unsigned first) {
    if (syscall(SYS_close_range, first, ~0U, 0)) /* Linux before 5.9 */
        for (; first < 65536; first++) close((int)first);
}

/* Not fork(2) of libc, which runs handlers and takes locks. */
int fork_self(void) { return (int)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }

/* The kernel's own calls, because libc keeps two real-time signals for itself: a keeper that left
 * them unblocked could be killed with them. Its sigaction is handler, flags, restorer, mask. */
static long dispose(int sig, void (*handler)(int), unsigned long flags) {
    unsigned long action[8] = {(unsigned long)handler, flags};
    return syscall(SYS_rt_sigaction, sig, action, NULL, 8);
}
void block_all_signals(void) {
    uint64_t all = ~UINT64_C(0);
    for (int sig = 1; sig <= 64; sig++)
        dispose(sig, SIG_DFL, sig == SIGCHLD ? SA_NOCLDSTOP : 0); /* fails for SIGKILL and SIGSTOP */
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8);
}

/* All dispositions were made the default ones when the keeper started, so these are all. */
int reset_signals(uint64_t ignored) {
    uint64_t none = 0;
    for (int sig = 1; sig <= 64; sig++)
        if (ignored >> (sig - 1) & 1 && dispose(sig, SIG_IGN, 0)) return errno;
    return syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8) ? errno : 0;
}

/* Children only: what lives below them becomes ours as they end, and is found by the next call. */
int signal_children(int sig, pid_t spared, pid_t spared_too) {
    static char text[64 * 1024];
    int left = 0, pid;
    strcat(strcat(strcpy(text, "/proc/self/task/"), number(getpid())), "/children");
    int fd = open(text, O_RDONLY | O_CLOEXEC); /* without /proc, or with a foreign one, the known ones */
    ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    text[got > 0 ? got : 0] = 0;
    for (char *at = text, *end = strrchr(text, ' '); end && at < end;) /* what is cut off waits too */
        if ((pid = (int)strtol(at, &at, 10)) != spared && pid != spared_too)
            left += !kill(-pid, sig) || !kill(pid, sig); /* its group, if it leads one */
    for (uint32_t row = 0; fd < 0 && row < keys.count; row++)
        left += child_pid[row] && child_pid[row] != UNBORN && !kill((pid_t)child_pid[row], sig);
    return close_for(left, fd);
}
