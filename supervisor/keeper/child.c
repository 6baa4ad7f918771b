/* The child's one dumb loop: carry out the plan's steps in order and become the service.
 *
 * Runs in a fork of the keeper, on checked bytes. A step that fails is written to the status pipe as
 * {u32 index, u32 code, i32 errno}; a single byte just before execve tells the end of the pipe by
 * exec from the end of it by a death before. What is needed later has numbers at LOW or above and
 * targets are below LOW, so no step can overwrite what another needs. */
#include <linux/openat2.h>
#include <sched.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include "keeper.h"

static char *pointers[WIRE_MAX_FRAME + MAX_PID_VARIABLES + 2]; /* environment, NULL, arguments, NULL: fewer than bytes */
static uint32_t variables, pid_variables;
static char pid_variable[MAX_PID_VARIABLES][WIRE_MAX_NAME + 32];
static gid_t groups[65536];

static int failed(bool failure)
{
    return failure ? errno : 0;
}

static int write_file(int directory, const char *path, const char *text)
{
    int fd = openat(directory, path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int error = failed(write(fd, text, strlen(text)) < 0);
    close(fd);
    return error;
}

/* The service may reopen /dev/stderr: so the pipe is its own, and open for writing only. */
static int use_log(int log_fd, int64_t uid, int64_t gid)
{
    if ((uid != -1 || gid != -1) && fchown(log_fd, (uid_t)uid, (gid_t)gid))
        return errno;
    int writer = reopen(log_fd, O_WRONLY);
    if (writer < 0) /* no /proc */
        writer = log_fd;
    int error = failed(dup2(writer, 1) < 0 || dup2(writer, 2) < 0);
    if (writer != log_fd)
        close(writer);
    return error;
}

static int set_groups(struct step *step)
{
    if (step->count > sizeof groups / sizeof *groups)
        return EINVAL;
    for (uint32_t i = 0; i < step->count; i++)
        groups[i] = get_u32(&step->list);
    return failed(setgroups(step->count, groups));
}

static int set_gid(gid_t gid)
{
    gid_t real, effective, saved;
    if (setresgid(gid, gid, gid) || getresgid(&real, &effective, &saved))
        return errno;
    return real == gid && effective == gid && saved == gid ? 0 : EPERM;
}

static int set_uid(uid_t uid)
{
    uid_t real, effective, saved;
    if (setresuid(uid, uid, uid) || getresuid(&real, &effective, &saved))
        return errno;
    return real == uid && effective == uid && saved == uid ? 0 : EPERM;
}

/* A magic link (/proc/self/fd/N) as a working directory has led out of containers (CVE-2024-21626). */
static int enter(const char *path)
{
    static char where[MAX_PATH + 1];
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
    if (fd < 0 && errno == ENOSYS)
        fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fchdir(fd))
        return errno;
    close(fd);
    if (syscall(SYS_getcwd, where, sizeof where) < 0)
        return errno;
    return where[0] == '/' ? 0 : ENOENT; /* "(unreachable)..." */
}

static int place(int fd, int target) /* at its target, to stay open at exec */
{
    return failed(fd == target ? fcntl(fd, F_SETFD, 0) < 0 : dup2(fd, target) < 0);
}

static int open_at(int target, int flags, const char *path)
{
    int fd = open(path, flags, 0666);
    int error = fd < 0 ? errno : place(fd, target);
    if (fd >= 0 && fd != target)
        close(fd);
    return error;
}

static void list_texts(struct step *step, char **to)
{
    uint32_t i = 0;
    for (; i < step->count; i++)
        to[i] = (char *)(uintptr_t)get_text(&step->list, 0);
    to[i] = NULL;
}

/* 0 or an errno. */
static int take_step(struct step *step, const int *sent, int status_fd, int log_fd, int cgroup_fd)
{
    const int64_t *number_of = step->number;
    const char *text = step->text[0];
    struct rlimit limit = {(rlim_t)number_of[2], (rlim_t)number_of[3]};
    cpu_set_t cpus;
    switch (step->code) {
    case STEP_CGROUP: return cgroup_fd < 0 ? 0 : write_file(cgroup_fd, "cgroup.procs", "0");
    case STEP_LOG: return use_log(log_fd, number_of[0], number_of[1]);
    case STEP_SIGNALS: return reset_signals((uint64_t)number_of[0]);
    case STEP_SESSION: return failed(setsid() < 0);
    case STEP_OOM_SCORE: return write_file(AT_FDCWD, "/proc/self/oom_score_adj", number(number_of[0]));
    case STEP_RLIMIT: return failed(setrlimit((__rlimit_resource_t)number_of[0], &limit));
    case STEP_NICE: return failed(setpriority(PRIO_PROCESS, 0, (int)number_of[0]));
    case STEP_AFFINITY:
        CPU_ZERO(&cpus);
        CPU_SET((size_t)number_of[0], &cpus);
        return failed(sched_setaffinity(0, sizeof cpus, &cpus));
    case STEP_UMASK: umask((mode_t)number_of[0]); return 0;
    case STEP_GROUPS: return set_groups(step);
    case STEP_GID: return set_gid((gid_t)number_of[0]);
    case STEP_UID: return set_uid((uid_t)number_of[0]);
    case STEP_DIRECTORY: return enter(text);
    case STEP_ENV:
        list_texts(step, pointers);
        variables = step->count;
        return 0;
    case STEP_ENV_PID:
        pointers[variables] = strcpy(pid_variable[pid_variables++], text);
        strcat(strcat(pointers[variables++], "="), number(getpid()));
        pointers[variables] = NULL;
        return 0;
    case STEP_OPEN: return open_at((int)number_of[0], (int)number_of[1], text);
    case STEP_FD: return place(stored_fd[store_find(text)], (int)number_of[0]);
    case STEP_SENT_FD: return place(sent[number_of[1]], (int)number_of[0]);
    case STEP_CLOSE_FROM: return failed(cloexec_from((unsigned)number_of[0]));
    case STEP_NO_NEW_PRIVS: return failed(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    case STEP_EXEC:
        list_texts(step, pointers + variables + 1);
        if (write(status_fd, "x", 1) != 1)
            return errno;
        return failed(execve(text, pointers + variables + 1, pointers));
    }
    return EINVAL;
}

_Noreturn void become(struct in plan, const int *sent, int status_fd, int log_fd, int cgroup_fd)
{
    struct step step;
    uint32_t report[3] = {0};
    restore_nofile();
    for (; next_step(&plan, &step); report[0]++)
        if ((report[2] = (uint32_t)take_step(&step, sent, status_fd, log_fd, cgroup_fd)))
            break;
    report[1] = step.code;
    if (write(status_fd, report, sizeof report) < 0)
        _exit(126); /* the keeper is gone */
    _exit(127);
}
