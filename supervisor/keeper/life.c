/* The lives of manager, logger and keeper: who is started when, who is silent, and how it all ends.
 * The end has phases, each with a limit: POLITE (SIGTERM; only when the keeper acts by itself),
 * KILLING (SIGKILL to whatever is left), LEAVING (the logger takes the last bytes, the manager goes).
 * Deadlines are data for the one epoll; with nothing unanswered there is none. */
#include "keeper.h"

struct outbox boxes[PEERS];
char **peer_argv[PEERS], *own_words;
size_t own_words_size;
uint64_t ping_timeout = 10 * SECOND;
static enum { RUNNING, POLITE, KILLING, LEAVING } phase;
static uint64_t phase_end, next_sweep, now, next; /* the last two of the present tick */
static int end_status, by_itself, left; /* processes at the last sweep */

static _Noreturn void become_peer(char **argv, int sock) {
    setrlimit(RLIMIT_NOFILE, &kept.nofile); /* cannot fail: it only goes down */
    if (setsid() < 0 || dup2(sock, 3) != 3 || reset_signals(0)) /* no group's ^C: SIGNALLED tells of it */
        _exit(126);
    execvp(argv[0], argv);
    say("cannot execute ", argv[0], ": ", strerrordesc_np(errno), NULL);
    _exit(127);
}

/* The first logger is started 20 ms after the first launches: pipes hold what is written until then, and it would
 * take its interpreter's start from them. At the latest after 1 s without any, or 2 s with: `started` is that time
 * until it was (tables_make).
 * Later: at once the first time, then after 0.1 s, doubling up to 5 s; at once after a life of 10 s. */
static void start_again(struct peer *peer) {
    uint64_t ended = now_ns();
    if (ended - peer->started >= 10 * SECOND) peer->delay_ms = 0;
    peer->next_start = ended + peer->delay_ms * (SECOND / 1000);
    peer->delay_ms = !peer->delay_ms ? 100 : peer->delay_ms < 2500 ? 2 * peer->delay_ms : 5000;
}
static void hang_up(int who) {
    int *sock = &kept.peers[who].sock;
    if (*sock >= 0 && who == MANAGER) manager_gone();
    empty_box(&boxes[who]);
    unwatch(*sock);
    *sock = close_for(-1, *sock);
}

static void start(int who) {
    struct peer *peer = &kept.peers[who];
    int ends[2] = {-1, -1}, pid = -1, size = 1024 * 1024;
    peer->started = now_ns();
    peer->starts++;
    if (who == LOGGER) streams_tell_again();
    if (!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
        for (int i = 0; i < 2; i++) {
            ends[i] = lift(ends[i]);
            setsockopt(ends[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size); /* unprivileged: as it is */
        }
    peer->sock = ends[0];
    if (ends[0] >= 0 && ends[1] >= 0 && !watch(ends[0], who, PEER_EVENTS(who))) pid = fork_self();
    if (pid == 0) become_peer(peer_argv[who], ends[1]);
    peer->pid = pid > 0 ? pid : 0;
    if (pid < 0) {
        say("cannot start ", peer_argv[who][0], ": ", strerrordesc_np(errno), "; trying again", NULL);
        hang_up(who);
        start_again(peer);
    }
    close_for(0, ends[1]);
}

void peer_lost(int who) {
    hang_up(who);
    if (kept.peers[who].pid > 0) kill(kept.peers[who].pid, SIGKILL); /* its end starts the next one */
}

void peer_reaped(int pid, int status) {
    int who = pid == kept.peers[MANAGER].pid ? MANAGER : LOGGER, exited = WIFEXITED(status);
    if (pid != kept.peers[who].pid) return machine_reaped(pid);
    kept.peers[who].pid = 0;
    hang_up(who);
    start_again(&kept.peers[who]);
    if (phase == RUNNING && status) /* status 0: it makes room for a newer one */
        say(who == MANAGER ? "the manager ended with " : "the logger ended with ", exited ? "status " : "signal ",
            number(exited ? WEXITSTATUS(status) : WTERMSIG(status)), "; starting it again", NULL);
    if (who == LOGGER || phase != RUNNING) return;
    if (++kept.early_deaths >= 3 && machine) machine_rescue("the manager ends before it says anything");
    else if (kept.early_deaths == 3 && !kept.ever_greeted && !kept.highest && end_all(1, true))
        say("the manager ended three times before it said anything; giving up", NULL);
}

bool flush(int who) {
    struct outbox *box = &boxes[who];
    int error = box->stalled ? EAGAIN : send_box(box, kept.peers[who].sock);
    if (!error || box->stalled) return !error;
    if (error == EAGAIN || error == ENOBUFS || error == ENOMEM || error == ETOOMANYREFS) {
        box->stalled = now_ns() + SECOND; /* then tried again: only of a full socket an event tells */
        watch(kept.peers[who].sock, who, EPOLLRDHUP | (error == EAGAIN ? EPOLLOUT : 0));
    } else peer_lost(who);
    return false;
}

void unstall(int who) {
    boxes[who].stalled = 0;
    watch(kept.peers[who].sock, who, PEER_EVENTS(who));
}

void life_signal(int sig, int pid, uint32_t uid) {
    const uint32_t passed_on = 1u << SIGTERM | 1u << SIGINT | 1u << SIGHUP | 1u << SIGUSR1 | 1u << SIGUSR2
        | 1u << SIGQUIT | 1u << SIGPWR | 1u << SIGWINCH;
    int end = machine_action(sig); /* -1: it does not ask for the end */
    if (end < 0 && (sig >= 32 || !(passed_on >> sig & 1))) return;
    kept.signals_owed |= UINT64_C(1) << sig;
    kept.sender[sig] = (struct sender){sig, pid, uid};
    machine_told(sig, end);
    /* To a machine's manager SIGTERM is no stop, and kexec (3) it may refuse. */
    if (end >= 0 && ((kept.stop_signals += !machine || (sig != SIGTERM && end != 3)) >= 3 || !kept.ever_greeted || kept.early_deaths >= 3)
        && end_all(end, true)) say("asked to stop, and no manager does it; stopping everything", NULL);
}

void nudge_listen(bool on) {
    int row = store_find("nudge");
    if (row >= 0) watch(stored_fd[row], WATCH_NUDGE, on ? EPOLLIN : 0);
}

/* Deaf to further nudges until the manager has answered: a flood costs its sender more than us. */
void life_nudged(void) {
    int row = store_find("nudge");
    for (char i = 0, byte; row >= 0 && i < 64; i++)
        if (recv(stored_fd[row], &byte, 1, MSG_DONTWAIT) < 0) break;
    if (kept.peers[MANAGER].sock < 0 || kept.ping_sent) return;
    kept.ping_sent = now_ns();
    kept.owes_ping = 1;
    nudge_listen(false);
}

bool life_ending(void) { return phase != RUNNING; }
void life_reaped(void) { next_sweep = left < 64 ? 1 : next_sweep; } /* perhaps that was the last one */
bool end_all(int status, bool keeper_decides) {
    if (phase != RUNNING) return false;
    end_status = status;
    by_itself = keeper_decides;
    phase = by_itself ? POLITE : KILLING;
    phase_end = now_ns() + (by_itself ? 10 : 5) * SECOND;
    next_sweep = 1;
    spawners_retire(false);
    if (by_itself) signal_children(SIGTERM, kept.peers[LOGGER].pid, 0);
    return true;
}

static bool due(uint64_t when) { /* 0: never. Else, if it is not, it is what to wait for */
    if (when && (!next || when < next)) next = when;
    return when && when <= now;
}

static void end_tick(void) {
    bool late = due(phase_end);
    pid_t manager = kept.peers[MANAGER].pid, logger = kept.peers[LOGGER].pid;
    if (phase == LEAVING) {
        hang_up(MANAGER);
        logger_pump();
        if (!boxes[LOGGER].length) hang_up(LOGGER); /* its end of file: it empties the pipes and ends */
        if (!late && (manager || logger || !streams_empty())) return;
        signal_children(SIGKILL, 0, 0);
        machine_end(end_status);
    }
    if (!due(next_sweep)) return;
    next_sweep = now + SECOND / 50;
    left = signal_children(phase == POLITE ? 0 : SIGKILL, logger, by_itself ? 0 : manager);
    if (late || !left) {
        phase++;
        phase_end = now + 5 * SECOND;
    }
    next = 1; /* look again before waiting */
}

uint64_t life_tick(void) {
    now = now_ns();
    next = 0;
    if (kept.given && kept.ever_greeted && now < kept.peers[LOGGER].started) kept.peers[LOGGER].next_start = now + SECOND / 50;
    for (int who = 0; who < PEERS; who++)
        if (!kept.peers[who].pid && (phase == RUNNING || (who == LOGGER && !streams_empty()))
            && due(kept.peers[who].next_start))
            start(who);
    uint64_t since = kept.exits_told, started = kept.peers[MANAGER].started;
    if (since && since < started) since = started; /* a new one is told anew */
    if (kept.ping_sent && (!since || kept.ping_sent < since)) since = kept.ping_sent;
    if (phase == RUNNING && kept.peers[MANAGER].sock >= 0 && since && due(since + ping_timeout)) {
        say("the manager is silent; replacing it", NULL);
        peer_lost(MANAGER);
    }
    if (phase == RUNNING && due(kept.exit_by)) end_all(kept.exit_by_status, false);
    if (phase != RUNNING) end_tick();
    for (int who = 0; who < PEERS; who++)
        if (due(boxes[who].stalled)) unstall(who);
    due(spawners_tick());
    return next;
}
