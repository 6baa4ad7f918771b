/* REEXEC: another keeper program takes over the same process, and with it every child.
 * It maps our tables; the descriptors simply stay open. A program that cannot do so would lose every
 * service: so it must contain MARK, and if its tables are other ones, it executes the old one again. */
#include "keeper.h"

static const char MARK[] = "unboxed-init can take over from another";
static char wanted[MAX_PATH + 1]; /* empty: nothing is under way */
static char *own_name;

bool bears_mark(const char *path) {
    char chunk[sizeof MARK + 8192] = ""; /* begins with the end of the chunk before: it may lie across */
    bool found = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    for (ssize_t got; fd >= 0 && !found && (got = read(fd, chunk + sizeof MARK, 8192)) > 0;) {
        found = memmem(chunk, sizeof MARK + (size_t)got, MARK, sizeof MARK - 1);
        memmove(chunk, chunk + got, sizeof MARK);
    }
    return close_for(found, fd);
}

int reexec_ask(const char *path, uint64_t tag) {
    if (*wanted) return EBUSY;
    if (access(path, X_OK)) return errno;
    if (!bears_mark(path)) return ENOEXEC;
    strcpy(wanted, path);
    kept.reexec_tag = tag;
    return -1;
}

/* The descriptors that the tables hold (perhaps -1, at which this fails, rightly). */
static void mark_all(int flags) { /* FD_CLOEXEC, or 0 to stay open at exec */
    fcntl(tables_fd, F_SETFD, flags);
    for (int who = 0; who < PEERS; who++) fcntl(kept.peers[who].sock, F_SETFD, flags);
    fcntl(kept.answers, F_SETFD, flags);
    for (uint32_t row = 0; row < stored.count; row++) fcntl(stored_fd[row], F_SETFD, flags);
}

/* Our own arguments again, but for the program and the descriptors that it takes over. */
static char **arguments(int old) {
    static char word[64];
    char **argv = peer_argv[MANAGER] - 3;
    own_name = argv[0];
    if (*wanted) argv[0] = wanted; /* else the old one gets its own name again */
    argv[1] = strcat(strcat(strcat(strcpy(word, "--resume="), number(tables_fd)), ","), number(old));
    peer_argv[LOGGER][-1] = "--";
    return argv;
}

void reexec_tick(void) {
    if (!*wanted || !manager_settled() || !spawners_idle() || life_ending()) return;
    if (boxes[LOGGER].length) streams_tell_again(); /* half said: all of it again */
    bool own = !unshare(CLONE_FILES); /* what spawners share would stay open in the next services */
    int old = own ? open("/proc/self/exe", O_RDONLY) : -1; /* stays open at exec */
    kept.owes_reexec = 1; /* by whoever goes on */
    if (own) mark_all(0), execv(wanted, arguments(old));
    kept.reexec_error = close_for(errno, old);
    mark_all(FD_CLOEXEC);
    peer_argv[LOGGER][-1] = NULL;
    if (own) spawners_retire(true), peer_argv[MANAGER][-3] = own_name;
    *wanted = 0;
    manager_pump(); /* which has run already in this turn */
}

void reexec_take_over(const char *fds) { /* before anything else is opened */
    int old = atoi(strchr(fds, ',') ? strchr(fds, ',') + 1 : "-1");
    if (!tables_map(atoi(fds))) {
        say("cannot read the tables; the old keeper goes on, if there is one", NULL);
        fcntl(old, F_SETFD, FD_CLOEXEC);
        syscall(SYS_execveat, old, "", arguments(-1), environ, AT_EMPTY_PATH);
        say("cannot execute it: ", strerrordesc_np(errno), "; every service is lost", NULL);
        machine_fails("the keeper is lost");
    }
    kept.resumed = 1;
    kept.reexec_error = close_for(old < 0 ? EBADMSG : 0, old);
}

void reexec_watch(void) { /* with the new epoll */
    mark_all(FD_CLOEXEC);
    for (int who = 0; who < PEERS; who++) watch(kept.peers[who].sock, who, PEER_EVENTS(who));
    spawners_retire(true);
    nudge_listen(!kept.ping_sent);
}
