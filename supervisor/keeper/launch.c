/* Children: from a checked plan to a process, and from its end to an exit record.
 *
 * A launch has one status pipe. It is watched for its end only (no EPOLLIN), so what the child writes
 * does not wake the keeper twice. The end comes by exec or by death; reaping looks at it first, so
 * EXECED and LAUNCH_FAILED always go before EXITED. No pidfd is kept for a child: the keeper alone
 * reaps, so a pid in the table cannot have been used again, and each fd would slow every fork. */
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "keeper.h"

static void owe(int row, uint8_t what)
{
    if (!(child_owes[row] & OWES_CHILD)) /* that one will tell everything */
        child_owes[row] |= what;
}

/* An O_PATH descriptor of the cgroup, made if missing; -1 (errno). */
static int open_cgroup(int base, const char *path)
{
    char prefix[MAX_PATH + 1];
    int fd = openat(base, path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 || errno != ENOENT)
        return lift(fd);
    for (const char *slash = path; slash;) {
        slash = strchr(slash + 1, '/');
        size_t length = slash ? (size_t)(slash - path) : strlen(path);
        memcpy(prefix, path, length);
        prefix[length] = 0;
        if (mkdirat(base, prefix, 0755) && errno != EEXIST)
            return -1;
    }
    return lift(openat(base, path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

static int start(int row, struct in plan, const int *sent, int log_fd, int cgroup_fd)
{
    int pipe_ends[2];
    if (pipe2(pipe_ends, O_CLOEXEC | O_NONBLOCK))
        return errno;
    int reader = lift(pipe_ends[0]), writer = lift(pipe_ends[1]), error = errno;
    if (reader >= 0 && writer >= 0 && !watch(reader, WATCH_LAUNCH, 0, child_launch[row])) {
        pid_t pid = fork_into(cgroup_fd);
        bool join = pid < 0 && cgroup_fd >= 0 && (errno == ENOSYS || errno == EBADF || errno == EINVAL || errno == E2BIG);
        if (join) /* Linux before 5.7, a seccomp filter, or a v1 hierarchy: the child goes there itself */
            pid = fork_into(-1);
        if (pid == 0)
            become(plan, sent, writer, log_fd, join ? cgroup_fd : -1);
        if (pid > 0) {
            close(writer);
            child_pid[row] = pid;
            children[row].status_fd = reader;
            children[row].started = now_ns();
            return 0;
        }
        error = errno;
        unwatch(reader);
    } else if (reader >= 0 && writer >= 0)
        error = errno;
    if (reader >= 0)
        close(reader);
    if (writer >= 0)
        close(writer);
    return error;
}

int launch(uint64_t launch_number, struct in payload, const int *sent, int sent_count)
{
    const char *key = get_text(&payload, WIRE_MAX_KEY);
    struct step cgroup = {0}, log = {0};
    uint32_t last = 0;
    if (payload.bad || launch_number <= kept.highest)
        return EINVAL;
    if (names_find(&keys, key) >= 0)
        return EEXIST;
    int error = check_plan(payload, sent_count, &cgroup, &log, &last), base = store_find("cgroup");
    if (error || (cgroup.code && base < 0))
        return error ? error : ENOENT;
    int stream = log.code ? stream_have(log.text[0], log.text[1]) : -1;
    if (log.code && stream < 0)
        return -stream;
    int cgroup_fd = cgroup.code ? open_cgroup(stored_fd[base], cgroup.text[0]) : -1;
    if (cgroup.code && cgroup_fd < 0)
        return errno;
    int row = child_add(launch_number, key);
    error = ENOSPC;
    if (row >= 0) {
        children[row].step = last;
        error = start(row, payload, sent, log.code ? stored_fd[stream] : -1, cgroup_fd);
        if (error)
            child_remove(row);
        else
            kept.highest = launch_number;
    }
    if (cgroup_fd >= 0)
        close(cgroup_fd);
    return error;
}

void launch_settle(int row)
{
    struct child *child = &children[row];
    uint8_t told[16];
    uint32_t report[3];
    ssize_t got = read(child->status_fd, told, sizeof told);
    unwatch(child->status_fd);
    close(child->status_fd);
    child->status_fd = -1;
    if (got == 1) {
        child->state = STATE_RUNNING;
        child->execed = now_ns();
        owe(row, OWES_EXECED);
        return;
    }
    child->failed_step = STEP_EXEC; /* no word: killed before its exec */
    child->error = EINTR;
    if (got >= (ssize_t)sizeof report) { /* perhaps after the byte that announced the exec */
        memcpy(report, told + got - sizeof report, sizeof report);
        child->step = report[0];
        child->failed_step = (int16_t)report[1];
        child->error = (int16_t)report[2];
    }
    owe(row, OWES_FAILED);
}

static void ended(int row, int code, int status)
{
    struct child *child = &children[row];
    if (child->status_fd >= 0)
        launch_settle(row);
    if (child->pidfd >= 0) {
        unwatch(child->pidfd);
        close(child->pidfd);
        child->pidfd = -1;
    }
    child->state = STATE_EXITED_UNACKED;
    child->code = code;
    child->status = status;
    child->ended = child->told = now_ns();
    owe(row, OWES_EXITED);
}

static uint32_t milliseconds(struct timeval time)
{
    return (uint32_t)(time.tv_sec * 1000 + time.tv_usec / 1000);
}

void reap(void)
{
    struct rusage used;
    int status;
    pid_t pid;
    while ((pid = wait4(-1, &status, WNOHANG, &used)) > 0) {
        int row = child_by_pid(pid);
        if (row < 0) {
            if (!peer_reaped(pid, status))
                kept.orphans++;
            continue;
        }
        children[row].user_ms = milliseconds(used.ru_utime);
        children[row].system_ms = milliseconds(used.ru_stime);
        children[row].peak_kib = (uint32_t)used.ru_maxrss;
        if (WIFEXITED(status))
            ended(row, CLD_EXITED, WEXITSTATUS(status));
        else
            ended(row, WCOREDUMP(status) ? CLD_DUMPED : CLD_KILLED, WTERMSIG(status));
    }
}

static bool is_own_child(int pid)
{
    siginfo_t info;
    return !waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT);
}

/* The pidfd of an adopted process is readable: reap() has it if it was ours, else its status is
 * known to its parent only. */
void adopted_ended(uint64_t launch_number)
{
    reap();
    int row = child_by_launch(launch_number);
    if (row >= 0 && children[row].pidfd >= 0 && !is_own_child(child_pid[row]))
        ended(row, CLD_EXITED, -1);
}

int adopt(uint64_t launch_number, int pid)
{
    int row = child_by_launch(launch_number), pidfd = -1;
    if (row < 0 || pid <= 1 || !descends(pid))
        return ESRCH;
    if (child_by_pid(pid) >= 0 || pid == kept.manager.pid || pid == kept.logger.pid || children[row].status_fd >= 0)
        return EBUSY;
    if (!is_own_child(pid)) {
        pidfd = lift((int)syscall(SYS_pidfd_open, pid, 0));
        if (pidfd < 0)
            return errno;
        if (watch(pidfd, WATCH_ADOPTED, EPOLLIN, launch_number)) {
            int error = errno;
            close(pidfd);
            return error;
        }
    }
    if (children[row].pidfd >= 0) {
        unwatch(children[row].pidfd);
        close(children[row].pidfd);
    }
    child_pid[row] = pid;
    child_owes[row] &= (uint8_t)~OWES_EXITED; /* who ended is not this launch's main one any more */
    children[row] = (struct child){.started = children[row].started, .execed = children[row].execed,
                                   .state = STATE_RUNNING, .status_fd = -1, .pidfd = pidfd};
    return 0;
}
