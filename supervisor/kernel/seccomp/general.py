"""What holds whatever was promised: never allowed, answered kindly, and how files may be opened.

Law: a program is not punished for what its libraries try on their own. Where they have long had a
way to go on without (an older call, another family, one try less), the answer is the one of a
kernel that does not have the thing; all else is a violation.
"""
from __future__ import annotations

from collections.abc import Collection

from supervisor.kernel.seccomp import argument as a
from supervisor.kernel.seccomp.rule import (
    ALLOW,
    EAFNOSUPPORT,
    ENOSYS,
    EOPNOTSUPP,
    EPERM,
    EPROTONOSUPPORT,
    VIOLATION,
    Rule,
    bits,
    names,
    number,
    other,
)

RINGS = ("io_uring_setup", "io_uring_enter", "io_uring_register")

# Under every promise, before all others.
ALWAYS: tuple[tuple[str, Rule], ...] = (
    # What these do stands in structs in memory, and for io_uring in a ring that no filter ever
    # sees: as a kernel without them, whereupon C libraries and runtimes fall back.
    *((call, Rule((), ENOSYS)) for call in ("clone3", "openat2", *RINGS)),
    # Pushing input into a terminal, which the shell behind it then runs: TIOCSTI CVE-2017-5226,
    # TIOCLINUX CVE-2023-1523. And loading line disciplines: TIOCSETD CVE-2017-2636.
    ("ioctl", Rule((number(1, *a.IOCTL_NEVER),), VIOLATION)),
    # A program left behind with these bits outlives a dynamic user: CVE-2019-3843, CVE-2019-3844.
    ("chmod", Rule((a.privileged(1),), VIOLATION)),
    ("fchmod", Rule((a.privileged(1),), VIOLATION)),
    ("fchmodat", Rule((a.privileged(2),), VIOLATION)),
    ("fchmodat2", Rule((a.privileged(2),), VIOLATION)),
    ("mknod", Rule((a.privileged(1),), VIOLATION)),
    ("mknodat", Rule((a.privileged(2),), VIOLATION)),
    ("creat", Rule((a.privileged(1),), VIOLATION)),
    ("open", Rule((other(bits(1, a.CREATING)), a.privileged(2)), VIOLATION)),
    ("openat", Rule((other(bits(2, a.CREATING)), a.privileged(3)), VIOLATION)),
    # Fast open connects without connect(), past Landlock (measured; landlock-lsm/linux #41).
    # Answered as for a socket that has it switched off, whereupon clients call connect().
    ("sendto", Rule((bits(3, a.MSG_FASTOPEN, a.MSG_FASTOPEN),), EOPNOTSUPP)),
    ("sendmsg", Rule((bits(2, a.MSG_FASTOPEN, a.MSG_FASTOPEN),), EOPNOTSUPP)),
    ("sendmmsg", Rule((bits(3, a.MSG_FASTOPEN, a.MSG_FASTOPEN),), EOPNOTSUPP)),
    # These pass Landlock's TCP rules too (measured: MPTCP binds, listens and connects; #54, #40).
    # Go tries MPTCP by itself, and takes this answer for a kernel without it.
    ("socket", Rule((a.INTERNET, number(2, *a.OTHER_PROTOCOLS)), EPROTONOSUPPORT)),
)

# Instead of a violation, where libraries try on their own and can do without: with on_violation =
# "kill" no program dies of what its libraries do. With "log" it is a violation, to be learned.
INSTEAD: tuple[tuple[str, Rule], ...] = (
    # The C library asks nscd and syslog (unix) and the kernel's address list (netlink).
    ("socket", Rule((number(0, a.AF_UNIX),), EAFNOSUPPORT)),
    ("socket", Rule((number(0, a.AF_NETLINK), number(2, a.NETLINK_ROUTE)), EAFNOSUPPORT)),
    # A static program's start asks for its own name (/proc/self/exe), and goes on without.
    ("readlink", Rule((), EPERM)),
    ("readlinkat", Rule((), EPERM)),
)

# The same for whole calls: as a kernel without them. Where a word allows one, this is not reached.
ABSENT = names(
    # Newer forms of older calls: libraries go on with those.
    "statx faccessat2 fchmodat2 epoll_pwait2 memfd_create renameat2 copy_file_range preadv2 "
    "pwritev2 getxattrat setxattrat listxattrat removexattrat file_getattr file_setattr "
    # Things that runtimes try, and do without.
    "pidfd_open pidfd_send_signal process_madvise process_mrelease memfd_secret listns statmount "
    "listmount lsm_get_self_attr lsm_set_self_attr lsm_list_modules landlock_create_ruleset "
    "landlock_add_rule landlock_restrict_self seccomp "
    # libnuma takes only ENOSYS for a machine without NUMA.
    "get_mempolicy mbind set_mempolicy set_mempolicy_home_node migrate_pages move_pages "
    # In the table for their numbers only: no kernel of today has them.
    "uselib create_module get_kernel_syms query_module nfsservctl getpmsg putpmsg afs_syscall "
    "tuxcall security vserver epoll_ctl_old epoll_wait_old set_thread_area get_thread_area "
    "_sysctl lookup_dcookie")


def opening(words: Collection[str]) -> list[tuple[str, Rule]]:
    """How files may be opened. As in OpenBSD the words combine: reading and writing needs both.

    rpath for O_RDONLY and O_RDWR, wpath for O_WRONLY, O_RDWR and O_TRUNC, cpath beside them for
    O_CREAT and O_TMPFILE.
    """
    modes = []
    if "rpath" in words:
        modes.append(a.O_RDONLY)
    if "wpath" in words:
        modes.append(a.O_WRONLY)
    if len(modes) == 2:
        modes += [a.O_RDWR, a.O_ACCMODE]  # 3: no data, but checked as for both
    if not modes:
        return []
    refused = 0 if "wpath" in words else a.O_TRUNC
    refused |= 0 if "cpath" in words else a.CREATING
    rows = [(call, Rule((bits(arg, a.O_ACCMODE | refused, *modes),), ALLOW))
            for call, arg in (("open", 1), ("openat", 2))]
    if "wpath" in words and "cpath" in words:
        rows.append(("creat", Rule((), ALLOW)))
    return rows
