/* How a service comes into the world: a process of the spawner's memory, which it leaves by execve(2).
 * Where it needs namespaces that take a birth (a pid namespace is its children's only, a user namespace
 * wants its maps from outside), the first child makes a holder, joins its namespaces, and bears the service
 * as another child of the keeper's, which so learns its end and signals it as if there were nobody between.
 * The holder is the init of a pid namespace: it reaps, and ends when nobody else is left (mini.c). */
#include <linux/close_range.h>
#include <linux/sched.h>
#include "keeper.h"

#ifdef __SANITIZE_ADDRESS__ /* which keeps books on each stack: a second process in it would confuse them */
#define CLONE_SHARED_MEMORY 0
#else
#define CLONE_SHARED_MEMORY CLONE_VM
#endif
static int holder, held; /* its pid, 0: none; the namespaces that it was made for */

/* The call itself, not by way of libc: parent and child share the stack, and the child would overwrite
 * the address to which a function returns in the parent. */
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
#else
#error "how a system call is made on this machine is not known here"
#endif
}

static _Noreturn void be_child(struct plan *plan, bool shares_files) {
    if (shares_files && syscall(SYS_close_range, LOW, ~0U, CLOSE_RANGE_UNSHARE) && unshare(CLONE_FILES)) {
        plan->report[2] = (uint32_t)errno;
        _exit(127);
    }
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

/* In the first child: a process in new namespaces, which this one joins; the maps may be empty. */
__attribute__((noinline)) int hold(int flags, const char *const maps[3]) {
    static const char *const files[] = {"setgroups", "uid_map", "gid_map"};
    static char path[32], *argv[] = {"unboxed-init", "--hold", NULL};
    long pid = raw_clone(SYS_clone, flags | CLONE_SHARED_MEMORY | CLONE_VFORK | CLONE_PARENT | SIGCHLD, 0, 0);
    if (pid == 0) execve("/proc/self/exe", argv, argv + 2), _exit(1);
    if (pid < 0) return (int)-pid;
    holder = (int)pid, held = flags;
    int proc = open(strcat(strcpy(path, "/proc/"), number(pid)), O_PATH | O_DIRECTORY | O_CLOEXEC);
    int error = proc < 0 ? errno : 0, pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    for (int i = 0; i < 3 && !error; i++) error = *maps[i] ? write_file(proc, files[i], maps[i]) : 0;
    if (!error && (pidfd < 0 || setns(pidfd, flags))) error = errno;
    if (error) kill(holder, SIGKILL);
    return close_for(close_for(error, proc), pidfd);
}

/* The rest of the plan by another child of the keeper. That never returns here: this one still needs its stack. */
__attribute__((noinline)) int bear_again(struct plan *plan, bool shares_memory) {
    struct order *order = &kept.orders[(struct ordered *)plan - tables->ordered];
    long flags = (shares_memory ? CLONE_SHARED_MEMORY : 0) | CLONE_VFORK | CLONE_PARENT | CLONE_PARENT_SETTID;
    long pid = raw_clone(SYS_clone, flags | SIGCHLD, 0, (long)&order->child);
    if (pid == 0) carry_on(plan);
    if (pid > 0 && holder) kill(holder, held & CLONE_NEWPID ? SIGRTMAX : SIGKILL); /* it is there: await its end */
    if (pid > 0) _exit(0);
    return (int)-pid;
}
