/* The first process of a machine under test, before it becomes unboxed-init; and who kills managers in it.
 *
 *   first                   HOST=usr:tmp:...   directories of the host's that it shows there, read-only
 *                           KILL=AT,EVERY,TIMES   as below, once the machine boots
 *                           INIT=PATH   what it becomes
 *   first --kill AT,EVERY,TIMES   kills the manager AT ms from now, and TIMES - 1 more (0: for ever), each
 *                           EVERY ms after the one before was there
 *
 * The kernel makes environment of what is NAME=VALUE on its command line. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

static int is_manager(const char *pid) { /* one that the keeper started: not a test's */
    char path[300], text[4096];
    int fd, parent = 0, i;
    ssize_t got;
    snprintf(path, sizeof path, "/proc/%s/cmdline", pid);
    if ((fd = open(path, O_RDONLY)) < 0) return 0;
    got = read(fd, text, sizeof text - 1);
    close(fd);
    if (got <= 0) return 0;
    text[got] = 0;
    for (i = 0; i < got; i++)
        if (!text[i]) text[i] = ' ';
    if (!strstr(text, "/manager/__main__.py ")) return 0;
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    if ((fd = open(path, O_RDONLY)) < 0) return 0;
    got = read(fd, text, sizeof text - 1);
    close(fd);
    if (got <= 0) return 0;
    text[got] = 0;
    return sscanf(strrchr(text, ')') + 1, " %*c %d", &parent) == 1 && parent == 1;
}

static int manager(void) {
    struct statfs kind; /* it is the host's until ours is mounted */
    DIR *all = statfs("/proc", &kind) || kind.f_type != 0x9fa0 ? NULL : opendir("/proc");
    struct dirent *one;
    int found = 0;
    while (all && !found && (one = readdir(all)))
        if (*one->d_name >= '0' && *one->d_name <= '9' && is_manager(one->d_name)) found = atoi(one->d_name);
    if (all) closedir(all);
    return found;
}

static void rest(int ms) {
    struct timespec wanted = {ms / 1000, ms % 1000 * 1000000L};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &wanted, &wanted) == EINTR) {}
}

static void kill_managers(const char *words) {
    int at = 0, every = 0, times = 1, killed = 0;
    sscanf(words, "%d,%d,%d", &at, &every, &times);
    int group = open("/sys/fs/cgroup/cgroup.procs", O_WRONLY); /* whoever stops our unit is not to end us */
    if (group >= 0 && write(group, "0", 1) > 0 && fork()) return; /* it is out of reach */
    setsid();
    for (rest(at); !times || killed < times;) {
        int pid = manager();
        if (!pid || kill(pid, SIGKILL)) {
            rest(2);
            continue;
        }
        char said[64];
        int length = snprintf(said, sizeof said, "KILLED manager %d\n", pid);
        int console = open("/dev/console", O_WRONLY | O_NOCTTY);
        if (console >= 0 && write(console, said, (size_t)length) > 0) close(console);
        killed++;
        rest(every);
    }
}

int main(int argc, char **argv) {
    char *host = getenv("HOST"), *words = getenv("KILL"), *init = getenv("INIT"), *name;
    if (argc == 3 && !strcmp(argv[1], "--kill")) return kill_managers(argv[2]), 0;
    puts("<first>"), fflush(stdout);
    for (name = host ? strtok(host, ":") : NULL; name; name = strtok(NULL, ":")) {
        char path[300];
        snprintf(path, sizeof path, "/%s", name);
        if (mount("none", path, "hostfs", MS_RDONLY, path)) perror(path);
    }
    if (words && !fork()) {
        kill_managers(words);
        return 0;
    }
    unsetenv("HOST"), unsetenv("KILL"), unsetenv("INIT");
    execl(init, init, NULL);
    perror(init);
    return 1;
}
