"""Level app's list: the calls that need no rule about their arguments.

What systemd's @system-service (252) and Docker's default profile (2026-06) both allow, which years
of servers have been run under, with these differences:
- Left out, and ruled by argument in words.py: clone, unshare, socket, socketpair, personality,
  prlimit64, mknod, mknodat. Left out, and answered ENOSYS: openat2, and calls that are dead.
- Added, though only one of the two has it (or neither, being older than the call): arch_prctl;
  cachestat, futex_*, mincore, mseal, map_shadow_stack, pkey_*, rseq_slice_yield, uprobe: a process
  and its own memory, threads and descriptors; *xattrat and file_*attr: new forms of allowed calls;
  landlock_* and seccomp: they can only take away.
Not in it although systemd allows it: io_uring, key rings (CVE-2016-0728), userfaultfd (it holds the
kernel still in the middle of a race: see vm.unprivileged_userfaultfd), namespaces, NUMA, other
processes' memory. Not in it although Docker allows it: ptrace, adjtimex, fanotify_mark, statmount.
"""
from __future__ import annotations

from supervisor.kernel.seccomp.rule import names

BASE = names(
    # Descriptors and what is behind them
    "read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 lseek sendfile "
    "splice tee vmsplice copy_file_range close close_range dup dup2 dup3 pipe pipe2 fcntl flock "
    "ioctl fsync fdatasync sync syncfs sync_file_range ftruncate fallocate fadvise64 readahead "
    "cachestat io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents "
    # Files by name
    "open openat creat name_to_handle_at access faccessat faccessat2 stat lstat fstat newfstatat "
    "statx statfs fstatfs readlink readlinkat getdents getdents64 chdir fchdir getcwd umask "
    "truncate mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink "
    "symlinkat chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes "
    "futimesat utimensat getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr setxattr "
    "lsetxattr fsetxattr removexattr lremovexattr fremovexattr getxattrat listxattrat setxattrat "
    "removexattrat file_getattr file_setattr inotify_init inotify_init1 inotify_add_watch "
    "inotify_rm_watch "
    # Waiting
    "poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait "
    "epoll_pwait2 eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_settime "
    "timerfd_gettime pause wait4 waitid "
    # Sockets
    "bind listen accept accept4 connect shutdown getsockname getpeername getsockopt setsockopt "
    "sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg "
    # Memory
    "brk mmap munmap mremap mprotect madvise msync mincore mlock mlock2 munlock mlockall "
    "munlockall remap_file_pages membarrier mseal pkey_alloc pkey_free pkey_mprotect "
    "map_shadow_stack memfd_create shmget shmat shmdt shmctl "
    # Threads and processes
    "fork vfork execve execveat exit exit_group futex futex_waitv futex_wait futex_wake "
    "futex_requeue set_robust_list get_robust_list set_tid_address rseq rseq_slice_yield "
    "arch_prctl prctl setpgid getpgid getpgrp setsid getsid getpid getppid gettid pidfd_open "
    "getrlimit setrlimit getrusage getpriority setpriority ioprio_get ioprio_set sched_yield "
    "sched_getaffinity sched_setaffinity sched_getparam sched_setparam sched_getscheduler "
    "sched_setscheduler sched_getattr sched_setattr sched_get_priority_max sched_get_priority_min "
    "sched_rr_get_interval getcpu uretprobe uprobe "
    # Signals
    "kill tkill tgkill rt_sigaction rt_sigprocmask rt_sigpending rt_sigsuspend rt_sigtimedwait "
    "rt_sigqueueinfo rt_tgsigqueueinfo rt_sigreturn sigaltstack restart_syscall pidfd_send_signal "
    # Messages and semaphores
    "semget semop semtimedop semctl msgget msgsnd msgrcv msgctl mq_open mq_unlink mq_timedsend "
    "mq_timedreceive mq_notify mq_getsetattr "
    # Time
    "clock_gettime clock_getres clock_nanosleep gettimeofday nanosleep time times alarm getitimer "
    "setitimer timer_create timer_settime timer_gettime timer_getoverrun timer_delete "
    # Identity, as far as its capabilities go
    "getuid geteuid getgid getegid getresuid getresgid getgroups setuid setgid setreuid setregid "
    "setresuid setresgid setfsuid setfsgid setgroups capget capset "
    # The machine
    "uname sysinfo getrandom "
    # Less for itself
    "landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp")
