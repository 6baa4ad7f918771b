/* The child's one dumb loop: carry out the plan's steps in order and become the service.
 * Runs on checked bytes in the memory of a spawner, which waits meanwhile and finds out from the report
 * which step failed. All that is static here is the spawner's own, and is used anew by the next child.
 * What steps need has numbers at LOW or above, targets are below: none overwrites what another needs. */
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/openat2.h>
#include "keeper.h"

static char *pointers[2 * MAX_LISTED + MAX_PID_VARIABLES + 2]; /* environment, NULL, arguments, NULL */
static struct { uint32_t done, variables, pid_variables, fd_steps, logs; int holder[2]; bool forked; } so_far;
static char pid_variable[MAX_PID_VARIABLES][WIRE_MAX_NAME + 32];

static int failed(bool failure) { return failure ? errno : 0; }
int write_file(int directory, const char *path, const char *text) {
    int fd = openat(directory, path, O_WRONLY | O_CLOEXEC);
    return close_for(failed(fd < 0 || write(fd, text, strlen(text)) < 0), fd);
}

static int use_log(const int *writers, int64_t uid, int64_t gid) { /* the second is descriptor 2's alone */
    int writer = writers[so_far.logs++];
    if ((uid != -1 || gid != -1) && fchown(writer, (uid_t)uid, (gid_t)gid)) return errno;
    return failed((so_far.logs == 1 && dup2(writer, 1) < 0) || dup2(writer, 2) < 0);
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

/* With O_NOFOLLOW by no link at all, also not on the way: somebody else may be able to change that. */
static int open_at(int target, int flags, const char *path) {
    struct open_how how = {.flags = (unsigned)flags, .mode = flags & O_CREAT ? 0666 : 0, .resolve = RESOLVE_NO_SYMLINKS};
    int fd = !(flags & O_NOFOLLOW) ? open(path, flags) : (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
    int error = fd < 0 ? errno : place(fd, target);
    return close_for(error, fd == target ? -1 : fd);
}
static char **list_texts(struct step *step, char **to) {
    for (uint32_t i = 0; i < step->count; i++) to[i] = (char *)(uintptr_t)get_text(&step->list);
    to[step->count] = NULL;
    return to;
}
static int add_pid_variable(const char *name) {
    char *variable = strcat(strcpy(pid_variable[so_far.pid_variables++], name), "=");
    pointers[so_far.variables++] = strcat(variable, number(getpid()));
    pointers[so_far.variables] = NULL;
    return 0;
}

static int bound(uint64_t keep) { /* for good: what is gone from the bounding set, no exec brings back */
    for (int one = 0; one < 64; one++)
        if (!(keep >> one & 1) && prctl(PR_CAPBSET_DROP, one, 0, 0, 0)) return one && errno == EINVAL ? 0 : errno;
    return 0;
}

/* Any call of the table, with numbers, addresses within the plan's data, and what earlier calls left there. */
static int call(const int64_t *value, uint8_t *data) {
    static const long calls[] = {WIRE_CALLS};
    long a[5];
    int result;
    for (int i = 0; i < 5; i++) {
        int64_t kind = value[3] >> 2 * i & 3;
        a[i] = kind == CALL_ADDRESS ? (long)(data + value[4 + i]) : value[4 + i];
        if (kind == CALL_RESULT) a[i] = *(int *)memcpy(&result, data + a[i], sizeof result);
    }
    if (calls[value[0]] == SYS_prctl && a[0] == 65 && !so_far.forked) return EPERM; /* PR_SET_MDWE, of this memory */
    result = (int)syscall(calls[value[0]], a[0], a[1], a[2], a[3], a[4]);
    if (result < 0 && errno != value[1]) return errno;
    memcpy(data + value[2], &result, sizeof result);
    return 0;
}

static int take_step(struct step *step, struct plan *plan) {
    const int64_t *value = step->number;
    const char *text = step->text[0];
    uint8_t *data = (uint8_t *)(uintptr_t)plan->data.at;
    const uint32_t header[2] = {_LINUX_CAPABILITY_VERSION_3}, low = (uint32_t)value[0], high = (uint32_t)(value[0] >> 32);
    switch (step->code) {
    case STEP_CGROUP: return !plan->join ? 0 : write_file(plan->cgroup_fd, "cgroup.procs", "0");
    case STEP_LOG: return use_log(plan->writer, value[0], value[1]);
    case STEP_SIGNALS: return reset_signals((uint64_t)value[0]);
    case STEP_SESSION: return failed(setsid() < 0);
    case STEP_WRITE: return write_file(AT_FDCWD, text, step->text[1]);
    case STEP_UMASK: umask((mode_t)value[0]); return 0;
    case STEP_CAPSET: return failed(syscall(SYS_capset, header, (uint32_t[]){low, low, 0, high, high, 0}));
    case STEP_BOUND: return bound((uint64_t)value[0]);
    case STEP_GID: return set_ids(SYS_setresgid, SYS_getresgid, (unsigned)value[0]);
    case STEP_UID: return set_ids(SYS_setresuid, SYS_getresuid, (unsigned)value[0]);
    case STEP_DIRECTORY: return enter(text);
    case STEP_ENV: list_texts(step, pointers); so_far.variables = step->count;
        /* Nothing that the service could take from its holder is there when that is ready. To wait later would
         * be too late: descriptors come to their targets next, and the socket may have the number of one. */
        return *so_far.holder && read(*so_far.holder, pid_variable[0], 1) != 1 ? ECHILD : 0;
    case STEP_ENV_PID: return add_pid_variable(text);
    case STEP_OPEN: return open_at((int)value[0], (int)value[1], text);
    case STEP_FD: return place(plan->fds[so_far.fd_steps++], (int)value[0]);
    case STEP_SENT_FD: return place(plan->fds[plan->fd_steps + value[1]], (int)value[0]);
    case STEP_CLOSE_FROM:
        syscall(SYS_close_range, (unsigned)value[0], ~0U, CLOSE_RANGE_CLOEXEC);
        return 0; /* fails before Linux 5.11, where only what the plan itself has placed higher stays open */
    case STEP_DATA: plan->data = step->list; return 0;
    case STEP_ADDRESS: memcpy(data + value[0], &(uint8_t *){data + value[1]}, sizeof(void *)); return 0;
    case STEP_CALL: return call(value, data);
    case STEP_HOLD: return hold((int)value[0], step->text, so_far.holder);
    case STEP_FORK: so_far.forked = true; return bear_again(plan);
    case STEP_NO_NEW_PRIVS: return failed(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    case STEP_EXEC: plan->report[2] = 0; /* as far as anybody will learn */
        return failed(syscall(SYS_execve, text, list_texts(step, pointers + so_far.variables + 1), pointers, WIRE_EXEC_MARK));
    }
    return EINVAL;
}

_Noreturn void become(struct plan *plan) {
    struct step step = {0};
    uint32_t error = 0;
    memset(&so_far, 0, sizeof so_far);
    pointers[0] = NULL;
    setrlimit(RLIMIT_NOFILE, &kept.nofile); /* cannot fail: it only goes down */
    while (next_step(&plan->steps, &step) && !(error = (uint32_t)take_step(&step, plan))) so_far.done++;
    memcpy(plan->report, (uint32_t[]){so_far.done, step.code, error}, sizeof plan->report);
    _exit(127);
}
