/* PID 1 of a machine, before it is the keeper: what every program expects to be there, and the keeper's own
 * arguments, from a file. What fails is said on the console and is no reason to stop: with nothing but
 * a console there is still the rescue shell. down.c is what comes after the keeper. */
#include <net/if.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/sysmacros.h>
#include "keeper.h"

bool machine, on_hardware;
enum { MAX_ARGUMENTS = 128, FIRST_SIGNAL = 37, /* glibc's SIGRTMIN+3 */
     INITIAL_PID_NAMESPACE = (int)0xEFFFFFFC }; /* the kernel's PROC_PID_INIT_INO */
#define PATIENCE (30 * SECOND)
static char command_line[4096], arguments[16 * 1024], *argument[MAX_ARGUMENTS + 2];

int read_text(const char *path, char *text, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t had = 0;
    ssize_t got = fd < 0 ? -1 : 1;
    while (got > 0 && had < size - 1 && (got = read(fd, text + had, size - 1 - had)) > 0) had += (size_t)got;
    text[had] = 0;
    int error = close_for(errno, fd);
    if (got >= 0 && had == size - 1) got = -1, error = E2BIG;
    errno = error;
    return got < 0 ? -1 : (int)had;
}

/* The value of `NAME=VALUE` on the kernel's command line, "" for a `NAME` alone, or NULL. */
static const char *kernel_word(const char *name) {
    static char value[MAX_PATH + 1];
    size_t length = strlen(name);
    for (const char *at = command_line; *(at += strspn(at, " \n")); at += strcspn(at, " \n")) {
        size_t whole = strcspn(at, " \n");
        if (whole < length || strncmp(at, name, length) || (at[length] != '=' && whole != length)) continue;
        size_t size = whole > length ? whole - length - 1 : 0;
        memcpy(value, at + whole - size, size);
        value[size] = 0;
        return value;
    }
    return NULL;
}

/* --- The rescue shell ------------------------------------------------------------------------------------- */

static _Noreturn void be_rescue(const char *reason) { /* leads its session, and takes the console */
    static char *const shells[][3] = {{"/sbin/sulogin", "--force"}, {"/usr/sbin/sulogin", "--force"}, {"/bin/sh", "-l"},
        {"/bin/busybox", "sh", "-l"}, {"/usr/bin/busybox", "sh", "-l"}};
    struct stat node;
    bool hosts = !on_hardware && !stat("/dev/console", &node) && node.st_rdev == makedev(5, 1);
    int console = hosts ? -1 : open("/dev/console", O_RDWR | O_NOCTTY); /* a container's own is another terminal */
    if (console >= 0) {
        ioctl(console, TIOCSCTTY, on_hardware); /* 1: whoever has it; fails for a console that is no terminal */
        for (int fd = 0; fd < 3; fd++) dup2(console, fd);
    } else if (on_hardware) ioctl(0, TIOCSCTTY, 1); /* what PID 1 found, without /dev */
    close_from(3);
    reset_signals(0);
    unsetenv("UNBOXED_MACHINE"); /* a container begun from here is none */
    if (!getenv("HOME") || !strcmp(getenv("HOME"), "/")) putenv("HOME=/root");
    say("rescue shell: ", reason, "; when it ends, the boot goes on", NULL);
    for (size_t i = console < 0 ? 2 : 0; i < sizeof shells / sizeof *shells; i++) { /* sulogin looks for consoles itself */
        char *argv[] = {shells[i][0], shells[i][1], shells[i][2], NULL};
        execv(argv[0], argv);
    }
    say("cannot run a rescue shell: there is no sulogin, sh or busybox; trying again", NULL);
    _exit(127);
}

static int begin_rescue(const char *reason) {
    int pid = fork_self();
    if (pid == 0 && on_hardware) setsid(); /* a container's terminal is our session's, and stays so when the shell ends */
    if (pid == 0) be_rescue(reason);
    if (pid < 0) say("cannot start a rescue shell: ", strerrordesc_np(errno), NULL);
    return pid;
}

static int shell; /* its pid, while the keeper has one */

/* Beside the keeper's work, and only one at a time; the manager is tried again when it ends, and now and then. */
void machine_rescue(const char *reason) {
    kept.peers[MANAGER].next_start = now_ns() + 30 * SECOND;
    if (!shell) shell = begin_rescue(reason);
    if (shell < 0) shell = 0;
}

void machine_reaped(int pid) { /* nobody's, as far as the keeper knows */
    kept.orphans++;
    if (!machine || pid != shell) return;
    shell = 0;
    kept.peers[MANAGER].next_start = 1;
}

static void rescue(const char *reason) { /* returns when it has ended; what asks for the machine's end is obeyed */
    const uint64_t ends = UINT64_C(15) << (FIRST_SIGNAL - 1) | 1u << (SIGTERM - 1) | 1u << (SIGINT - 1);
    const uint64_t heard = ends | 1u << (SIGCHLD - 1);
    uint64_t began = now_ns();
    block_all_signals();
    int pid = begin_rescue(reason), ended;
    while ((ended = waitpid(-1, NULL, WNOHANG)) != pid && ended >= 0) {
        int action = ended ? -1 : machine_action((int)syscall(SYS_rt_sigtimedwait, &heard, NULL, NULL, 8));
        if (action >= 0) be_down(action);
    }
    if (now_ns() - began < SECOND) poll(NULL, 0, 5000); /* there is no shell, or no console */
}

_Noreturn void machine_fails(const char *reason) { /* there can be no keeper; were PID 1 to exit, the kernel would panic */
    if (!machine) _exit(1);
    rescue(reason);
    machine_end(1);
}

/* --- What has to be there --------------------------------------------------------------------------------- */

static bool is_mounted(const char *path) { /* or is not there at all: false */
    char parent[64];
    struct stat here, above;
    strcat(strcpy(parent, path), "/..");
    return !stat(path, &here) && !stat(parent, &above) && here.st_dev != above.st_dev;
}

static void make_directory(const char *path) {
    if (!mkdir(path, 0755) || errno != EROFS || !on_hardware || mount(NULL, "/", NULL, MS_REMOUNT, NULL)) return;
    mkdir(path, 0755); /* what its builder forgot; fsck wants the root as it was */
    mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
}

static void mount_all(void) {
    const unsigned long plain = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    static const struct { const char *path, *kind, *options; bool devices, programs; } all[] = {
        {"/proc", "proc", NULL, false, false},
        {"/sys", "sysfs", NULL, false, false},
        {"/dev", "devtmpfs", "mode=755", true, true},
        {"/dev/pts", "devpts", "gid=5,mode=620,ptmxmode=666", true, false},
        {"/dev/shm", "tmpfs", "mode=1777", false, true},
        {"/run", "tmpfs", "mode=755", false, true},
        {"/sys/fs/cgroup", "cgroup2", "nsdelegate,memory_recursiveprot", false, false}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        unsigned long flags = plain & ~(all[i].devices ? MS_NODEV : 0ul) & ~(all[i].programs ? MS_NOEXEC : 0ul);
        if (is_mounted(all[i].path) || (!on_hardware && !strcmp(all[i].kind, "devtmpfs"))) continue; /* the host's */
        if (access(all[i].path, F_OK)) make_directory(all[i].path);
        if (mount(all[i].kind, all[i].path, all[i].kind, flags, all[i].options)
            && (errno != EINVAL || mount(all[i].kind, all[i].path, all[i].kind, flags, NULL)))
            say("cannot mount ", all[i].path, ": ", strerrordesc_np(errno), "; going on without it", NULL);
    }
    static const char *const links[][2] = {{"/proc/self/fd", "/dev/fd"}, {"fd/0", "/dev/stdin"}, {"fd/1", "/dev/stdout"},
        {"fd/2", "/dev/stderr"}};
    for (int i = 0; i < 4; i++)
        if (symlink(links[i][0], links[i][1])) continue; /* it is there */
}

/* A kernel that found no /dev/console gave us no descriptors. Where there is no /dev, it is opened where its file system
 * is mounted for a moment, so that somebody can be told. */
static void have_console(void) {
    static const char *const elsewhere[] = {"/mnt", "/tmp", "/root", "/home", "/var", "/usr"};
    char path[32] = "/dev/console";
    size_t i = 0;
    if (on_hardware && access("/dev", F_OK)) {
        while (i < 6 && mount("devtmpfs", elsewhere[i], "devtmpfs", MS_NOSUID, NULL)) i++;
        if (i < 6) strcat(strcpy(path, elsewhere[i]), "/console");
    }
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open(path, O_RDWR | O_NOCTTY) < 0) open("/dev/null", O_RDWR);
    if (strncmp(path, "/dev", 4)) umount2(elsewhere[i], MNT_DETACH);
}

static void name_host(void) {
    static char text[256];
    if (read_text("/etc/hostname", text, sizeof text) <= 0) text[0] = 0;
    char *name = text + strspn(text, " \t\n"), here[65] = "";
    name[strcspn(name, " \t\n")] = 0;
    gethostname(here, sizeof here);
    if (!*name && !strcmp(here, "(none)")) name = "localhost";
    if (*name && *name != '#') sethostname(name, strlen(name));
}

static void loopback_up(void) {
    struct ifreq lo = {.ifr_name = "lo"};
    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sock >= 0 && !ioctl(sock, SIOCGIFFLAGS, &lo)) {
        lo.ifr_flags |= IFF_UP;
        ioctl(sock, SIOCSIFFLAGS, &lo); /* perhaps not permitted in a container */
    }
    close_for(0, sock);
}

/* The arguments, one a line, for the place behind `--supervise`. NULL, or what is wrong. */
static const char *read_arguments(const char *path) {
    int count = 2, logger = 0;
    if (read_text(path, arguments, sizeof arguments) < 0) return strerrordesc_np(errno);
    for (char *line = arguments, *next; line; line = next) {
        if ((next = strchr(line, '\n'))) *next++ = 0;
        if (count > MAX_ARGUMENTS) return "it has too many lines";
        if (count > 2 && !logger && !strcmp(line, "--")) logger = count;
        if (*line) argument[count++] = line;
    }
    argument[count] = NULL;
    if (count < 3 || strcmp(argument[2], "--")) return "it does not begin with a line that is --";
    return logger > 3 && logger + 1 < count ? NULL : "it has no manager, a line that is --, and a logger";
}

/* Not a container, whose devices, swaps and file systems may be its host's. */
static bool find_out_where(void) {
    struct stat space;
    if (stat("/proc/self/ns/pid", &space)) { /* by what a kernel's own child has in its environment */
        const char *home = getenv("HOME"), *term = getenv("TERM");
        if (!home || strcmp(home, "/") || !term || strcmp(term, "linux")) return false;
        on_hardware = true; /* or so it seems */
        make_directory("/proc");
        if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) || stat("/proc/self/ns/pid", &space)) return false;
    }
    return (int)space.st_ino == INITIAL_PID_NAMESPACE;
}

/* The kernel makes environment of each NAME=VALUE on its command line that it does not know itself. */
static void clear_environment(void) {
    char **to = environ;
    for (char **from = environ; *from; from++)
        if (!strncmp(*from, "HOME=", 5) || !strncmp(*from, "TERM=", 5) || !strncmp(*from, "UNBOXED_", 8)) *to++ = *from;
    *to = NULL;
}

static char **begin(char **argv) {
    static const char *const words[] = {"unboxed.rescue", "rescue", "single", "emergency", "s", "S", "1"};
    const char *path, *wrong, *given;
    struct stat there;
    bool asked = false;
    machine = true;
    ping_timeout = PATIENCE;
    umask(022);
    reboot(RB_DISABLE_CAD); /* Ctrl-Alt-Del is SIGINT now; not permitted in a container, where there is none */
    if (on_hardware) { /* a container's are as they were given to it */
        setsid();
        setrlimit(RLIMIT_NOFILE, &(struct rlimit){1024, 512 * 1024}); /* the kernel's 4096 are few for us, and many a server */
        clear_environment();
    }
    mount_all();
    have_console();
    if (chdir("/")) say("cannot enter /: ", strerrordesc_np(errno), NULL);
    putenv("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    putenv("UNBOXED_MACHINE=1");
    read_text("/proc/cmdline", command_line, sizeof command_line); /* as much of it as there is room for */
    loopback_up();
    if (on_hardware) name_host(); /* a container has the name that it was given */
    if (on_hardware) write_file(AT_FDCWD, "/proc/sys/net/unix/max_dgram_qlen", "512"); /* before a log socket is made */
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) asked |= kernel_word(words[i]) != NULL;
    if (asked) rescue("asked for on the kernel's command line");
    if (access("/dev", F_OK)) rescue("there is no directory /dev, and without it nothing can be started");
    for (;;) {
        given = kernel_word("unboxed.args");
        path = given && *given ? given : !stat("/etc/unboxed/boot.args", &there) ? "/etc/unboxed/boot.args"
            : "/usr/lib/unboxed/boot.args";
        if (!(wrong = read_arguments(path))) break;
        static char reason[2 * MAX_PATH];
        rescue(strcat(strcat(strcat(strcpy(reason, "cannot read "), path), ": "), wrong));
    }
    argument[0] = argv[0];
    argument[1] = "--supervise";
    return argument;
}

/* The arguments that the keeper is to have: those given, unless we are to boot: without any, or on a real machine,
 * whose kernel may give us words of its own command line. */
char **machine_main(int *argc, char **argv) {
    const char *word = *argc > 1 ? argv[1] : "";
    machine = getpid() == 1 && getenv("UNBOXED_MACHINE");
    if (machine) ping_timeout = PATIENCE; /* while a slow machine boots, its manager may read and plan for 10 s */
    if (getpid() == 1 || !strcmp(word, "--rescue")) on_hardware = find_out_where();
    if (getpid() != 1 && !strcmp(word, "--rescue")) be_rescue(*argc > 2 ? argv[2] : "asked for");
    if (getpid() != 1 || !strcmp(word, "--supervise") || !strncmp(word, "--resume=", strlen("--resume="))) return argv;
    if (!strcmp(word, "--down")) be_down(*argc > 2 ? atoi(argv[2]) : 1);
    if (*argc > 1 && !on_hardware) return argv;
    argv = begin(argv);
    for (*argc = 0; argv[*argc];) ++*argc;
    return argv;
}

int machine_action(int sig) {
    static const int actions[] = {2, 0, 1, 3}; /* SIGRTMIN+3 and the next, as others number them */
    if (sig == SIGTERM || sig == SIGINT) return 1;
    return machine && sig >= FIRST_SIGNAL && sig < FIRST_SIGNAL + 4 ? actions[sig - FIRST_SIGNAL] : -1;
}

/* A machine that was told to go down by a signal does so, whatever its manager does: this deadline is the keeper's
 * own until the manager puts its own in the place of it, and a manager that ended before that is told again. Not for
 * kexec (3): a manager refuses that while no kernel is loaded, and then the machine goes on. */
void machine_told(int sig, int end) {
    if (!machine || end < 0 || end == 3 || sig == SIGTERM || kept.exit_by) return;
    kept.exit_by = now_ns() + 120 * SECOND;
    kept.exit_by_status = end;
    kept.unheard = (uint32_t)sig;
}
