/* The child's one dumb loop: carry out the plan's steps in order and become the service.
 * Runs on checked bytes in the memory of a spawner, which waits meanwhile and finds out from the report
 * which step failed. All that is static here is the spawner's own, and is used anew by the next child.
 * What steps need has numbers at LOW or above, targets are below: none overwrites what another needs. */
#include <grp.h>
#include <linux/close_range.h>
#include <linux/openat2.h>
#include "keeper.h"

static char *pointers[2 * MAX_LISTED + MAX_PID_VARIABLES + 2]; /* environment, NULL, arguments, NULL */
static uint32_t done, variables, pid_variables; /* how many steps, and of those, so far */
static int fd_steps;
static char pid_variable[MAX_PID_VARIABLES][WIRE_MAX_NAME + 32];
static gid_t groups[MAX_LISTED];

static int failed(bool failure) { return failure ? errno : 0; }
int write_file(int directory, const char *path, const char *text) {
    int fd = openat(directory, path, O_WRONLY | O_CLOEXEC);
    return close_for(failed(fd < 0 || write(fd, text, strlen(text)) < 0), fd);
}

static int use_log(int writer, int64_t uid, int64_t gid) {
    if ((uid != -1 || gid != -1) && fchown(writer, (uid_t)uid, (gid_t)gid)) return errno;
    return failed(dup2(writer, 1) < 0 || dup2(1, 2) < 0);
}
static int set_groups(struct step *step) {
    for (uint32_t i = 0; i < step->count; i++) groups[i] = (gid_t)get_number(&step->list, 4);
    return failed(setgroups(step->count, groups));
}

/* All three of the kernel's ids, looked at again: a process that keeps one is not what was asked for. */
static int set_ids(long setter, long getter, unsigned id) {
    unsigned real, effective, saved;
    if (syscall(setter, id, id, id) || syscall(getter, &real, &effective, &saved)) return errno;
    return real == id && effective == id && saved == id ? 0 : EPERM;
}

/* A magic link (/proc/self/fd/N) as a working directory has led out of containers (CVE-2024-21626). */
static int enter(const char *path) {
    static char where[MAX_PATH + 1];
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
    if (fd < 0 && errno == ENOSYS) /* Linux before 5.6, or a seccomp filter */
        fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fchdir(fd) || close(fd) || syscall(SYS_getcwd, where, sizeof where) < 0) return errno;
    return where[0] == '/' ? 0 : ENOENT; /* "(unreachable)..." */
}

static int place(int fd, int target) { /* at its target, to stay open at exec */
    return failed(fd == target ? fcntl(fd, F_SETFD, 0) < 0 : dup2(fd, target) < 0);
}

static int open_at(int target, int flags, const char *path) {
    int fd = open(path, flags, 0666), error = fd < 0 ? errno : place(fd, target);
    return close_for(error, fd == target ? -1 : fd);
}
static int pin(size_t cpu) {
    cpu_set_t cpus = {0};
    CPU_SET(cpu, &cpus);
    return failed(sched_setaffinity(0, sizeof cpus, &cpus));
}
static char **list_texts(struct step *step, char **to) {
    for (uint32_t i = 0; i < step->count; i++) to[i] = (char *)(uintptr_t)get_text(&step->list);
    to[step->count] = NULL;
    return to;
}
static int add_pid_variable(const char *name) {
    char *variable = strcat(strcpy(pid_variable[pid_variables++], name), "=");
    pointers[variables++] = strcat(variable, number(getpid()));
    pointers[variables] = NULL;
    return 0;
}

/* Any call of the table, with numbers, addresses within the plan, and what earlier calls returned there. */
static int call(const int64_t *value, uint8_t *bytes) {
    static const long calls[] = {WIRE_CALLS};
    long argument[5];
    int result;
    for (int i = 0; i < 5; i++) {
        argument[i] = value[4 + i];
        if (value[3] >> 2 * i & CALL_ADDRESS) argument[i] = (long)(bytes + value[4 + i]);
        else if (value[3] >> 2 * i & CALL_RESULT) argument[i] = *(int *)memcpy(&result, bytes + value[4 + i], sizeof result);
    }
    result = (int)syscall(calls[value[0]], argument[0], argument[1], argument[2], argument[3], argument[4]);
    if (result < 0 && errno != value[1]) return errno;
    if (value[2]) memcpy(bytes + value[2], &result, sizeof result);
    return 0;
}

static int take_step(struct step *step, struct plan *plan) {
    const int64_t *value = step->number;
    const char *text = step->text[0];
    struct rlimit limit = {(rlim_t)value[2], (rlim_t)value[3]};
    switch (step->code) {
    case STEP_CGROUP: return !plan->join ? 0 : write_file(plan->cgroup_fd, "cgroup.procs", "0");
    case STEP_LOG: return use_log(plan->writer, value[0], value[1]);
    case STEP_SIGNALS: return reset_signals((uint64_t)value[0]);
    case STEP_SESSION: return failed(setsid() < 0);
    case STEP_OOM_SCORE: return write_file(AT_FDCWD, "/proc/self/oom_score_adj", number(value[0]));
    case STEP_WRITE: return write_file(AT_FDCWD, text, step->text[1]);
    case STEP_RLIMIT: return failed(setrlimit((__rlimit_resource_t)value[0], &limit));
    case STEP_NICE: return failed(setpriority(PRIO_PROCESS, 0, (int)value[0]));
    case STEP_AFFINITY: return pin((size_t)value[0]);
    case STEP_UMASK: umask((mode_t)value[0]); return 0;
    case STEP_GROUPS: return set_groups(step);
    case STEP_GID: return set_ids(SYS_setresgid, SYS_getresgid, (unsigned)value[0]);
    case STEP_UID: return set_ids(SYS_setresuid, SYS_getresuid, (unsigned)value[0]);
    case STEP_DIRECTORY: return enter(text);
    case STEP_ENV: list_texts(step, pointers); variables = step->count; return 0;
    case STEP_ENV_PID: return add_pid_variable(text);
    case STEP_OPEN: return open_at((int)value[0], (int)value[1], text);
    case STEP_FD: return place(plan->fds[fd_steps++], (int)value[0]);
    case STEP_SENT_FD: return place(plan->fds[plan->fd_steps + value[1]], (int)value[0]);
    case STEP_CLOSE_FROM:
        syscall(SYS_close_range, (unsigned)value[0], ~0U, CLOSE_RANGE_CLOEXEC);
        return 0; /* fails before Linux 5.11, where only what the plan itself has placed higher stays open */
    case STEP_CALL: return call(value, plan->bytes);
    case STEP_ADDRESS: memcpy(plan->bytes + value[0], &(uint8_t *){plan->bytes + value[1]}, sizeof(void *)); return 0;
    case STEP_HOLD: return hold((int)value[0], step->text);
    case STEP_FORK: return bear_again(plan, value[0]);
    case STEP_NO_NEW_PRIVS: return failed(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    case STEP_EXEC:
        plan->report[2] = 0; /* as far as anybody will learn */
        return failed(execve(text, list_texts(step, pointers + variables + 1), pointers));
    }
    return EINVAL;
}

_Noreturn void carry_on(struct plan *plan) {
    struct step step = {0};
    uint32_t error = 0;
    while (next_step(&plan->steps, &step) && !(error = (uint32_t)take_step(&step, plan))) done++;
    memcpy(plan->report, (uint32_t[]){done, step.code, error}, sizeof plan->report);
    _exit(127);
}

_Noreturn void become(struct plan *plan) {
    done = variables = pid_variables = 0;
    fd_steps = 0;
    pointers[0] = NULL;
    setrlimit(RLIMIT_NOFILE, &kept.nofile); /* cannot fail: it only goes down */
    carry_on(plan);
}
