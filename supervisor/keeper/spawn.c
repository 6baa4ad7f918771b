/* Spawners: processes of the keeper's own, each of which brings one service at a time into the world.
 * A spawner waits as vfork(2) does until its child has executed or ended, so no page table is copied; and
 * it shares the keeper's descriptors, of which the child copies only the few below LOW, so thousands of
 * log pipes cost a launch nothing. The child is born as its sibling: the keeper's. One that hangs in a step
 * (a dead NFS server) holds its spawner and nobody else: another is started. Orders lie in the tables. */
#include <linux/futex.h>
#include "keeper.h"

enum { PATIENCE_MS = 20, RETRY_MS = 10, GIVE_UP_MS = 500 };
#define MS (SECOND / 1000)
static bool wanted; /* a launch waits for room */
static uint64_t moved_at, helped_at; /* when an order was last given or done; a spawner started for want of one */

static struct plan *order_plan(const struct order *order) { return &tables->ordered[order - kept.orders].plan; }

/* The next order is whose taker is set first: so its spawner is known whenever that may die. */
static struct order *next_order(int32_t me) {
    for (;;) {
        uint32_t first = __atomic_load_n(&kept.first, __ATOMIC_ACQUIRE); /* before the end: it never passes that */
        uint32_t end = __atomic_load_n(&kept.end, __ATOMIC_ACQUIRE);
        if (kept.spawners[me - 1].quit) _exit(0);
        if (first == end) {
            syscall(SYS_futex, &kept.end, FUTEX_WAIT, end, NULL, NULL, 0);
            continue;
        }
        struct order *order = &kept.orders[kept.queue[first % MAX_ORDERS]];
        int32_t nobody = 0;
        bool mine = __atomic_compare_exchange_n(&order->taker, &nobody, me, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
        __atomic_compare_exchange_n(&kept.first, &first, first + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
        if (mine) return order;
    }
}

static _Noreturn void serve(int32_t me, int keeper) {
    const uint64_t one = 1;
    strncpy(own_words, "unboxed-spawner", own_words_size); /* so that `ps` tells it from the keeper */
    prctl(PR_SET_NAME, "unboxed-spawner");
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != keeper) _exit(1);
    for (;;) {
        /* A child that joins a service's namespaces has this memory and ids that are root's there: who is root in
         * them could trace it until it executes (CVE-2016-9962). Without CAP_SYS_PTRACE, as in a container, /proc/self
         * and its holder would be out of reach: it sees to it by itself, right before it joins (namespaces.py). */
        prctl(PR_SET_DUMPABLE, geteuid() || prctl(PR_CAPBSET_READ, 19 /* CAP_SYS_PTRACE */) != 1);
        struct order *order = next_order(me);
        struct plan *plan = order_plan(order);
        int error = give_birth(order, plan);
        /* Linux before 5.7, a seccomp filter, a v1 hierarchy: the child goes to its cgroup by itself. */
        if (plan->cgroup_fd >= 0 && !plan->join
            && (error == ENOSYS || error == EPERM || error == E2BIG || error == EINVAL || error == EBADF))
            plan->join = 1, error = give_birth(order, plan);
        if (error) plan->report[2] = (uint32_t)error;
        __atomic_store_n(&order->done, 1, __ATOMIC_RELEASE);
        if (write(kept.answers, &one, sizeof one) < 0) _exit(1); /* of which the keeper learns too */
    }
}

static int start(void) { /* one more */
    int i = find_spawner(0), keeper = getpid();
    if (i < 0) return EAGAIN;
    kept.spawners[i].quit = 0;
    int pid = (int)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0); /* not yet into the table, which is shared */
    if (pid == 0) serve(i + 1, keeper);
    kept.spawners[i].pid = pid < 0 ? 0 : pid;
    return pid < 0 ? errno : 0;
}

static uint32_t most(void) { /* that are kept for the next launches, by the number of CPUs */
    static uint32_t count;
    cpu_set_t cpus;
    if (!count) count = sched_getaffinity(0, sizeof cpus, &cpus) ? 2 : (uint32_t)CPU_COUNT(&cpus);
    return count < MAX_SPAWNERS / 2 ? count + 1 : MAX_SPAWNERS / 2;
}

/* Descriptors are the keeper's and the spawners' together: what an order needs is its own until then. */
static void close_order(struct order *order) {
    struct plan *plan = order_plan(order);
    if (order->foreign) return;
    for (int i = 0; i < plan->fd_steps + plan->sent_count; i++) close_for(0, plan->fds[i]);
    for (int i = 0; i < plan->logs; i++) close_for(0, plan->writer[i]);
    close_for(0, plan->cgroup_fd);
}

bool spawn_room(void) {
    wanted = false;
    if (kept.given < MAX_ORDERS) return true;
    wanted = now_ns() - moved_at < GIVE_UP_MS * MS;
    return !wanted; /* then it is refused */
}

static int fill_order(struct order *order, const struct plan *from) {
    struct plan *plan = order_plan(order);
    uint8_t *bytes = tables->ordered[order - kept.orders].bytes;
    size_t size = (size_t)(from->steps.end - from->steps.at);
    int error = 0, writer = -1;
    order->foreign = 0;
    *plan = *from;
    plan->steps = (struct in){memcpy(bytes, from->steps.at, size), bytes + size, false};
    memcpy(plan->report, (uint32_t[]){plan->last, STEP_EXEC, EINTR}, sizeof plan->report); /* if it is killed */
    for (int i = 0; i < plan->fd_steps + plan->sent_count; i++)
        if ((plan->fds[i] = fcntl(plan->fds[i], F_DUPFD_CLOEXEC, LOW)) < 0) error = errno;
    if (plan->cgroup_fd >= 0 && (plan->cgroup_fd = fcntl(plan->cgroup_fd, F_DUPFD_CLOEXEC, LOW)) < 0) error = errno;
    /* The service may reopen /dev/stderr: so the pipe is its own, open for writing only, and blocks it when full. */
    for (int i = 0; i < plan->logs; i++) {
        if ((writer = reopen(plan->log_fd[i], O_WRONLY)) < 0) writer = fcntl(plan->log_fd[i], F_DUPFD_CLOEXEC, 3);
        plan->writer[i] = plan->targets ? lift(writer) : writer; /* so that no target overwrites it */
        if (plan->writer[i] < 0) error = errno;
    }
    if (error) close_order(order);
    return error;
}

int spawn(int row, const struct plan *plan) {
    struct order *order = kept.orders;
    uint32_t spawners = 0;
    while (order < kept.orders + MAX_ORDERS && order->launch) order++;
    if (order == kept.orders + MAX_ORDERS) return EAGAIN;
    int error = fill_order(order, plan);
    if (error) return error;
    for (int i = 0; i < MAX_SPAWNERS; i++) spawners += kept.spawners[i].pid && !kept.spawners[i].quit;
    if (spawners <= kept.given && spawners < most()) error = start();
    if (error && !spawners) return close_order(order), error;
    order->child = order->done = 0;
    order->launch = child_launch[row];
    kept.given++;
    order->since = moved_at = now_ns();
    __atomic_store_n(&order->taker, 0, __ATOMIC_RELEASE); /* last: one that saw an earlier order here may take it */
    kept.queue[kept.end % MAX_ORDERS] = (uint32_t)(order - kept.orders);
    __atomic_store_n(&kept.end, kept.end + 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &kept.end, FUTEX_WAKE, 1, NULL, NULL, 0);
    return 0;
}

/* The row of its child, or -1. That child may change once: FORK makes another, and the first is nobody's then. */
static int born(struct order *order) {
    int row = order->launch ? find_row(child_launch, order->launch) : -1, child = order->child;
    if (row < 0 || !child || child_pid[row] == (uint64_t)child || children[row].over) return row;
    child_pid[row] = (uint64_t)(children[row].layout.pid = child);
    if (children[row].signal) kill(child, children[row].signal);
    return row;
}

static void quit(struct spawner *one) {
    one->quit = 1;
    syscall(SYS_futex, &kept.end, FUTEX_WAKE, MAX_SPAWNERS, NULL, NULL, 0);
}

static void settle(struct order *order) {
    int row = born(order);
    uint32_t *report = order_plan(order)->report;
    if (!order->done) report[2] = order->child ? EINTR : EAGAIN;
    if (report[2] && row >= 0 && order->child && !children[row].over)
        kill(order->child, SIGKILL); /* it ends by itself, unless who waited for it was killed */
    if (row >= 0) launch_settle(row, order->child, report);
    close_order(order);
    order->launch = 0;
    kept.given--;
    moved_at = now_ns();
    if (order->taker > (int32_t)most()) quit(&kept.spawners[order->taker - 1]);
}

void spawners_answer(void) {
    uint64_t count;
    if (read(kept.answers, &count, sizeof count) < 0) return; /* nothing new */
    for (struct order *order = kept.orders; order < kept.orders + MAX_ORDERS; order++)
        if (order->launch && __atomic_load_n(&order->done, __ATOMIC_ACQUIRE)) settle(order);
}

int find_child(int pid) {
    for (struct order *order = kept.orders; kept.given && order < kept.orders + MAX_ORDERS; order++) born(order);
    return find_row(child_pid, (uint64_t)pid);
}
int find_spawner(int pid) {
    int i = 0;
    while (i < MAX_SPAWNERS && kept.spawners[i].pid != pid) i++;
    return i < MAX_SPAWNERS ? i : -1;
}
bool spawner_reaped(int pid) {
    int i = find_spawner(pid);
    if (i < 0) return false;
    for (struct order *order = kept.orders; order < kept.orders + MAX_ORDERS; order++)
        if (order->launch && order->taker == i + 1) settle(order);
    kept.spawners[i].pid = 0;
    helped_at = 0; /* if it was the last one, and orders wait */
    return true;
}

/* Those that are idle end, busy ones once they are done. `again`: our descriptors are ours alone since
 * REEXEC, and what an order under way needs is open in its spawner only. */
void spawners_retire(bool again) {
    for (int i = 0; i < MAX_SPAWNERS; i++)
        if (kept.spawners[i].pid) quit(&kept.spawners[i]);
    for (struct order *order = kept.orders; again && order < kept.orders + MAX_ORDERS; order++)
        order->foreign = 1;
}

bool spawners_idle(void) { return kept.first == kept.end; } /* nothing waits */

static uint64_t sooner(uint64_t a, uint64_t b) { return a && a < b ? a : b; }
uint64_t spawners_tick(void) {
    uint64_t next = wanted ? moved_at + GIVE_UP_MS * MS : 0, now = now_ns(), oldest = UINT64_MAX;
    for (struct order *order = kept.orders; kept.given && order < kept.orders + MAX_ORDERS; order++) {
        if (!order->launch) continue;
        int row = born(order);
        if (row >= 0 && child_pid[row] == UNBORN && children[row].signal && !children[row].over)
            next = sooner(next, now + RETRY_MS * MS);
        if (!order->taker && order->since < oldest) oldest = order->since;
    }
    if (oldest == UINT64_MAX || life_ending()) return next; /* in the end nothing begins any more */
    uint64_t patience = PATIENCE_MS * MS, due = (oldest > helped_at ? oldest : helped_at) + patience;
    if (due <= now) start(), helped_at = now, due = now + patience; /* all of them hang, or are slow */
    return sooner(next, due);
}
