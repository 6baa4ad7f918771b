/* How a service comes into the world: a process of the spawner's memory, which it leaves by execve(2).
 * Where it needs namespaces that take a birth (a pid namespace is its children's only, a user namespace
 * wants its maps from outside), the first child makes a holder, joins its namespaces, and bears the service
 * as another child of the keeper's, which so learns its end and signals it as if there were nobody between.
 * The holder is the init of a pid namespace, and ends when nobody else is left (mini.c). */
#include <linux/close_range.h>
#include <linux/sched.h>
#include "keeper.h"

#ifdef __SANITIZE_ADDRESS__ /* which keeps books on each stack: a second process in it would confuse them */
#define CLONE_SHARED_MEMORY 0
#else
#define CLONE_SHARED_MEMORY CLONE_VM
#endif

/* The call itself, not by way of libc: parent and child share the stack, and the child would overwrite
 * the address to which a function returns in the parent; nor does it do anything in the parent's frame. */
static inline __attribute__((always_inline)) long raw_clone(long call, long a, long b, long c) {
#if defined(__x86_64__)
    long result;
    __asm__ volatile("xor %%r10d, %%r10d\n\txor %%r8d, %%r8d\n\tsyscall" : "=a"(result)
                     : "a"(call), "D"(a), "S"(b), "d"(c) : "rcx", "r8", "r10", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = call, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = 0, x4 __asm__("x4") = 0;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
    return x0;
#endif /* on any other machine it is not known here how a system call is made */
}

static __attribute__((noinline)) _Noreturn void be_child(struct plan *plan, bool shares_files) {
    if (shares_files && syscall(SYS_close_range, LOW, ~0U, CLOSE_RANGE_UNSHARE) && unshare(CLONE_FILES))
        plan->report[2] = (uint32_t)errno, _exit(127);
    become(plan);
}

__attribute__((noinline)) int give_birth(struct order *order, struct plan *plan) {
    /* A plan that needs descriptors from above LOW gets all. */
    bool few = !plan->targets && !plan->fd_steps && !plan->sent_count && !plan->join;
    uint64_t flags = CLONE_SHARED_MEMORY | CLONE_VFORK | CLONE_PARENT | CLONE_PARENT_SETTID | (few ? CLONE_FILES : 0);
    struct clone_args how = {.flags = flags, .parent_tid = (uintptr_t)&order->child};
    if (plan->cgroup_fd >= 0) how.flags |= CLONE_INTO_CGROUP, how.cgroup = (unsigned)plan->cgroup_fd;
    long pid = plan->join || plan->cgroup_fd < 0
                          ? raw_clone(SYS_clone, (long)(flags | SIGCHLD), 0, (long)&order->child)
                          : raw_clone(SYS_clone3, (long)&how, sizeof how, 0);
    if (pid == 0) be_child(plan, few);
    return pid < 0 ? (int)-pid : 0;
}

/* In the first child: a process in new namespaces, which this one joins; the maps may be empty. They are
 * joined when it is told so by the socket, whose other end, the first of `ends`, closes as the service executes, or fails
 * (or a step puts something else there). It gets ready meanwhile, and says so by the socket. */
int hold(int flags, const char *const maps[3], int ends[2]) {
    static const char *const files[] = {"/setgroups", "/uid_map", "/gid_map"};
    static char path[64];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) return errno;
    long pid = syscall(SYS_clone, flags | CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) be_holder(ends[1]);
    if (pid < 0) return errno;
    close(ends[1]);
    int error = 0, pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    for (int i = 0; i < 3 && !error; i++)
        if (*maps[i]) error = write_file(AT_FDCWD, strcat(strcat(strcpy(path, "/proc/"), number(pid)), files[i]), maps[i]);
    if (!error && (pidfd < 0 || setns(pidfd, flags))) error = errno;
    if (!error && send(ends[0], "", 1, MSG_NOSIGNAL) != 1) error = ECHILD;
    return close_for(error, pidfd);
}

/* The rest of the plan by another child of the keeper, with a memory and a stack of its own, since
 * this one can be killed before that executes, and the spawner would go on in the shared ones. */
int bear_again(struct plan *plan) {
    struct order *order = &kept.orders[(struct ordered *)plan - tables->ordered];
    long pid = syscall(SYS_clone, CLONE_VFORK | CLONE_PARENT | CLONE_PARENT_SETTID | SIGCHLD, 0, &order->child, 0, 0);
    if (pid > 0) _exit(0);
    return pid < 0 || setsid() < 0 ? errno : 0;
}
