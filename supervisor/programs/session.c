/* unboxed-session: what becomes of a login, without a logind.
 *
 *     pam_exec.so quiet /usr/bin/unboxed-session sshd dropbear     (the hook of PAM; see pam-configs)
 *     unboxed-session ended LINE                                   (before a getty takes LINE again)
 *     unboxed-session hold                                         (a service: its stop ends them all)
 *
 * Law: a session of a service that is named here leaves the group of that service for one of its own,
 * /sys/fs/cgroup/sessions/UID/SERVICE-PID, which no supervisor touches: the service may be restarted,
 * and what a user left running (tmux) goes on. A login on a console stays in its getty's group and ends
 * with it. While a user has a session or a process of one, /run/user/UID is theirs, in a file system of
 * a tenth of the memory.
 *
 * A login never fails because of this program: what it cannot do, it says and leaves.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <syslog.h>
#include <unistd.h>
#include <utmp.h>

static const char SESSIONS[] = "/sys/fs/cgroup/sessions", USERS[] = "/run/user";

static void say(const char *verb, const char *object) {
    syslog(LOG_AUTHPRIV | LOG_WARNING, "cannot %s %s: %m; the session goes on without", verb, object);
}

__attribute__((format(printf, 3, 4)))
static bool path(char *into, size_t size, const char *format, ...) {
    va_list words;
    va_start(words, format);
    int length = vsnprintf(into, size, format, words);
    va_end(words);
    if (length >= 0 && (size_t)length < size) return true;
    errno = ENAMETOOLONG;
    return false;
}

static bool join(const char *group, pid_t pid) {
    char file[PATH_MAX], text[16];
    if (!path(file, sizeof file, "%s/cgroup.procs", group)) return false;
    int fd = open(file, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    int length = snprintf(text, sizeof text, "%d", (int)pid);
    bool done = write(fd, text, (size_t)length) == length;
    int error = errno;
    close(fd);
    errno = error;
    return done;
}

/* Nobody opens and closes sessions of the same machine at once. Let go as we end. The file is root's
 * alone: a lock that users could take would keep everybody out. */
static void take_turns(void) {
    static const char LOCK[] = "/run/unboxed/sessions.lock";
    int fd = open(LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || flock(fd, LOCK_EX)) say("lock", LOCK);
    if (mkdir(USERS, 0755) && errno != EEXIST) say("make", USERS);
}

static bool lives(pid_t pid) { return pid > 0 && (!kill(pid, 0) || errno == EPERM); }

/* The groups of this user's sessions whose first process and all others are gone; but for `closing`, of
 * which the first is about to go. True: no session is left. */
static bool sweep(const char *of_user, pid_t closing) {
    DIR *directory = opendir(of_user);
    if (!directory) return errno == ENOENT;
    for (struct dirent *entry; (entry = readdir(directory));) {
        const char *dash = strrchr(entry->d_name, '-');
        char group[PATH_MAX];
        if (entry->d_type != DT_DIR || !dash) continue;
        pid_t first = (pid_t)strtol(dash + 1, NULL, 10);
        if (first != closing && lives(first)) continue;
        if (path(group, sizeof group, "%s/%s", of_user, entry->d_name)) rmdir(group); /* EBUSY: somebody is in it */
    }
    closedir(directory);
    return !rmdir(of_user);
}

static void give_runtime(const char *directory, const struct passwd *user) {
    char options[128];
    struct stat it, above;
    if (mkdir(directory, 0700) && errno != EEXIST) {
        say("make", directory);
        return;
    }
    if (!lstat(directory, &it) && !stat(USERS, &above) && it.st_dev != above.st_dev) return; /* another session's */
    snprintf(options, sizeof options, "mode=0700,uid=%u,gid=%u,size=10%%", user->pw_uid, user->pw_gid);
    if (mount("tmpfs", directory, "tmpfs", MS_NOSUID | MS_NODEV, options)) {
        say("mount", directory);
        rmdir(directory); /* rather none than one in which /run could be filled */
    }
}

static void take_runtime(const char *directory) {
    if (umount2(directory, MNT_DETACH | UMOUNT_NOFOLLOW) && errno != EINVAL && errno != ENOENT) say("unmount", directory);
    rmdir(directory);
}

static int session(char **moved) {
    const char *type = getenv("PAM_TYPE"), *service = getenv("PAM_SERVICE"), *name = getenv("PAM_USER");
    if (!type || !service || !name || strchr(service, '/')) return 0;
    /* Another init that has sessions of its own; or no machine of ours, but a container of somebody's. */
    if (!access("/run/systemd/system", F_OK) || access("/run/unboxed/control", F_OK)) return 0;
    bool moves = false;
    for (; *moved; moved++) moves |= !strcmp(*moved, service);
    if (!moves && strcmp(service, "login")) return 0; /* su, sudo, cron: part of a session, or of a service */
    struct passwd *user = getpwnam(name);
    if (!user) say("look up", name);
    if (!user || access("/sys/fs/cgroup/cgroup.procs", F_OK)) return 0;

    char of_user[PATH_MAX], group[PATH_MAX], runtime[PATH_MAX];
    pid_t first = getppid();
    if (!path(of_user, sizeof of_user, "%s/%u", SESSIONS, user->pw_uid) ||
        !path(group, sizeof group, "%s/%s-%d", of_user, service, (int)first) ||
        !path(runtime, sizeof runtime, "%s/%u", USERS, user->pw_uid)) return 0;
    alarm(10); /* a login goes on without us rather than wait for a kernel that hangs */
    take_turns();
    if (!strcmp(type, "open_session")) {
        sweep(of_user, 0);
        if ((mkdir(SESSIONS, 0755) && errno != EEXIST) || (mkdir(of_user, 0755) && errno != EEXIST) ||
            (mkdir(group, 0755) && errno != EEXIST)) say("make", group);
        else if (moves && !join(group, first)) say("move the login into", group);
        give_runtime(runtime, user);
    } else if (!strcmp(type, "close_session")) {
        /* Both of us would keep the group from being empty. */
        if (moves && (!join(SESSIONS, first) || !join(SESSIONS, getpid()))) say("leave", group);
        if (sweep(of_user, first)) take_runtime(runtime);
    }
    return 0;
}

/* Who was logged in on this line is not any more, however they ended: login(1) leaves that to init. */
static int ended(const char *line) {
    struct utmp search = {0}, dead, *found;
    struct timeval now;
    strncpy(search.ut_line, line, sizeof search.ut_line - 1);
    setutent();
    found = getutline(&search); /* of a user, or of a getty before them */
    if (found && (!lives(found->ut_pid) || found->ut_pid == getppid())) {
        gettimeofday(&now, NULL);
        dead = *found;
        bool was_user = dead.ut_type == USER_PROCESS;
        dead.ut_type = DEAD_PROCESS;
        dead.ut_tv.tv_sec = (int)now.tv_sec, dead.ut_tv.tv_usec = (int)now.tv_usec;
        memset(dead.ut_user, 0, sizeof dead.ut_user), memset(dead.ut_host, 0, sizeof dead.ut_host);
        pututline(&dead);
        if (was_user) updwtmp("/var/log/wtmp", &dead);
    }
    endutent();
    return 0;
}

static void signal_all(const char *directory, int number) {
    DIR *open_one = opendir(directory);
    if (!open_one) return;
    char below[PATH_MAX];
    for (struct dirent *entry; (entry = readdir(open_one));)
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.' && path(below, sizeof below, "%s/%s", directory, entry->d_name))
            signal_all(below, number);
    closedir(open_one);
    FILE *file = path(below, sizeof below, "%s/cgroup.procs", directory) ? fopen(below, "re") : NULL;
    for (int pid; file && fscanf(file, "%d", &pid) == 1;)
        if (pid != getpid()) kill(pid, number);
    if (file) fclose(file);
}

static bool populated(void) {
    char file[PATH_MAX], text[128] = "";
    snprintf(file, sizeof file, "%s/cgroup.events", SESSIONS);
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    return length > 0 && strstr(text, "populated 1");
}

/* Shells heed HUP, others TERM; who heeds neither within 5 s is killed. */
static int hold(void) {
    sigset_t ends;
    int number;
    sigemptyset(&ends), sigaddset(&ends, SIGTERM), sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    sigwait(&ends, &number);
    signal_all(SESSIONS, SIGHUP);
    signal_all(SESSIONS, SIGCONT);
    signal_all(SESSIONS, SIGTERM);
    for (int tenths = 0; populated() && tenths < 50; tenths++) usleep(100000);
    int fd = open("/sys/fs/cgroup/sessions/cgroup.kill", O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, "1", 1) == 1) return 0;
    signal_all(SESSIONS, SIGKILL); /* a kernel before 5.14 */
    return 0;
}

int main(int count, char **words) {
    openlog("unboxed-session", LOG_PID, LOG_AUTHPRIV);
    if (count == 3 && !strcmp(words[1], "ended")) return ended(words[2]);
    if (count == 2 && !strcmp(words[1], "hold")) return hold();
    if (getenv("PAM_TYPE")) return session(words + 1);
    fputs("usage: unboxed-session ended LINE | hold; or by pam_exec(8), with the services whose sessions move\n", stderr);
    return 2;
}
