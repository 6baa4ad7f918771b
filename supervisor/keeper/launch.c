/* Children: from a checked plan to a process, and from its end to an exit record.
 * Its spawner tells how a launch went, and an end that is seen before that waits for it, so EXECED and
 * LAUNCH_FAILED go before EXITED. No pidfd is kept: we alone reap, so a pid in the table is nobody else's. */
#include "keeper.h"

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

int launch(uint64_t launch_number, struct in payload, const int *sent, int sent_count) {
    const char *key = get_text(&payload);
    struct plan plan = {.steps = payload, .sent_count = sent_count, .cgroup_fd = -1};
    int base = store_find("cgroup"), stream = -1, error = check_plan(&plan);
    if (!*key || strlen(key) > WIRE_MAX_KEY || launch_number <= kept.highest || launch_number >> 56) return EINVAL;
    if (life_ending() || error) return error ? error : ESHUTDOWN;
    if (names_find(&keys, key) >= 0) return EEXIST;
    if (plan.cgroup.code && base < 0) return ENOENT;
    for (int i = 0; i < plan.logs; plan.log_fd[i++] = stored_fd[stream])
        if ((stream = stream_have(plan.log[i].text[0], plan.log[i].text[1])) < 0) return -stream;
    if (plan.cgroup.code && (plan.cgroup_fd = open_cgroup(stored_fd[base], plan.cgroup.text[0])) < 0) return errno;
    int row = child_add(launch_number, key);
    memcpy(plan.fds + plan.fd_steps, sent, (size_t)sent_count * sizeof *sent);
    error = row < 0 ? ENOSPC : spawn(row, &plan);
    if (!error) kept.highest = launch_number;
    else if (row >= 0) child_remove(row);
    return close_for(error, plan.cgroup_fd);
}

static void ended(struct child *child, int row);

void launch_settle(int row, int pid, const uint32_t report[3]) {
    struct child *child = &children[row];
    child->layout.pid = pid;
    child->layout.error = (int16_t)report[2];
    if (!pid) return owe(row, OWES_REFUSED);
    child->layout.state = report[2] ? STATE_LAUNCHING : STATE_RUNNING;
    child->execed = now_ns();
    if (report[2]) child->step_index = report[0], child->layout.step = (int16_t)report[1];
    owe(row, report[2] ? OWES_FAILED : OWES_EXECED);
    child->settled = 1;
    if (child->over) ended(child, row);
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
    if (!children[row].settled || find_row(child_pid, (uint64_t)pid) >= 0
        || pid == kept.peers[MANAGER].pid || pid == kept.peers[LOGGER].pid || find_spawner(pid) >= 0)
        return EBUSY;
    if (is_our_child(pid)) return become_main(&children[row], row, pid), 0;
    children[row].heir = pid; /* its parent must end first: only of our own do we learn the end */
    return child_pid[row] ? 0 : ECHILD;
}

static void ended(struct child *child, int row) {
    if (is_our_child(child->heir)) return become_main(child, row, child->heir);
    child_pid[row] = 0;
    child->layout.state = STATE_EXITED_UNACKED;
    child->layout.ended = now_ns();
    if (!kept.exits_told) kept.exits_told = child->layout.ended;
    owe(row, OWES_EXITED);
}

static uint32_t milliseconds(struct timeval t) { return (uint32_t)(t.tv_sec * 1000 + t.tv_usec / 1000); }

/* With many children the search of wait4(-1) is what costs most: so the one known goes first. */
void reap(int hint) {
    struct rusage used;
    int status, pid;
    for (; (pid = wait4(hint, &status, WNOHANG, &used)) > 0 || hint > 0; hint = -1) {
        if (pid <= 0) continue;
        int row = find_child(pid);
        life_reaped();
        if (row < 0 && !spawner_reaped(pid)) peer_reaped(pid, status);
        if (row < 0) continue;
        struct child *child = &children[row];
        child->layout.user_ms = milliseconds(used.ru_utime);
        child->layout.system_ms = milliseconds(used.ru_stime);
        child->layout.peak_kib = (uint32_t)used.ru_maxrss;
        child->layout.code = WIFEXITED(status) ? CLD_EXITED : WCOREDUMP(status) ? CLD_DUMPED : CLD_KILLED;
        child->layout.status = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status);
        child->over = 1;
        if (child->settled) ended(child, row);
        else child_pid[row] = UNBORN; /* nobody's now, and how the launch went is still to be told */
    }
}
