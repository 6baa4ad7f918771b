/* unboxed-early: what the last boot started first is started before the manager's interpreter is up.
 *
 *     unboxed-early PLAN PROGRAM [ARGUMENT]...
 *
 * It is the manager's own process before it becomes PROGRAM: what a plan has (the manager wrote it, see
 * manager/boot_plan.py) goes to the keeper as it is, on the manager's socket, and the manager goes on from
 * there. UNBOXED_BOOT_PLAN is "NANOSECONDS PLAN" for it: when the launches were sent (monotonic; 0: they
 * were not).
 *
 * A plan counts only while everything that it was made from is to the byte what it was: unit files, the
 * command line, the kernel's words for us, root's line of /etc/passwd, paths that conditions ask for. Whatever is not, or cannot be
 * read, costs nothing but time: the manager starts everything itself, as it would without this. And only
 * once in a boot, which is seen to before more of the plan than its first two records is looked at:
 * whatever a plan does to us, the second manager of this boot does not meet it.
 */
#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { KEEPER_FD = 3, MOST = 16 << 20, PATIENCE_MS = 1000, NOT_THERE = -1 };
enum { INITIAL_PID_NAMESPACE = (int)0xEFFFFFFC }; /* the kernel's PROC_PID_INIT_INO */
static const char MAGIC[8] = "UBPLAN1";

/* A record: u32 kind, u32 bytes of its text with its NUL, u32 bytes of its data; text, data. */
struct record { uint32_t kind; const char *text; const uint8_t *data; uint32_t size; };
struct in { const uint8_t *at, *end; };

static bool take(struct in *in, struct record *one) {
    uint32_t head[3];
    if ((size_t)(in->end - in->at) < sizeof head) return false;
    memcpy(head, in->at, sizeof head);
    in->at += sizeof head;
    size_t left = (size_t)(in->end - in->at);
    if (!head[1] || head[1] > left || head[2] > left - head[1] || in->at[head[1] - 1]) return false;
    *one = (struct record){head[0], (const char *)in->at, in->at + head[1], head[2]};
    in->at += head[1] + head[2];
    return true;
}

/* Up to `size` bytes of a file, -1 for none. */
static ssize_t read_file(const char *path, uint8_t *into, size_t size) {
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    size_t got = 0;
    ssize_t n = fd < 0 ? -1 : 1;
    while (n > 0 && got < size && (n = read(fd, into + got, size - got)) > 0) got += (size_t)n;
    if (fd >= 0) close(fd);
    return n < 0 ? -1 : (ssize_t)got;
}

static bool is_file(const struct record *one) {
    uint8_t *text = malloc(one->size + 1); /* one more byte tells that it is longer */
    bool same = text && read_file(one->text, text, one->size + 1) == (ssize_t)one->size
        && !memcmp(text, one->data, one->size);
    free(text);
    return same;
}

static bool has_line(const struct record *one) {
    static uint8_t text[1 << 20]; /* of a longer file it is not looked for behind that */
    ssize_t size = read_file(one->text, text, sizeof text);
    const uint8_t *at = text, *end = text + (size > 0 ? size : 0), *stop;
    for (; at < end; at = stop + (stop < end)) {
        stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop) stop = end;
        if ((size_t)(stop - at) == one->size && !memcmp(at, one->data, one->size)) return true;
    }
    return false;
}

static bool is_directory(const struct record *one) { /* of so many entries */
    int32_t count = 0, wanted;
    DIR *directory = opendir(one->text);
    if (one->size != sizeof wanted) return false;
    memcpy(&wanted, one->data, sizeof wanted);
    if (!directory) return errno == ENOENT && wanted == NOT_THERE;
    for (struct dirent *entry; (entry = readdir(directory));)
        count += strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
    closedir(directory);
    return count == wanted;
}

static bool is_ours(void) { /* this kernel runs for us alone */
    struct stat found;
    return getppid() == 1 && !stat("/proc/self/ns/pid", &found)
        && (int)found.st_ino == INITIAL_PID_NAMESPACE;
}

/* Those with "unboxed." of the kernel's command line, "--", behind which none is for us; all if there are
 * quotes, since what they hold together may be ours. */
static bool are_words(const struct record *one) {
    static char line[8192], found[sizeof line];
    size_t used = 0;
    ssize_t got = is_ours() ? read_file("/proc/cmdline", (uint8_t *)line, sizeof line - 1) : 0;
    if (got < 0) return false;
    line[got] = 0;
    bool quotes = strchr(line, '"');
    for (char *rest = line, *word; (word = strsep(&rest, " \t\n"));)
        if (*word && (quotes || strstr(word, "unboxed.") || !strcmp(word, "--")))
            used += (size_t)snprintf(found + used, sizeof found - used, "%s\n", word);
    return used == one->size && !memcmp(found, one->data, used);
}

static bool are_arguments(const struct record *one, char **argv) {
    const uint8_t *at = one->data, *end = one->data + one->size;
    for (; *argv; argv++) {
        size_t size = strlen(*argv) + 1;
        if ((size_t)(end - at) < size || memcmp(at, *argv, size)) return false;
        at += size;
    }
    return at == end;
}

static bool holds(const struct record *one, char **argv, uint32_t sum) {
    switch (one->kind) {
    case 'A': return are_arguments(one, argv);
    case 'E': return one->size == sizeof sum && !memcmp(one->data, &sum, sizeof sum);
    case 'D': return is_directory(one);
    case 'F': return is_file(one);
    case 'L': return has_line(one);
    case 'O': return one->size == 1 && one->data[0] == is_ours();
    case 'P': return one->size == 1 && one->data[0] == !access(one->text, F_OK);
    case 'W': return are_words(one);
    default: return one->kind == 'S'; /* to be sent */
    }
}

static uint32_t crc32(uint32_t crc, const uint8_t *at, const uint8_t *end) {
    for (crc = ~crc; at < end; at++) {
        crc ^= *at;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (0xEDB88320u & -(crc & 1));
    }
    return ~crc;
}

/* One frame, and perhaps a descriptor. The keeper takes frames as long as we leave nothing unread. */
static bool tell(const struct record *one, int fd) {
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof fd)]; } control = {
        .header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)}};
    struct iovec bytes = {(void *)(uintptr_t)one->data, one->size};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};
    if (fd >= 0) {
        memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
        message.msg_control = &control, message.msg_controllen = sizeof control;
    }
    while (sendmsg(KEEPER_FD, &message, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)one->size) {
        struct pollfd wait = {.fd = KEEPER_FD, .events = POLLOUT};
        if (errno != EAGAIN || poll(&wait, 1, PATIENCE_MS) != 1 || !(wait.revents & POLLOUT)) return false;
    }
    return true;
}

/* The directory of the units' groups: new, which it is once in a boot. -1: it is not, or there is none. */
static int groups(const char *path) {
    char above[4096];
    snprintf(above, sizeof above, "%s", path);
    char *slash = strrchr(above, '/');
    if (!slash || slash == above) return -1;
    *slash = 0;
    if (mkdir(above, 0755) || mkdir(path, 0755)) return -1;
    return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* When its launches were sent, 0 if they were not. */
static uint64_t launch(const char *path, char **argv) {
    struct stat found;
    struct record base, itself, one;
    struct timespec now;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &found) || !S_ISREG(found.st_mode) || (found.st_uid && found.st_uid != geteuid())
        || found.st_mode & (S_IWGRP | S_IWOTH) || found.st_size < (off_t)sizeof MAGIC || found.st_size > MOST)
        return 0;
    const uint8_t *plan = mmap(NULL, (size_t)found.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (plan == MAP_FAILED || memcmp(plan, MAGIC, sizeof MAGIC)) return 0;
    struct in all = {plan + sizeof MAGIC, plan + found.st_size};
    if (!take(&all, &base) || base.kind != 'G' || !take(&all, &itself) || itself.kind != 'H') return 0;
    int base_fd = groups(base.text);
    if (base_fd < 0) return 0;
    struct in rest = all;
    uint32_t kind = 0, sum = crc32(0, plan + sizeof MAGIC, all.at);
    for (const uint8_t *at = all.at; at < rest.end; at = rest.at, kind = one.kind) {
        if (kind == 'E' || !take(&rest, &one) || !holds(&one, argv, sum)) return 0;
        sum = crc32(sum, at, rest.at);
    }
    if (kind != 'E' || !tell(&base, base_fd) || !tell(&itself, fd)) return 0;
    clock_gettime(CLOCK_MONOTONIC, &now);
    while (take(&all, &one))
        if (one.kind == 'S' && !tell(&one, -1)) break;
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int main(int argc, char **argv) {
    static char told[8192];
    if (argc < 3) return dprintf(2, "usage: unboxed-early PLAN PROGRAM [ARGUMENT]...\n"), 2;
    unsigned long long when = launch(argv[1], argv + 2);
    snprintf(told, sizeof told, "%llu %s", when, argv[1]);
    setenv("UNBOXED_BOOT_PLAN", told, 1);
    execv(argv[2], argv + 2);
    dprintf(2, "unboxed-early: cannot execute %s: %s\n", argv[2], strerror(errno));
    return 127;
}
