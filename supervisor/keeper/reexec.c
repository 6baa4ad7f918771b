/* REEXEC: another keeper program takes over the same process, and with it every child.
 *
 * The tables go through a sealed memfd, the descriptors simply stay open. Since a program that cannot
 * read them would lose every service, it is asked first, as a child with --check; and if the new one
 * fails all the same, it executes the old one again, of which it was handed a descriptor. */
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include "keeper.h"

enum { TABLE_VERSION = 1 }; /* raise it with every change of what is saved */
enum { TABLE_IS_GOOD = 200 }; /* exit status of --check that no other program gives by chance */

static const struct { void *at; size_t each; const uint32_t *count; } sections[] = {
    {&kept, sizeof kept, NULL},
    {child_pid, sizeof *child_pid, &keys.count}, {child_launch, sizeof *child_launch, &keys.count},
    {child_owes, sizeof *child_owes, &keys.count}, {children, sizeof *children, &keys.count},
    {keys.hash, sizeof *keys.hash, &keys.count}, {keys.at, sizeof *keys.at, &keys.count},
    {keys.text, 1, &keys.used},
    {stored_fd, sizeof *stored_fd, &stored.count}, {stored_flags, sizeof *stored_flags, &stored.count},
    {stored.hash, sizeof *stored.hash, &stored.count}, {stored.at, sizeof *stored.at, &stored.count},
    {stored.text, 1, &stored.used},
};
enum { SECTIONS = sizeof sections / sizeof *sections };

struct header {
    char magic[8];
    uint32_t version, row_size, kept_size, children, key_bytes, names, name_bytes, zero;
    uint64_t checksum;
};

char **resume_argv;
static char wanted[MAX_PATH + 1];
static int checker; /* the pid that tries --check */
static bool approved;

static size_t size_of(int section)
{
    return sections[section].each * (sections[section].count ? *sections[section].count : 1);
}

static uint64_t checksum(void)
{
    uint64_t sum = UINT64_C(14695981039346656037); /* FNV-1a */
    for (int i = 0; i < SECTIONS; i++)
        for (size_t at = 0; at < size_of(i); at++)
            sum = (sum ^ ((const uint8_t *)sections[i].at)[at]) * UINT64_C(1099511628211);
    return sum;
}

static struct header describe(void)
{
    return (struct header){"unboxed", TABLE_VERSION, sizeof *children, sizeof kept, keys.count, keys.used,
                           stored.count, stored.used, 0, checksum()};
}

static int save(void) /* a sealed memfd, -1 (errno) */
{
    struct header header = describe();
    struct iovec parts[SECTIONS + 1] = {{&header, sizeof header}};
    ssize_t size = sizeof header;
    for (int i = 0; i < SECTIONS; i++) {
        parts[i + 1] = (struct iovec){sections[i].at, size_of(i)};
        size += (ssize_t)size_of(i);
    }
    int fd = lift(memfd_create("unboxed-tables", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (fd < 0)
        return -1;
    ssize_t written = writev(fd, parts, SECTIONS + 1);
    if (written == size && !fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE))
        return fd;
    int error = written >= 0 && written < size ? ENOSPC : errno;
    close(fd);
    errno = error;
    return -1;
}

static int load(int fd)
{
    struct header header, expected;
    struct stat file;
    if (pread(fd, &header, sizeof header, 0) != sizeof header || fstat(fd, &file))
        return EBADMSG;
    if (header.children > MAX_ROWS || header.names > MAX_ROWS || header.key_bytes > sizeof keys.text
        || header.name_bytes > sizeof stored.text)
        return EBADMSG;
    keys.count = header.children;
    keys.used = header.key_bytes;
    stored.count = header.names;
    stored.used = header.name_bytes;
    off_t at = sizeof header;
    for (int i = 0; i < SECTIONS; at += (off_t)size_of(i++))
        if (pread(fd, sections[i].at, size_of(i), at) != (ssize_t)size_of(i))
            return EBADMSG;
    expected = describe();
    return at == file.st_size && !memcmp(&header, &expected, sizeof header) ? 0 : EBADMSG;
}

int reexec_check(int fd)
{
    int error = load(fd);
    return error ? error : TABLE_IS_GOOD;
}

int reexec_ask(const char *path, uint64_t tag)
{
    if (checker)
        kill(checker, SIGKILL); /* if that one hangs, the next try will do */
    if (checker || approved || life_ending())
        return EBUSY;
    int table = save();
    if (table < 0)
        return errno;
    strcpy(wanted, path);
    kept.reexec_tag = tag;
    int pid = fork_into(-1), error = errno;
    if (pid == 0) {
        char *argv[] = {wanted, "--check", "3", NULL};
        if (dup2(table, 3) != 3 || cloexec_from(4) || reset_signals(0))
            _exit(126);
        execve(wanted, argv, peer_environ);
        _exit(errno);
    }
    close(table);
    checker = pid > 0 ? pid : 0;
    return pid > 0 ? -1 : error;
}

static void reply(int error)
{
    kept.reexec_error = error;
    kept.owes_reexec = 1;
}

bool reexec_checked(int pid, int status)
{
    if (pid != checker)
        return false;
    checker = 0;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
    approved = code == TABLE_IS_GOOD;
    if (!approved)
        reply(code > 0 && code < 134 ? code : ENOEXEC); /* an errno, or another program's status */
    return true;
}

static void keep_open(int fd)
{
    if (fd >= 0 && fcntl(fd, F_SETFD, 0))
        say("cannot keep descriptor ", number(fd), ": ", strerrordesc_np(errno), NULL);
}

void reexec_tick(void)
{
    if (!approved || !manager_quiet())
        return;
    approved = false;
    if (logger_box.length) /* half said: all of it again */
        streams_tell_again();
    int table = save(), error = errno, old = lift(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    if (table >= 0) {
        keep_open(table);
        keep_open(old);
        keep_open(kept.manager.sock);
        keep_open(kept.logger.sock);
        for (uint32_t row = 0; row < keys.count; row++) {
            keep_open(children[row].status_fd);
            keep_open(children[row].pidfd);
        }
        for (uint32_t row = 0; row < stored.count; row++)
            keep_open(stored_fd[row]);
        resume_argv[0] = wanted;
        resume_argv[1] = "--resume";
        resume_argv[2] = (char *)(uintptr_t)number(table);
        resume_argv[3] = (char *)(uintptr_t)number(old);
        execve(wanted, resume_argv, environ);
        error = errno;
        cloexec_from(3);
        close(table);
    }
    if (old >= 0)
        close(old);
    reply(error);
}

void reexec_take_over(int table, int old)
{
    int error = load(table);
    if (error && old >= 0) {
        say("cannot read the tables: ", strerrordesc_np(error), "; the old keeper goes on", NULL);
        resume_argv[1] = "--resume";
        resume_argv[2] = (char *)(uintptr_t)number(table);
        resume_argv[3] = "-1";
        syscall(SYS_execveat, old, "", resume_argv, environ, AT_EMPTY_PATH);
    }
    if (error) {
        say("cannot take over: ", strerrordesc_np(error), "; every service is lost", NULL);
        _exit(1);
    }
    close(table);
    if (old >= 0)
        close(old);
    cloexec_from(3);
    kept.resumed = 1;
    reply(old < 0 ? EBADMSG : 0);
}

/* Into the new epoll, which prepare() has made. */
void reexec_watch(void)
{
    int failed = 0, nudge = store_find("nudge");
    if (kept.manager.sock >= 0)
        failed |= watch(kept.manager.sock, WATCH_MANAGER, EPOLLIN | EPOLLRDHUP, 0);
    if (kept.logger.sock >= 0)
        failed |= watch(kept.logger.sock, WATCH_LOGGER, EPOLLIN | EPOLLRDHUP, 0);
    if (nudge >= 0)
        failed |= watch(stored_fd[nudge], WATCH_NUDGE, kept.ping_sent ? 0 : EPOLLIN, 0);
    for (uint32_t row = 0; row < keys.count; row++) {
        if (children[row].status_fd >= 0)
            failed |= watch(children[row].status_fd, WATCH_LAUNCH, 0, child_launch[row]);
        if (children[row].pidfd >= 0)
            failed |= watch(children[row].pidfd, WATCH_ADOPTED, EPOLLIN, child_launch[row]);
    }
    if (failed)
        say("cannot watch everything: ", strerrordesc_np(errno), NULL);
}
