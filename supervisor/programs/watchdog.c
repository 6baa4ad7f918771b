/* unboxed-watchdog: the machine's hardware watchdog is fed while the machine is in order, and no longer.
 *
 *     unboxed-watchdog [DEVICE [TIMEOUT [SOCKET]]]    (/dev/watchdog, 60 seconds, /run/unboxed/status)
 *
 * In order means: PID 1 reaps an orphan, and the manager answers on its status socket. A manager that is
 * not there at all (its socket is missing or refuses) hangs nobody: the keeper starts it again or has
 * opened a rescue shell, so that the machine goes on; one that is there and does not answer is a hang.
 * What is not in order has until the device's timeout to become so: then the hardware resets the machine.
 *
 * TERM: an operator stops the unit, so the device is disarmed (magic close), unless a shutdown is under
 * way: then it is fed once more, with time for the whole shutdown, and stays armed, so that a shutdown
 * that hangs ends by a reset. Not before a halt, which is to last.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/watchdog.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DOWN_S = 240 }; /* stops of services (their deadline is 90 s), what the keeper kills, then at most 80 s of the last stage */

static bool told_to_end(long long ms) { /* within so long */
    struct timespec wait = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    sigset_t ends;
    sigemptyset(&ends), sigaddset(&ends, SIGTERM), sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    return sigtimedwait(&ends, NULL, &wait) > 0;
}

static long long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* What the supervisor says to `request` within `ms`. 1: an answer in `text`; 0: nobody is there; -1: it hangs. */
static int ask(const char *path, const char *request, long long ms, char *text, size_t size) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    long long until = now_ms() + ms;
    int result = -1, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    size_t got = 0, length = strlen(request) + 1; /* with its NUL, which ends a message of Varlink */
    if (fd < 0) return -1;
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) {
        result = errno == ENOENT || errno == ECONNREFUSED ? 0 : -1; /* EAGAIN: its queue is full */
    } else if (send(fd, request, length, MSG_NOSIGNAL) == (ssize_t)length) {
        while (got < size - 1) {
            struct pollfd wait = {.fd = fd, .events = POLLIN};
            long long left = until - now_ms();
            if (left <= 0 || (poll(&wait, 1, (int)left) < 0 && errno != EINTR)) break;
            ssize_t more = recv(fd, text + got, size - 1 - got, 0);
            if (!more || (more < 0 && errno != EAGAIN && errno != EINTR)) {
                result = 0; /* it ended while it was asked */
                break;
            }
            if (more < 0) continue;
            got += (size_t)more;
            if (!text[got - 1]) {
                result = 1;
                break;
            }
        }
    }
    text[got] = 0;
    close(fd);
    return result;
}

/* A grandchild that ends as an orphan is gone once PID 1 has reaped it. Within 5 s. */
static bool reaps(void) {
    int ends[2];
    pid_t orphan = 0;
    if (pipe2(ends, O_CLOEXEC)) return true; /* our own trouble, not PID 1's */
    pid_t child = fork();
    if (!child) {
        pid_t grandchild = fork();
        if (!grandchild) _exit(0);
        (void)!write(ends[1], &grandchild, sizeof grandchild);
        _exit(0);
    }
    close(ends[1]);
    bool known = child > 0 && read(ends[0], &orphan, sizeof orphan) == sizeof orphan && orphan > 0;
    close(ends[0]);
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR);
    if (!known) return true;
    for (int tries = 0; tries < 500; tries++) {
        if (kill(orphan, 0) && errno == ESRCH) return true;
        poll(NULL, 0, 10);
    }
    return false;
}

static void feed(int fd) { (void)!write(fd, "", 1); } /* anything but a V */

int main(int count, char **words) {
    const char *device = count > 1 ? words[1] : "/dev/watchdog";
    int timeout_s = count > 2 ? atoi(words[2]) : 60;
    const char *socket_path = count > 3 ? words[3] : "/run/unboxed/status";
    char answer[65536];
    told_to_end(0); /* from now on such a signal waits until it is asked for */
    if (timeout_s < 2) {
        fputs("unboxed-watchdog: cannot use this timeout: it takes 2 seconds or more; nothing is armed\n", stderr);
        return 2;
    }
    int fd = open(device, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        fprintf(stderr, "unboxed-watchdog: cannot open %s: %s; the machine goes on without\n", device, strerror(errno));
        return 1;
    }
    /* A device with a fixed timeout refuses; what holds is asked for. */
    int had_s = timeout_s;
    if (ioctl(fd, WDIOC_SETTIMEOUT, &timeout_s) && !ioctl(fd, WDIOC_GETTIMEOUT, &had_s)) timeout_s = had_s;
    printf("READY the machine is reset when it was not in order for %d s\n", timeout_s);
    fflush(stdout);
    int each_ms = timeout_s * 1000 / 4;
    bool was_good = true;
    do {
        bool reaped = reaps();
        int manager = ask(socket_path, "{\"method\":\"org.varlink.service.GetInfo\"}", each_ms, answer, sizeof answer);
        bool good = reaped && manager >= 0;
        if (good) feed(fd);
        if (good != was_good) {
            printf("%s\n", good ? "in order again" : !reaped ? "PID 1 reaps nobody: not fed" : "the manager does not answer: not fed");
            fflush(stdout);
        }
        was_good = good;
    } while (!told_to_end(each_ms));
    /* The word that a shutdown is under way is the manager's; without an answer, rather armed. */
    int known = ask(socket_path, "{\"method\":\"io.unboxed.Supervisor.Status\",\"parameters\":{\"units\":[\"watchdog\"]}}", 2000, answer, sizeof answer);
    bool down = known != 1 || strstr(answer, "\"ending\":\"");
    if (down && !strstr(answer, "\"ending\":\"halt\"")) {
        int down_s = DOWN_S;
        ioctl(fd, WDIOC_SETTIMEOUT, &down_s); /* one that cannot is as it was */
        feed(fd);
        puts("stays armed while the machine goes down");
    } else {
        puts(write(fd, "V", 1) == 1 ? "disarmed" : "cannot disarm it: this device never stops; the machine will be reset");
    }
    fflush(stdout);
    close(fd);
    return 0;
}
