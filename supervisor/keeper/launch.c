/* Children: from a checked plan to a process, and from its end to an exit record.
 * A launch has one status pipe, watched for its end only: what the child writes does not wake us. It ends
 * by exec or by death; reaping looks at it first, so EXECED and LAUNCH_FAILED go before EXITED. No pidfd
 * is kept: we alone reap, so a pid in the table is not used again, and descriptors slow every fork. */
#include "keeper.h"

static void owe(struct child *child, uint32_t what) {
    if (!(child->owes & OWES_CHILD)) child->owes |= what; /* else that one will tell everything */
}

static int open_cgroup(int base, const char *path) { /* made if missing; -1: errno */
    char prefix[MAX_PATH + 1];
    int fd = openat(base, path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    for (size_t end = 0; fd < 0 && errno == ENOENT && path[end]; end++)
        if (path[end + 1] == '/' || !path[end + 1]) {
            memcpy(prefix, path, end + 1);
            prefix[end + 1] = 0;
            if (mkdirat(base, prefix, 0755) && errno != EEXIST) return -1;
            fd = openat(base, path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        }
    return lift(fd);
}

static int start(int row, struct plan *plan) {
    struct child *child = &children[row];
    int ends[2], error = 0;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK)) return errno;
    child->status_fd = lift(ends[0]);
    plan->status_fd = lift(ends[1]);
    if (child->status_fd < 0 || plan->status_fd < 0 || watch(child->status_fd, WATCH_LAUNCH, 0, child_launch[row]))
        error = errno;
    pid_t pid = error ? -1 : fork_into(plan->cgroup_fd);
    /* Linux before 5.7, a seccomp filter, a v1 hierarchy: the child goes to its cgroup by itself. */
    plan->join = pid < 0 && !error && plan->cgroup_fd >= 0
        && (errno == ENOSYS || errno == E2BIG || errno == EINVAL || errno == EBADF);
    if (plan->join) pid = fork_into(-1);
    if (pid == 0) become(plan);
    if (pid < 0) {
        error = error ? error : errno;
        unwatch(child->status_fd);
        close_for(0, child->status_fd);
    }
    child_pid[row] = (uint64_t)(child->layout.pid = pid);
    child->layout.started = now_ns();
    child->step_index = plan->last;
    return close_for(error, plan->status_fd);
}

int launch(uint64_t launch_number, struct in payload, const int *sent, int sent_count) {
    const char *key = get_text(&payload);
    struct plan plan = {.steps = payload, .sent = sent, .sent_count = sent_count, .cgroup_fd = -1};
    int base = store_find("cgroup"), stream = -1, error = check_plan(&plan);
    if (!*key || strlen(key) > WIRE_MAX_KEY || launch_number <= kept.highest || launch_number >> 56) return EINVAL;
    if (life_ending() || error) return error ? error : ESHUTDOWN;
    if (names_find(&keys, key) >= 0) return EEXIST;
    if (plan.cgroup.code && base < 0) return ENOENT;
    if (plan.log.code && (stream = stream_have(plan.log.text[0], plan.log.text[1])) < 0) return -stream;
    plan.log_fd = stream < 0 ? -1 : stored_fd[stream];
    if (plan.cgroup.code && (plan.cgroup_fd = open_cgroup(stored_fd[base], plan.cgroup.text[0])) < 0) return errno;
    int row = child_add(launch_number, key);
    error = row < 0 ? ENOSPC : start(row, &plan);
    if (!error) kept.highest = launch_number;
    else if (row >= 0) child_remove(row);
    return close_for(error, plan.cgroup_fd);
}

void launch_settle(int row) {
    struct child *child = &children[row];
    uint32_t report[3] = {child->step_index, STEP_EXEC, EINTR}; /* no word: killed before its exec */
    uint8_t told[sizeof report + 4];
    ssize_t got;
    while ((got = read(child->status_fd, told, sizeof told)) < 0 && errno == EINTR) continue;
    unwatch(child->status_fd);
    child->status_fd = close_for(-1, child->status_fd);
    if (got == 1) {
        child->layout.state = STATE_RUNNING;
        child->execed = now_ns();
        return owe(child, OWES_EXECED);
    }
    if (got >= (ssize_t)sizeof report) /* perhaps after the byte that announced the exec */
        memcpy(report, told + got - sizeof report, sizeof report);
    child->step_index = report[0];
    child->layout.step = (int16_t)report[1];
    child->layout.error = (int16_t)report[2];
    owe(child, OWES_FAILED);
}

static bool is_our_child(int pid) {
    siginfo_t info;
    return pid > 1 && !waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT);
}
static void become_main(struct child *child, int row, int pid) {
    child_pid[row] = (uint64_t)pid;
    child->layout = (struct layout){.pid = pid, .state = STATE_RUNNING, .started = child->layout.started};
    child->owes &= ~(uint32_t)OWES_EXITED; /* who ended is not this launch's main process any more */
    child->heir = -1;
    if (find_row(child_pid, 0) < 0) kept.exits_told = 0;
}

int adopt(int row, int pid) {
    if (row < 0 || pid <= 1 || kill(pid, 0)) return ESRCH;
    if (children[row].status_fd >= 0 || find_row(child_pid, (uint64_t)pid) >= 0
        || pid == kept.peers[MANAGER].pid || pid == kept.peers[LOGGER].pid)
        return EBUSY;
    if (is_our_child(pid)) return become_main(&children[row], row, pid), 0;
    children[row].heir = pid; /* its parent must end first: only of our own do we learn the end */
    return child_pid[row] ? 0 : ECHILD;
}

static void ended(struct child *child, int row) {
    if (child->status_fd >= 0) launch_settle(row);
    if (is_our_child(child->heir)) return become_main(child, row, child->heir);
    child_pid[row] = 0;
    child->layout.state = STATE_EXITED_UNACKED;
    child->layout.ended = now_ns();
    if (!kept.exits_told) kept.exits_told = child->layout.ended;
    owe(child, OWES_EXITED);
}

static uint32_t milliseconds(struct timeval t) { return (uint32_t)(t.tv_sec * 1000 + t.tv_usec / 1000); }

/* With many children the search of wait4(-1) is what costs most: so the one known goes first. */
void reap(int hint) {
    struct rusage used;
    int status, pid;
    for (; (pid = wait4(hint, &status, WNOHANG, &used)) > 0 || hint > 0; hint = -1) {
        int row = pid > 0 ? find_row(child_pid, (uint64_t)pid) : -1;
        if (row < 0 && pid > 0) peer_reaped(pid, status);
        if (row < 0) continue;
        struct child *child = &children[row];
        child->layout.user_ms = milliseconds(used.ru_utime);
        child->layout.system_ms = milliseconds(used.ru_stime);
        child->layout.peak_kib = (uint32_t)used.ru_maxrss;
        child->layout.code = WIFEXITED(status) ? CLD_EXITED : WCOREDUMP(status) ? CLD_DUMPED : CLD_KILLED;
        child->layout.status = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status);
        ended(child, row);
    }
}
