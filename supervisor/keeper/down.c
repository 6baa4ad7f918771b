/* The end of a machine, after the keeper: everything killed, written, unmounted, switched off.
 * The law: the process that calls reboot(2) does nothing that could wait for ever. Whatever touches a disk or
 * a network is done by a child, for which it waits so long and no longer, and all of it has one deadline. */
#include <linux/dm-ioctl.h>
#include <linux/loop.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/swap.h>
#include <time.h>
#include "keeper.h"

enum { ALL_S = 30, WRITING_S = 80, EACH_S = 5, MAX_MOUNTS = 4096, KEXEC = 0x45584543 };
static uint64_t deadline, last_deadline; /* the last: as long as something gets written */
static unsigned each_s = EACH_S;
static char table[2 * 1024 * 1024], *mounts[MAX_MOUNTS];

static bool pause_until(uint64_t when) { /* a child ended; false: the time is over */
    const uint64_t child = UINT64_C(1) << (SIGCHLD - 1);
    uint64_t now = now_ns();
    if (now >= when) return false;
    struct timespec rest = {(time_t)((when - now) / SECOND), (long)((when - now) % SECOND)};
    return syscall(SYS_rt_sigtimedwait, &child, NULL, &rest, 8) >= 0 || errno == EINTR;
}

static long to_write(void) { /* KiB that are on no disk yet */
    static const char *const words[] = {"\nDirty:", "\nWriteback:"};
    char text[4096], *at;
    long sum = 0;
    read_text("/proc/meminfo", text, sizeof text);
    for (int i = 0; i < 2; i++) sum += (at = strstr(text, words[i])) ? atol(at + strlen(words[i])) : 0;
    return sum;
}

static bool gets_written(long *left) { /* a slow disk, no dead one: it may have longer */
    long before = *left;
    *left = to_write();
    return *left + 1024 < before && now_ns() < last_deadline;
}

/* Let a child do it. Its errno (0: done), or -1: it took too long, and perhaps goes on. */
static int within(const char *what, const char *which, int (*act)(const char *), const char *about) {
    uint64_t until = now_ns() + each_s * SECOND;
    int status, pid = fork_self(), got = 0;
    long left = to_write();
    if (until > deadline) until = deadline;
    if (pid == 0) _exit(act(about) ? errno & 127 : 0);
    if (pid < 0) return errno;
    while ((got = waitpid(pid, &status, WNOHANG)) == 0 && (pause_until(until) || gets_written(&left)))
        if (now_ns() >= until) deadline += EACH_S * SECOND, until = now_ns() + EACH_S * SECOND;
    if (got == pid) return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
    kill(pid, SIGKILL);
    each_s = (each_s + 1) / 2; /* so that many dead servers leave time for the disks */
    say("cannot finish ", what, which, ": it takes too long; going on without it", NULL);
    return -1;
}

static void kill_all(int sig, unsigned seconds) { /* and wait until nobody is left */
    uint64_t until = now_ns() + seconds * SECOND;
    int pid;
    kill(-1, sig);
    do
        while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {}
    while (!pid && pause_until(until));
}

/* --- What is done by children: an int is 0, or -1 with an errno ------------------------------------------- */

static int write_all(const char *none) {
    (void)none;
    sync();
    return 0;
}
static int swap_off(const char *path) { return swapoff(path); }
static int unmount(const char *path) { return umount2(path, UMOUNT_NOFOLLOW); }
static int read_only(const char *path) {
    return mount(NULL, path, NULL, MS_REMOUNT | MS_RDONLY, NULL) && mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL);
}
static int loops_off(const char *none) {
    (void)none;
    for (int i = 0; i < 256; i++) {
        char path[32] = "/dev/loop";
        int fd = open(strcat(path, number(i)), O_RDONLY | O_CLOEXEC);
        if (fd >= 0) ioctl(fd, LOOP_CLR_FD, 0); /* ENXIO: free; EBUSY: something mounted is on it */
        close_for(0, fd);
    }
    return 0;
}
static int mapped_off(const char *none) { /* those that nothing is on */
    struct dm_ioctl all = {.version = {4, 0, 0}, .data_size = sizeof all};
    (void)none;
    int fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
    return fd < 0 || ioctl(fd, DM_REMOVE_ALL, &all);
}

/* --- Mounts ----------------------------------------------------------------------------------------------- */

static void decode(char *text) { /* "\040" and the like */
    char *to = text;
    for (; *text; to++, text++) {
        *to = *text;
        if (*text != '\\' || !text[1] || !text[2] || !text[3]) continue;
        *to = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
        text += 3;
    }
    *to = 0;
}

static bool is_the_kernels(const char *path) { /* with nothing on a disk; below /run somebody's disk may be */
    static const char *const places[] = {"/dev", "/proc", "/sys", "/run"};
    for (size_t i = 0, size; i < 4; i++)
        if (!strncmp(path, places[i], size = strlen(places[i])) && (!path[size] || (path[size] == '/' && i < 3))) return true;
    return !strcmp(path, "/");
}

static int list_mounts(void) { /* those to be unmounted, in the order in which they were mounted */
    int count = 0;
    read_text("/proc/self/mountinfo", table, sizeof table);
    for (char *line = table, *end; (end = strchr(line, '\n')) && count < MAX_MOUNTS; line = end + 1) {
        *end = 0; /* 36 35 98:0 /root /mount/point options - kind source */
        char *at = line;
        for (int i = 0; i < 4 && at; i++) at = strchr(at + 1, ' ');
        if (!at) continue;
        char *path = at + 1;
        path[strcspn(path, " ")] = 0;
        decode(path);
        if (!is_the_kernels(path)) mounts[count++] = path;
    }
    return count;
}

static void unmount_all(void) {
    bool stuck = false; /* one did not return: it is not waited for again */
    int left = list_mounts();
    for (int before = left + 1; left && left < before && !stuck; before = left, left = list_mounts()) {
        for (int i = left - 1; i >= 0; i--) stuck |= within("unmounting ", mounts[i], unmount, mounts[i]) < 0;
        within("detaching loop devices", "", loops_off, NULL);
        within("removing mapped devices", "", mapped_off, NULL);
    }
    for (int i = left - 1; i >= 0; i--) {
        int error = within("making read-only ", mounts[i], read_only, mounts[i]);
        say("cannot unmount ", mounts[i], error ? ": it is not finished" : ": it is in use, and read-only now", NULL);
    }
}

static void swaps_off(void) {
    read_text("/proc/swaps", table, sizeof table);
    for (char *line = strchr(table, '\n'), *end; line && (end = strchr(line + 1, '\n')); line = end) {
        line[1 + strcspn(line + 1, " \t")] = 0;
        decode(line + 1);
        within("switching off swap ", line + 1, swap_off, line + 1);
    }
}

static void let_go_of_disks(void) {
    swaps_off();
    unmount_all();
    int error = within("making / read-only", "", read_only, "/");
    if (error > 0) say("cannot make / read-only: ", strerrordesc_np(error), "; going on", NULL);
    within("writing everything to disk", "", write_all, NULL);
}

_Noreturn void be_down(int action) {
    static const char *const words[] = {"powering off", "rebooting", "halting", "executing the next kernel"};
    static const unsigned commands[] = {RB_POWER_OFF, RB_AUTOBOOT, RB_HALT_SYSTEM, KEXEC};
    if (action < 0 || action > 3) action = 1;
    block_all_signals();
    close_from(3);
    deadline = now_ns() + ALL_S * SECOND;
    last_deadline = now_ns() + WRITING_S * SECOND;
    if (chdir("/")) say("cannot enter /: ", strerrordesc_np(errno), NULL);
    kill_all(SIGTERM, 2);
    kill_all(SIGKILL, 3);
    within("writing everything to disk", "", write_all, NULL);
    if (on_hardware) let_go_of_disks();
    say(words[action], NULL);
    reboot((int)commands[action]);
    if (errno == EPERM && !on_hardware) _exit(0); /* a container that may not; its end is the end */
    say("cannot do that: ", strerrordesc_np(errno), "; rebooting instead", NULL);
    reboot(RB_AUTOBOOT);
    for (;;) pause_until(UINT64_MAX);
}

static int is_keeper(const char *path) { return bears_mark(path) ? 0 : -1; }

/* By the program of our name, not the one that began: that file may be deleted, and would keep / busy. */
_Noreturn void machine_end(int action) {
    char *argv[] = {peer_argv[MANAGER][-3], "--down", (char *)number(action), NULL};
    if (!machine) _exit(action);
    errno = ENOEXEC; /* what a child finds that is no keeper */
    deadline = now_ns() + ALL_S * SECOND;
    if (!within("looking for ", argv[0], is_keeper, argv[0])) execv(argv[0], argv);
    say("cannot end by ", argv[0], ": it is no keeper; ending by the one that began", NULL);
    be_down(action);
}
