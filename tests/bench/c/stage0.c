/* /init of every image of boot.py: mount what an init expects, then exec the init under test, named
 * in /init.args (an argument a line). Before, fork a collector that waits for N starts, prints
 *
 *     BENCH exec first last        ms: the guest's clock at that exec; the first and last start
 *     MEMORY before after          KiB available right before that exec, and after the boot
 *     PSS KiB command              of each process but kernel threads, services and the collector
 *
 * and powers off. The two lines on memory only with "settle=SECONDS" on the kernel's command line:
 * that long after the last start. With "show=PATH" that file, as soon as there is one:
 *
 *     SHOW hexadecimal
 */
#include "rec.h"
#include <dirent.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>

enum { COUNT = 20 };

static char *text_of(const char *path) {
    static char text[8192];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    text[n > 0 ? n : 0] = 0;
    return text;
}

static long field(const char *path, const char *name) {
    char *found = strstr(text_of(path), name);
    return found ? atol(found + strlen(name)) : -1;
}

static void tell_memory(FILE *out, long before) {
    fprintf(out, "MEMORY %ld %ld\n", before, field("/proc/meminfo", "MemAvailable:"));
    DIR *proc = opendir("/proc");
    for (struct dirent *d; (d = readdir(proc));) {
        char path[300], name[64];
        if (atoi(d->d_name) < 1 || atoi(d->d_name) == getpid()) continue;
        snprintf(path, sizeof path, "/proc/%s/comm", d->d_name);
        snprintf(name, sizeof name, "%s", text_of(path));
        name[strcspn(name, "\n")] = 0;
        snprintf(path, sizeof path, "/proc/%s/exe", d->d_name);
        char exe[256] = "";  /* a kernel thread has none */
        if (readlink(path, exe, sizeof exe - 1) < 0 || !strcmp(exe, "/svc")) continue;
        snprintf(path, sizeof path, "/proc/%s/smaps_rollup", d->d_name);
        fprintf(out, "PSS %ld %s\n", field(path, "\nPss:"), name);
    }
}

static void show(FILE *out, char *path) {
    FILE *in = NULL;
    path[strcspn(path, " \n")] = 0;
    for (int i = 0; i < 500 && !(in = fopen(path, "r")); i++) usleep(20000);
    fputs("SHOW ", out);
    for (int c; in && (c = getc(in)) != EOF;) fprintf(out, "%02x", c);
    fputs("\n", out);
}

static void collect(int fifo, uint64_t begin, long before, int settle_s) {
    uint64_t first = 0, last = 0;
    struct rec r;
    setsid();
    for (int i = 0; i < COUNT && read(fifo, &r, sizeof r) == sizeof r; i++) {
        if (!first || r.ns < first) first = r.ns;
        if (r.ns > last) last = r.ns;
    }
    FILE *out = fopen("/dev/console", "w");
    fprintf(out, "\nBENCH %.3f %.3f %.3f\n", begin / 1e6, (first - begin) / 1e6,
            (last - begin) / 1e6);
    if (settle_s > 0) {
        sleep((unsigned)settle_s);
        tell_memory(out, before);
    }
    char *shown = strstr(text_of("/proc/cmdline"), "show=");
    if (shown) show(out, shown + strlen("show="));
    fprintf(out, "\nEND\n");
    fflush(out);
    usleep(20000);
    reboot(RB_POWER_OFF);
}

int main(void) {
    static char words[8192];
    char *args[64], *rest = words;
    int n = 0;
    mount("proc", "/proc", "proc", 0, 0);
    mount("sysfs", "/sys", "sysfs", 0, 0);
    mount("devtmpfs", "/dev", "devtmpfs", 0, 0);
    mount("tmpfs", "/run", "tmpfs", 0, "mode=755");
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, 0);
    mkfifo("/run/fifo", 0666);
    int fifo = open("/run/fifo", O_RDWR | O_CLOEXEC);
    strcpy(words, text_of("/init.args"));
    for (char *s; (s = strsep(&rest, "\n")) && *s && n < 63;) args[n++] = s;
    args[n] = 0;
    long settle_s = field("/proc/cmdline", "settle=");
    long before = field("/proc/meminfo", "MemAvailable:");
    uint64_t begin = now_ns();
    if (!fork()) collect(fifo, begin, before, (int)settle_s);
    execv(args[0], args);
    perror(args[0]);
    return 1;
}
