/* The lives of manager, logger and keeper: who is started when, who is silent, and how it all ends.
 *
 * The end has phases, each with a limit: POLITE (SIGTERM; only when the keeper acts by itself),
 * KILLING (SIGKILL to whatever is left), DRAINING (the logger takes the last bytes), LEAVING (the
 * manager goes). Deadlines are data for the one epoll; with nothing unanswered there is none. */
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include "keeper.h"

char **manager_argv, **logger_argv, **peer_environ;
uint64_t ping_timeout = 10 * SECOND;
static enum phase { RUNNING, POLITE, KILLING, DRAINING, LEAVING } phase;
static uint64_t phase_end, phase_next;
static bool by_itself; /* no manager asked for the end */

static _Noreturn void become_peer(char **argv, int sock)
{
    restore_nofile();
    if (setsid() < 0 || dup2(sock, 3) != 3 || cloexec_from(4) || reset_signals(0))
        _exit(126);
    execvpe(argv[0], argv, peer_environ);
    say("cannot execute ", argv[0], ": ", strerrordesc_np(errno), NULL);
    _exit(127);
}

/* At once the first time, then after 0.1 s, doubling up to 5 s; at once after a life of 10 s. */
static void start_again(struct peer *peer)
{
    uint64_t now = now_ns();
    if (now - peer->started >= 10 * SECOND)
        peer->delay_ms = 0;
    peer->next_start = now + peer->delay_ms * MILLISECOND;
    uint32_t doubled = peer->delay_ms ? 2 * peer->delay_ms : 100;
    peer->delay_ms = doubled < 5000 ? doubled : 5000;
}

static void start(struct peer *peer, char **argv, enum watch kind)
{
    int ends[2], theirs = -1, pid = -1, wanted = 1024 * 1024;
    peer->started = now_ns();
    peer->next_start = 0;
    peer->starts++;
    if (!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
        peer->sock = lift(ends[0]);
        theirs = lift(ends[1]);
    }
    for (int i = 0; i < 2; i++) /* as large as we may; smaller ones work too */
        if (setsockopt(i ? theirs : peer->sock, SOL_SOCKET, SO_SNDBUFFORCE, &wanted, sizeof wanted))
            setsockopt(i ? theirs : peer->sock, SOL_SOCKET, SO_SNDBUF, &wanted, sizeof wanted);
    if (peer->sock >= 0 && theirs >= 0 && !watch(peer->sock, kind, EPOLLIN | EPOLLRDHUP, 0))
        pid = fork_into(-1);
    if (pid == 0)
        become_peer(argv, theirs);
    if (pid < 0)
        say("cannot start ", argv[0], ": ", strerrordesc_np(errno), "; trying again", NULL);
    if (theirs >= 0)
        close(theirs);
    peer->pid = pid > 0 ? pid : 0;
    if (peer == &kept.logger)
        streams_tell_again();
    if (pid < 0) {
        peer_lost(peer);
        start_again(peer);
    }
}

static void hang_up(struct peer *peer)
{
    struct outbox *box = peer == &kept.manager ? &manager_box : &logger_box;
    empty_box(box);
    box->armed = false;
    if (peer->sock >= 0) {
        unwatch(peer->sock);
        close(peer->sock);
    }
    peer->sock = -1;
}

void peer_lost(struct peer *peer)
{
    if (peer->sock >= 0 && peer == &kept.manager)
        manager_gone();
    hang_up(peer);
    if (peer->pid > 0 && kill(peer->pid, SIGKILL)) /* the end of its process starts the next one */
        say("cannot kill ", number(peer->pid), ": ", strerrordesc_np(errno), NULL);
}

bool flush(struct peer *peer, struct outbox *box, enum watch kind)
{
    int error = box->stalled ? EAGAIN : send_box(box, peer->sock);
    bool stalled = error == EAGAIN;
    if (error && !stalled) {
        peer_lost(peer);
        return false;
    }
    if (stalled != box->armed)
        rewatch(peer->sock, kind, EPOLLRDHUP | (stalled ? EPOLLOUT | EPOLLET : EPOLLIN));
    box->armed = stalled;
    return !stalled;
}

bool peer_reaped(int pid, int status)
{
    struct peer *peer = pid == kept.manager.pid ? &kept.manager
                      : pid == kept.logger.pid ? &kept.logger : NULL;
    if (!peer)
        return reexec_checked(pid, status);
    peer->pid = 0;
    peer_lost(peer);
    start_again(peer);
    if (phase == RUNNING)
        say(peer == &kept.manager ? "the manager" : "the logger", " ended with ",
            WIFEXITED(status) ? "status " : "signal ",
            number(WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status)), "; starting it again", NULL);
    if (peer == &kept.manager && !kept.ever_greeted && !kept.highest && ++kept.early_deaths == 3) {
        say("the manager ended three times before it said anything; giving up", NULL);
        end_all(1, false);
    }
    return true;
}

void life_signal(int sig, int pid, uint32_t uid)
{
    static const int told[SIGNALS_TOLD] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGQUIT, SIGPWR, SIGWINCH};
    for (int i = 0; i < SIGNALS_TOLD; i++)
        if (told[i] == sig)
            kept.told[i] = (struct told_signal){pid, uid, (uint32_t)sig};
    if (sig != SIGTERM && sig != SIGINT)
        return;
    if (++kept.stop_signals >= 3 || !kept.ever_greeted) {
        say("asked to stop, and no manager does it; stopping everything", NULL);
        end_all(1, true);
    }
}

void nudge_listen(bool on)
{
    int row = store_find("nudge");
    if (row >= 0)
        rewatch(stored_fd[row], WATCH_NUDGE, on ? EPOLLIN : 0);
}

/* Deaf to further nudges until the manager has answered: a flood costs its sender more than us. */
void life_nudged(void)
{
    char byte;
    int row = store_find("nudge");
    for (int i = 0; row >= 0 && i < 64; i++)
        if (recv(stored_fd[row], &byte, 1, MSG_DONTWAIT) < 0)
            break;
    if (kept.manager.sock < 0 || kept.ping_sent)
        return;
    kept.ping_sent = now_ns();
    kept.owes_ping = 1;
    nudge_listen(false);
}

static void sooner(uint64_t *deadline, uint64_t other)
{
    if (other && (!*deadline || other < *deadline))
        *deadline = other;
}

/* When the manager's patience is used up: for a PING, or for the exit that waits longest. 0: never. */
static uint64_t silence_deadline(void)
{
    uint64_t oldest = kept.ping_sent;
    if (phase != RUNNING || !kept.manager.pid || kept.manager.sock < 0)
        return 0;
    for (uint32_t row = 0; row < keys.count; row++)
        if (children[row].state == STATE_EXITED_UNACKED) {
            uint64_t told = children[row].told;
            sooner(&oldest, told > kept.manager.started ? told : kept.manager.started);
        }
    return oldest ? oldest + ping_timeout : 0;
}

uint64_t life_deadline(void)
{
    uint64_t deadline = silence_deadline();
    if (phase == RUNNING)
        sooner(&deadline, kept.manager.next_start);
    if (phase != LEAVING)
        sooner(&deadline, kept.logger.next_start);
    if (phase != RUNNING) {
        sooner(&deadline, phase_end);
        sooner(&deadline, phase_next);
    }
    return deadline;
}

void end_all(int status, bool politely)
{
    if (phase != RUNNING)
        return;
    kept.stop_status = (uint32_t)status;
    by_itself = politely;
    phase = politely ? POLITE : KILLING;
    phase_end = now_ns() + (politely ? 10 : 5) * SECOND;
    phase_next = 1;
    if (politely)
        signal_descendants(SIGTERM, kept.logger.pid, 0);
}

static void enter(enum phase next, uint64_t now)
{
    phase = next;
    phase_end = now + 5 * SECOND;
    phase_next = next == KILLING ? 1 : 0;
}

static void end_tick(uint64_t now)
{
    bool late = now >= phase_end;
    if (phase == POLITE && now >= phase_next) {
        phase_next = now + SECOND / 10;
        if (late || !signal_descendants(0, kept.logger.pid, 0))
            enter(KILLING, now);
    }
    if (phase == KILLING && now >= phase_next) {
        phase_next = now + SECOND / 50;
        int left = signal_descendants(SIGKILL, kept.logger.pid, by_itself ? 0 : kept.manager.pid);
        if (late || !left)
            enter(DRAINING, now);
    } else if (phase == DRAINING) {
        if (kept.logger.pid && kept.logger.sock >= 0 && !logger_owed())
            hang_up(&kept.logger); /* its end of file: it empties the pipes and ends */
        if (late || (!kept.logger.pid && streams_empty())) {
            peer_lost(&kept.logger);
            hang_up(&kept.manager);
            enter(LEAVING, now);
        }
    }
    if (phase == LEAVING && (late || !kept.manager.pid)) {
        signal_descendants(SIGKILL, 0, 0);
        _exit((int)kept.stop_status);
    }
}

bool life_ending(void)
{
    return phase != RUNNING;
}

void life_tick(void)
{
    uint64_t now = now_ns(), silent = silence_deadline();
    if (silent && now >= silent) {
        say("the manager is silent; replacing it", NULL);
        peer_lost(&kept.manager);
    }
    if (phase == RUNNING && !kept.manager.pid && kept.manager.next_start <= now)
        start(&kept.manager, manager_argv, WATCH_MANAGER);
    if (phase != LEAVING && !kept.logger.pid && kept.logger.next_start <= now)
        start(&kept.logger, logger_argv, WATCH_LOGGER);
    if (phase != RUNNING)
        end_tick(now);
}
