/* Small wrappers over the kernel: time, words on standard error, descriptors, signals, processes. */
#include <linux/close_range.h>
#include <linux/sched.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <time.h>
#include "keeper.h"

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail: the clock exists and the address is good */
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

const char *number(int64_t value)
{
    static char buffers[4][24];
    static unsigned next;
    char *end = buffers[next++ % 4] + 23;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    *end = 0;
    do
        *--end = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0)
        *--end = '-';
    return end;
}

void say(const char *first, ...)
{
    char line[1024] = "unboxed-init: ";
    size_t length = strlen(line);
    va_list rest;
    va_start(rest, first);
    for (const char *word = first; word; word = va_arg(rest, const char *))
        while (*word && length < sizeof line - 1)
            line[length++] = *word++;
    va_end(rest);
    line[length++] = '\n';
    /* A terminal that is stopped or a pipe that nobody reads must not stop the keeper. */
    struct pollfd ready = {2, POLLOUT, 0};
    if (poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT) && write(2, line, length) < 0)
        return; /* nowhere is left to say so */
}

int lift(int fd)
{
    if (fd < 0 || fd >= LOW)
        return fd;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, LOW), error = errno;
    close(fd);
    errno = error;
    return high;
}

int reopen(int fd, int flags)
{
    char path[40] = "/proc/self/fd/";
    strcat(path, number(fd));
    return open(path, flags | O_CLOEXEC | O_NOCTTY);
}

static void set_cloexec(int fd)
{
    if (fd > 2)
        fcntl(fd, F_SETFD, FD_CLOEXEC); /* fails only for the directory's own, closed by then */
}

int cloexec_from(unsigned first)
{
    if (!syscall(SYS_close_range, first, ~0U, CLOSE_RANGE_CLOEXEC))
        return 0;
    /* Linux before 5.11. What lies between 3 and `first` is then a child's declared descriptor. */
    return first > 3 ? -1 : for_each_number("/proc/self/fd", set_cloexec);
}

int for_each_number(const char *directory, void (*visit)(int))
{
    struct entry { uint64_t inode, offset; uint16_t size; uint8_t type; char name[]; };
    _Alignas(8) char buffer[4096];
    long got;
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    while ((got = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0)
        for (long at = 0; at < got;) {
            const struct entry *entry = (const void *)(buffer + at);
            int value = 0;
            for (const char *digit = entry->name; *digit >= '0' && *digit <= '9'; digit++)
                value = value * 10 + (*digit - '0');
            if (entry->name[0] >= '0' && entry->name[0] <= '9' && value != fd)
                visit(value);
            at += entry->size;
        }
    close(fd);
    return got < 0 ? -1 : 0;
}

pid_t fork_into(int cgroup)
{
    /* Not fork(2) of libc, which runs handlers and takes locks; not vfork either: a child that hangs
     * in a step (a dead NFS server) must never hold the keeper. */
    struct clone_args how = {.exit_signal = SIGCHLD};
    if (cgroup < 0)
        return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    how.flags = CLONE_INTO_CGROUP;
    how.cgroup = (unsigned)cgroup;
    return (pid_t)syscall(SYS_clone3, &how, sizeof how);
}

/* The kernel's own calls, because libc keeps two real-time signals for itself: a keeper that left
 * them unblocked could be killed with them. Its sigaction is handler, flags, restorer, mask. */
static int dispose(int sig, unsigned long handler, unsigned long flags)
{
    unsigned long action[8] = {handler, flags};
    return (int)syscall(SYS_rt_sigaction, sig, action, NULL, 8);
}

static int set_mask(uint64_t mask)
{
    return (int)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, 8);
}

int reset_signals(uint64_t ignored)
{
    /* The keeper made every disposition the default one when it started, so these are all. */
    for (int sig = 1; sig <= 64; sig++)
        if (ignored >> (sig - 1) & 1 && dispose(sig, (unsigned long)SIG_IGN, 0) < 0)
            return errno;
    return set_mask(0) < 0 ? errno : 0;
}

void block_all_signals(void)
{
    for (int sig = 1; sig <= 64; sig++)
        if (sig != SIGKILL && sig != SIGSTOP)
            dispose(sig, (unsigned long)SIG_DFL, sig == SIGCHLD ? SA_NOCLDSTOP : 0);
    set_mask(~UINT64_C(0));
}

void restore_nofile(void)
{
    setrlimit(RLIMIT_NOFILE, &kept.nofile); /* cannot fail: it only goes down */
}

/* Parent of a process and the letter of its state, from /proc; 0 if it is gone. */
static int parent_of(int pid, char *state)
{
    char text[512] = "/proc/";
    strcat(strcat(text, number(pid)), "/stat");
    int fd = open(text, O_RDONLY | O_CLOEXEC), parent = 0;
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[got > 0 ? got : 0] = 0;
    const char *at = strrchr(text, ')'); /* the name before it may hold anything */
    if (!at || strlen(at) < 5)
        return 0;
    *state = at[2];
    for (at += 4; *at >= '0' && *at <= '9'; at++)
        parent = parent * 10 + (*at - '0');
    return parent;
}

bool descends(int pid)
{
    char state;
    for (int depth = 0; pid > 1 && depth < 4096; depth++)
        if ((pid = parent_of(pid, &state)) == getpid())
            return true;
    return false;
}

static struct { int sig, left; pid_t spared[2]; } sweep;

static void signal_one(int pid)
{
    char state = 0;
    if (pid == sweep.spared[0] || pid == sweep.spared[1] || !descends(pid))
        return;
    parent_of(pid, &state);
    if (state && state != 'Z' && state != 'X' && kill(pid, sweep.sig) == 0)
        sweep.left++;
}

int signal_descendants(int sig, pid_t spared, pid_t spared_too)
{
    char self[16] = "";
    sweep.sig = sig;
    sweep.left = 0;
    sweep.spared[0] = spared;
    sweep.spared[1] = spared_too;
    /* A /proc that counts in another pid namespace would name strangers. */
    if (readlink("/proc/self", self, sizeof self - 1) > 0 && !strcmp(self, number(getpid())))
        for_each_number("/proc", signal_one);
    else
        for (uint32_t row = 0; row < keys.count; row++)
            if (children[row].state != STATE_EXITED_UNACKED && !kill(child_pid[row], sig))
                sweep.left++;
    return sweep.left;
}
