"""What each word of a promise allows: OpenBSD's pledge words, and Linux's own where it has none.

Law: a promise is about what may be opened and who may be reached. What is done with a descriptor
that is already held (read, accept, getsockopt) is `stdio`, so that a service which is handed its
files and listeners needs no other word.

How to read the table: `calls` are allowed whatever their arguments; each row of `rules` allows one
call where all its tests hold, and several rows, or words, add up. What no word allows is a
violation, except for what general.py answers; what it refuses, no word allows.

Not expressible in a filter, which sees registers and not what they point to: paths, addresses,
ports, the signal's target being oneself. Each word says under `limits` what follows from that.
"""
from __future__ import annotations

from typing import NamedTuple

from supervisor.kernel.seccomp import argument as a
from supervisor.kernel.seccomp.base import BASE
from supervisor.kernel.seccomp.rule import Condition, bits, names, null, number, other

Row = tuple[str, *tuple[Condition, ...]]


class Word(NamedTuple):
    allows: str
    calls: frozenset[str] = frozenset()
    rules: tuple[Row, ...] = ()
    limits: str = ""


# No filter is without: neither the C library's start nor the service's own execve would pass.
IMPLIED = ("stdio",)

WORDS: dict[str, Word] = {
    "app": Word(
        "level app's list: all that servers and their runtimes use, no administration",
        BASE,
        (
            # Threads and processes, but no namespace: user namespaces are how most privilege
            # escalations reach code that was written for root (CVE-2022-0185, CVE-2023-32233).
            ("clone", bits(0, a.CLONE_NAMESPACES)),
            ("unshare", bits(0, a.CLONE_NAMESPACES | a.CLONE_NEWTIME)),
            ("socket", number(0, a.AF_UNIX)),
            ("socket", a.INTERNET, a.PLAIN_TYPES, a.PLAIN_PROTOCOLS),
            ("socketpair", number(0, a.AF_UNIX)),
            ("personality", number(0, *a.PERSONALITIES)),
            # One's own limits, or a look at others'; not the limits of another process.
            ("prlimit64", number(0, 0)),
            ("prlimit64", null(2)),
            ("mknod", a.no_device(1)),
            ("mknodat", a.no_device(2)),
        ),
        "addresses and ports (limit them with [network])",
    ),
    "stdio": Word(
        "use what it already holds: files, pipes, sockets, memory, threads, time, waiting",
        names(
            # Descriptors
            "read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 lseek "
            "sendfile splice tee vmsplice copy_file_range close close_range dup dup2 dup3 pipe "
            "pipe2 fstat fstatfs fsync fdatasync sync_file_range ftruncate fallocate fadvise64 "
            "readahead cachestat getdents getdents64 fgetxattr flistxattr fchdir umask "
            # Waiting
            "poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait "
            "epoll_pwait epoll_pwait2 eventfd eventfd2 signalfd signalfd4 timerfd_create "
            "timerfd_settime timerfd_gettime pause wait4 waitid "
            # Sockets it was given. accept is here because a listener is one of them.
            "accept accept4 recvfrom shutdown getsockname getpeername getsockopt "
            # Memory. Writable and executable at once is refused by MDWE, not here: the loader
            # maps libraries executable, and a filter cannot tell a library from other memory.
            "brk mmap munmap mremap mprotect madvise msync mincore mlock mlock2 munlock mlockall "
            "munlockall membarrier mseal pkey_alloc pkey_free pkey_mprotect map_shadow_stack "
            # Threads
            "futex futex_waitv futex_wait futex_wake futex_requeue set_robust_list "
            "get_robust_list set_tid_address gettid rseq rseq_slice_yield arch_prctl "
            "sched_yield sched_getaffinity sched_getparam sched_getscheduler sched_getattr "
            "sched_get_priority_max sched_get_priority_min sched_rr_get_interval getcpu "
            # tgkill and tkill are raise(), abort(), pthread_cancel() and Go's preemption.
            "tgkill tkill "
            # Signals to oneself
            "rt_sigaction rt_sigprocmask rt_sigpending rt_sigsuspend rt_sigtimedwait "
            "rt_sigreturn sigaltstack restart_syscall alarm getitimer setitimer timer_create "
            "timer_settime timer_gettime timer_getoverrun timer_delete "
            # Time
            "clock_gettime clock_getres clock_nanosleep gettimeofday nanosleep time times "
            # Who am I
            "getpid getppid getpgid getpgrp getsid getuid geteuid getgid getegid getresuid "
            "getresgid getgroups capget getrlimit setrlimit getrusage getpriority uname sysinfo "
            "getrandom "
            # The end
            "exit exit_group "
            # The kernel's own trampoline for a probe on user code: refused, the process that is
            # being looked at dies (Linux 6.11 to 6.13). From anywhere else the kernel refuses it.
            "uretprobe uprobe "
            # The service's own start comes after the filter, so this cannot be refused here.
            "execve"),
        (
            # fstat() of glibc 2.33 to 2.38 is fstatat(fd, "", AT_EMPTY_PATH).
            ("newfstatat", bits(3, a.AT_EMPTY_PATH, a.AT_EMPTY_PATH)),
            ("clone", bits(0, a.CLONE_THREAD | a.CLONE_NAMESPACES, a.CLONE_THREAD)),
            ("kill", number(0, 0)),  # its own process group
            ("sched_setaffinity", number(0, 0)),
            ("prlimit64", number(0, 0)),
            ("fcntl", number(1, *a.FCNTL_PLAIN)),
            ("ioctl", number(1, *a.IOCTL_PLAIN)),
            ("prctl", number(0, *a.PRCTL_SELF)),
            # libcap asks for the ambient capabilities as it is loaded.
            ("prctl", number(0, a.PR_CAP_AMBIENT), number(1, a.PR_CAP_AMBIENT_IS_SET)),
            ("socketpair", number(0, a.AF_UNIX)),
            ("sendto", null(4)),  # send(): to the peer the socket has, no other
            # Only options of protocols that were promised, or are held; see argument.py.
            ("setsockopt", number(1, a.SOL_SOCKET), other(number(2, *a.SOCKET_PROGRAMS))),
            ("setsockopt", number(1, a.IPPROTO_TCP), other(number(2, a.TCP_ULP))),
            ("setsockopt", number(1, a.IPPROTO_UDP, a.IPPROTO_ICMPV6)),
            ("setsockopt", number(1, a.IPPROTO_IP),
             other(number(2, *a.IP_MULTICAST, *a.IP_TABLES))),
            ("setsockopt", number(1, a.IPPROTO_IPV6),
             other(number(2, *a.IPV6_MULTICAST, *a.IP_TABLES))),
            # A file in memory that cannot be made executable (Linux 6.3); see `exec`.
            ("memfd_create", bits(1, a.MFD_NOEXEC_SEAL, a.MFD_NOEXEC_SEAL)),
        ),
        "whom tgkill and tkill signal (any process of its user: give it its own user, or pid "
        "namespace, or Landlock's signal scope); a path behind AT_EMPTY_PATH; which program "
        "execve starts (limit it with `exec` paths)",
    ),
    "rpath": Word(
        "open files for reading, look at names and attributes; a dynamic program's start",
        names(
            "stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat statfs "
            "chdir getcwd getxattr lgetxattr listxattr llistxattr getxattrat listxattrat "
            "file_getattr inotify_init inotify_init1 inotify_add_watch inotify_rm_watch"),
        limits="which paths (limit them with `read`)",
    ),
    "wpath": Word(
        "open files for writing, cut them off",
        names(
            "stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat getcwd "
            "truncate"),
        limits="which paths (limit them with `write`)",
    ),
    "cpath": Word(
        "create, rename and remove files, links and directories",
        names(
            "mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink "
            "symlinkat"),
        limits="which paths (limit them with `write`)",
    ),
    "dpath": Word(
        "create fifos and socket nodes; device nodes never",
        rules=(("mknod", a.no_device(1)), ("mknodat", a.no_device(2))),
    ),
    "fattr": Word(
        "change modes, times and extended attributes, which Landlock does not see",
        names(
            "chmod fchmod fchmodat fchmodat2 utime utimes futimesat utimensat setxattr lsetxattr "
            "fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat "
            "file_setattr"),
        limits="which paths",
    ),
    "chown": Word(
        "change owner and group, which Landlock does not see",
        names("chown fchown lchown fchownat"),
        limits="which paths and ids",
    ),
    "flock": Word(
        "lock files",
        names("flock"),
        (("fcntl", number(1, *a.FCNTL_LOCKS)),),
    ),
    "unix": Word(
        "make, bind and connect unix sockets",
        names("bind listen connect sendto"),
        (("socket", number(0, a.AF_UNIX)),),
        "which sockets (limit them with [network] unix)",
    ),
    "inet": Word(
        "TCP, UDP and ping over IPv4 and IPv6, as client and server",
        names("bind listen connect sendto sendmsg recvmsg sendmmsg recvmmsg"),
        (
            # An allow-list of protocols: SCTP, MPTCP and DCCP would pass Landlock's TCP rules.
            ("socket", a.INTERNET, a.PLAIN_TYPES, a.PLAIN_PROTOCOLS),
            ("ioctl", number(1, *a.IOCTL_INET)),
        ),
        "addresses and ports (limit them with [network]); descriptors passed over a unix socket "
        "that it holds, since sendmsg and recvmsg are allowed",
    ),
    "mcast": Word(
        "join multicast groups",
        rules=(
            ("setsockopt", number(1, a.IPPROTO_IP), number(2, *a.IP_MULTICAST)),
            ("setsockopt", number(1, a.IPPROTO_IPV6), number(2, *a.IPV6_MULTICAST)),
        ),
    ),
    "dns": Word(
        "resolve names: UDP and TCP as a client, and ask the kernel for its addresses",
        # glibc sends both queries with one sendmmsg, and reads netlink's answer with recvmsg.
        names("connect bind sendto sendmsg sendmmsg recvmsg"),
        (
            ("socket", a.INTERNET, a.PLAIN_TYPES, a.PLAIN_PROTOCOLS),
            # getaddrinfo() asks which address families there are.
            ("socket", number(0, a.AF_NETLINK), number(2, a.NETLINK_ROUTE)),
        ),
        "the port (any server may be reached: limit it with [network] connect); the files of the "
        "resolver need rpath as well",
    ),
    "route": Word(
        "look at interfaces, addresses and routes; changing them needs CAP_NET_ADMIN",
        names("bind sendto sendmsg recvmsg"),
        (
            ("socket", number(0, a.AF_NETLINK), number(2, a.NETLINK_ROUTE)),
            ("ioctl", number(1, *a.IOCTL_INTERFACE)),
        ),
    ),
    "recvfd": Word(
        "receive messages that may carry descriptors", names("recvmsg recvmmsg")),
    "sendfd": Word(
        "send messages that may carry descriptors", names("sendmsg sendmmsg")),
    "proc": Word(
        "make processes, signal and schedule them, new sessions and process groups",
        names(
            "fork vfork kill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open pidfd_send_signal "
            "setpgid setsid prlimit64 setpriority ioprio_get ioprio_set sched_setaffinity "
            "sched_setparam sched_setscheduler sched_setattr"),
        (
            ("clone", bits(0, a.CLONE_NAMESPACES)),
            ("personality", number(0, *a.PERSONALITIES)),
            ("prctl", number(0, *a.PRCTL_PROC)),
            ("fcntl", number(1, *a.FCNTL_OWNER)),
        ),
        "whom it signals (any process of its user: give it its own user or pid namespace)",
    ),
    "exec": Word(
        "start other programs; without it only Landlock, not this filter, refuses them",
        names("execveat memfd_create"),
        limits="which programs (limit them with `exec`)",
    ),
    "id": Word(
        "change user, group and capabilities, as far as its capabilities go",
        names(
            "setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups "
            "capset"),
        (("prctl", number(0, *a.PRCTL_ID)),),
    ),
    "tty": Word(
        "set up terminals and make pseudo terminals; input into them is never pushed",
        rules=(("ioctl", number(1, *a.IOCTL_TTY)),),
    ),
    "unveil": Word(
        "restrict itself further: Landlock, and filters of its own",
        names(
            "landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp"),
        (("prctl", number(0, a.PR_SET_SECCOMP)),),
    ),
    "device": Word(
        "any ioctl, as graphics cards, sound and video want them (audio, video, drm of OpenBSD)",
        names("ioctl"),
        limits="which device (limit them with `devices` and `gpus`)",
    ),
    "ipc": Word(
        "System V shared memory, semaphores and queues, and POSIX message queues",
        names(
            "shmget shmat shmdt shmctl semget semop semtimedop semctl msgget msgsnd msgrcv msgctl "
            "mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr"),
        limits="whose (limit it with `ipc`, a namespace of its own)",
    ),
    "aio": Word(
        "the old asynchronous file input and output, which databases use; io_uring never",
        names("io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents")),
    "numa": Word(
        "place memory on NUMA nodes",
        names(
            "get_mempolicy mbind set_mempolicy set_mempolicy_home_node migrate_pages move_pages")),
    "settime": Word(
        "read and set the clock; setting needs CAP_SYS_TIME",
        names("clock_settime clock_adjtime settimeofday adjtimex")),
    "keyring": Word(
        "the kernel's key rings",
        names("add_key request_key keyctl"),
        limits="which keys: a key ring is no part of any namespace",
    ),
    "debug": Word(
        "trace other processes and touch their memory",
        names(
            "ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp "
            "pidfd_getfd"),
        (("prctl", number(0, a.PR_SET_PTRACER)),),
        "whom: and a process that may trace another may use all that the other was promised",
    ),
    "perf": Word("measure with the kernel's performance counters", names("perf_event_open")),
    "bpf": Word(
        "load programs into the kernel (OpenBSD's bpf, reading packets, is not this)",
        names("bpf"),
        (("setsockopt", number(1, a.SOL_SOCKET), number(2, *a.SOCKET_PROGRAMS)),),
    ),
    "namespace": Word(
        "make and enter namespaces",
        names("clone unshare setns"),
        limits="what its user namespaces then open of the kernel",
    ),
    "mount": Word(
        "change the view of the file system",
        names(
            "mount umount2 pivot_root chroot open_tree open_tree_attr move_mount fsopen fsconfig "
            "fsmount fspick mount_setattr statmount listmount"),
    ),
}
