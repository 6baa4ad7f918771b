"""What each word means, written down by hand: calls with arguments, and which words let them pass.

Each line is a fact about the policy that a reader can check against pledge(2) and the kernel's
manual, and is asked of the compiled program for both machines.
"""
from __future__ import annotations

import pytest

from supervisor.kernel.seccomp import filter as seccomp
from supervisor.kernel.seccomp import network
from supervisor.kernel.seccomp.words import WORDS
from tests.unit.kernel.seccomp.machine import Machine
from tests.unit.kernel.seccomp.oracle import AUDIT, CALLS

ALLOW = 0x7FFF0000
EPERM, ENOSYS, EPROTONOSUPPORT, EOPNOTSUPP, EAFNOSUPPORT = 1, 38, 93, 95, 97
EVERY = frozenset(WORDS)
AT_FDCWD = -100 & 0xFFFFFFFFFFFFFFFF
HIGH = 1 << 32  # garbage in the half of a register that the kernel drops

# What one argument list takes: the sets of words of which each suffices; else the errno.
FACTS: list[tuple[str, tuple[int, ...], str, int]] = [
    # Files it holds, the loader's needs, the end
    ("read", (0, 4096, 10), "stdio", EPERM),
    ("mmap", (0, 4096, 5, 2, 3, 0), "stdio", EPERM),
    ("execve", (4096, 4096, 4096), "stdio", EPERM),
    ("exit_group", (0,), "stdio", EPERM),
    ("accept4", (3, 0, 0, 0), "stdio", EPERM),
    # Opening: accmode, then what it adds
    ("openat", (AT_FDCWD, 4096, 0o2000000), "app rpath", EPERM),  # O_RDONLY | O_CLOEXEC
    ("openat", (AT_FDCWD, 4096, 1), "app wpath", EPERM),
    ("openat", (AT_FDCWD, 4096, 2), "app rpath+wpath", EPERM),
    ("openat", (AT_FDCWD, 4096, 0o1000), "app rpath+wpath", EPERM),  # O_TRUNC
    ("openat", (AT_FDCWD, 4096, 0o101, 0o644), "app wpath+cpath", EPERM),
    ("openat", (AT_FDCWD, 4096, 0o100, 0o644), "app rpath+cpath", EPERM),
    ("openat", (AT_FDCWD, 4096, 0o102, 0o644), "app rpath+wpath+cpath", EPERM),
    ("openat", (AT_FDCWD, 4096, 0o20200002, 0o600), "app rpath+wpath+cpath", EPERM),  # O_TMPFILE
    ("openat", (AT_FDCWD, 4096, 0o101, 0o4755), "", EPERM),  # set-user-id
    ("openat", (AT_FDCWD, 4096, 0o101, HIGH | 0o2755), "", EPERM),
    ("openat", (AT_FDCWD, 4096, 0, 0o4755), "app rpath", EPERM),  # no O_CREAT: no mode
    ("openat2", (AT_FDCWD, 4096, 4096, 24), "", ENOSYS),
    ("newfstatat", (AT_FDCWD, 4096, 4096, 0), "app rpath wpath", EPERM),
    ("newfstatat", (1, 4096, 4096, 0x1000), "stdio", EPERM),
    ("statx", (AT_FDCWD, 4096, 0, 0, 4096), "app rpath wpath", ENOSYS),
    ("faccessat2", (AT_FDCWD, 4096, 4, 0x200), "app rpath wpath", ENOSYS),
    ("readlinkat", (AT_FDCWD, 4096, 4096, 1), "app rpath wpath", EPERM),
    ("ftruncate", (3, 0), "stdio", EPERM),
    ("truncate", (4096, 0), "app wpath", EPERM),
    ("mkdirat", (AT_FDCWD, 4096, 0o755), "app cpath", EPERM),
    ("unlinkat", (AT_FDCWD, 4096, 0), "app cpath", EPERM),
    ("mknodat", (AT_FDCWD, 4096, 0o010644, 0), "app dpath", EPERM),
    ("mknodat", (AT_FDCWD, 4096, 0o020644, 0x103), "", EPERM),  # /dev/null
    ("mknodat", (AT_FDCWD, 4096, 0o060644, 0x800), "", EPERM),  # a disk
    # Attributes
    ("fchmodat", (AT_FDCWD, 4096, 0o644), "app fattr", EPERM),
    ("fchmodat", (AT_FDCWD, 4096, 0o4755), "", EPERM),
    ("fchmod", (3, 0o2755), "", EPERM),
    ("fchmodat2", (AT_FDCWD, 4096, 0o6755, 0), "", EPERM),
    ("fchmod", (3, 0o1777), "app fattr", EPERM),  # sticky
    ("utimensat", (AT_FDCWD, 4096, 0, 0), "app fattr", EPERM),
    ("setxattr", (4096, 4096, 4096, 1, 0), "app fattr", EPERM),
    ("getxattr", (4096, 4096, 4096, 1), "app rpath", EPERM),
    ("fchownat", (AT_FDCWD, 4096, 0, 0, 0), "app chown", EPERM),
    ("flock", (3, 2), "app flock", EPERM),
    ("fcntl", (3, 6, 4096), "app flock", EPERM),
    ("fcntl", (3, HIGH | 2, 1), "stdio", EPERM),
    ("fcntl", (3, 8, 1), "app proc", EPERM),  # F_SETOWN
    ("fcntl", (3, 1026, 1), "app", EPERM),  # F_NOTIFY
    # Sockets: family, type, protocol
    ("socket", (1, 1, 0), "app unix", EAFNOSUPPORT),
    ("socket", (2, 1, 0), "app inet dns", EPERM),
    ("socket", (HIGH | 2, 0o2004001, 6), "app inet dns", EPERM),
    ("socket", (10, 2, 17), "app inet dns", EPERM),
    ("socket", (2, 2, 1), "app inet dns", EPERM),  # ping
    ("socket", (2, 3, 1), "", EPERM),  # raw
    ("socket", (2, 1, 262), "", EPROTONOSUPPORT),  # MPTCP
    ("socket", (10, 1, HIGH | 262), "", EPROTONOSUPPORT),
    ("socket", (2, 5, 132), "", EPROTONOSUPPORT),  # SCTP
    ("socket", (2, 1, 33), "", EPROTONOSUPPORT),  # DCCP
    ("socket", (16, 3, 0), "dns route", EAFNOSUPPORT),  # netlink, routes
    ("socket", (16, 3, 12), "", EPERM),  # netlink, netfilter
    ("socket", (17, 3, 0), "", EPERM),  # packets
    ("socket", (38, 5, 0), "", EPERM),  # kernel crypto
    ("socket", (40, 1, 0), "", EPERM),  # to the hypervisor
    ("socketpair", (1, 1, 0, 4096), "stdio", EPERM),
    ("socketpair", (30, 1, 0, 4096), "", EPERM),  # TIPC
    ("bind", (3, 4096, 16), "app unix inet dns route", EPERM),
    ("listen", (3, 1), "app unix inet", EPERM),
    ("connect", (3, 4096, 16), "app unix inet dns", EPERM),
    ("sendto", (3, 4096, 1, 0, 0, 0), "stdio", EPERM),
    ("sendto", (3, 4096, 1, 0, HIGH, 16), "app unix inet dns route", EPERM),
    ("sendto", (3, 4096, 1, 0x20000000, 4096, 16), "", EOPNOTSUPP),  # fast open
    ("sendto", (3, 4096, 1, HIGH | 0x20004000, 4096, 16), "", EOPNOTSUPP),
    ("sendmsg", (3, 4096, 0x20000000), "", EOPNOTSUPP),
    ("sendmmsg", (3, 4096, 1, 0x20000000), "", EOPNOTSUPP),
    ("sendmsg", (3, 4096, 0), "app inet dns route sendfd", EPERM),
    ("recvmsg", (3, 4096, 0), "app inet dns route recvfd", EPERM),
    ("setsockopt", (3, 6, 1, 4096, 4), "stdio", EPERM),  # TCP_NODELAY
    ("setsockopt", (3, 6, 31, 4096, 4), "app", EPERM),  # TCP_ULP
    ("setsockopt", (3, 1, 2, 4096, 4), "stdio", EPERM),  # SO_REUSEADDR
    ("setsockopt", (3, 1, 26, 4096, 16), "app bpf", EPERM),  # SO_ATTACH_FILTER
    ("setsockopt", (3, 0, 35, 4096, 8), "app mcast", EPERM),  # IP_ADD_MEMBERSHIP
    ("setsockopt", (3, 41, 20, 4096, 20), "app mcast", EPERM),
    ("setsockopt", (3, 0, 64, 4096, 4), "app", EPERM),  # IPT_SO_SET_REPLACE
    ("setsockopt", (3, 132, 110, 4096, 4), "app", EPERM),  # SCTP_SOCKOPT_CONNECTX
    ("getsockopt", (3, 1, 4, 4096, 4096), "stdio", EPERM),
    # Processes
    ("clone", (0x3D0F00,), "stdio", EPERM),  # a thread, as glibc makes it
    ("clone", (17,), "app proc namespace", EPERM),  # a process
    ("clone", (0x4111,), "app proc namespace", EPERM),  # posix_spawn: VM, VFORK
    ("clone", (0x10000000 | 17,), "namespace", EPERM),  # CLONE_NEWUSER
    ("clone", (0x3D0F00 | 0x40000000,), "namespace", EPERM),
    ("clone3", (4096, 88), "", ENOSYS),
    ("unshare", (0x10000000,), "namespace", EPERM),
    ("unshare", (0x80,), "namespace", EPERM),  # CLONE_NEWTIME
    ("unshare", (0x200,), "app namespace", EPERM),  # CLONE_FS
    ("setns", (3, 0), "namespace", EPERM),
    ("execveat", (3, 4096, 4096, 4096, 0x1000), "app exec", EPERM),
    ("kill", (0, 15), "stdio", EPERM),
    ("kill", (1, 15), "app proc", EPERM),
    ("tgkill", (5, 5, 6), "stdio", EPERM),
    ("pidfd_send_signal", (3, 9, 0, 0), "app proc", ENOSYS),
    ("prlimit64", (0, 7, 4096, 0), "stdio", EPERM),
    ("prlimit64", (5, 7, 4096, 0), "proc", EPERM),
    ("prlimit64", (5, 7, 0, 4096), "app proc", EPERM),
    ("prlimit64", (5, 7, HIGH, 4096), "proc", EPERM),  # a pointer, in all its bits
    ("sched_setaffinity", (0, 8, 4096), "stdio", EPERM),
    ("sched_setaffinity", (5, 8, 4096), "app proc", EPERM),
    ("personality", (0xFFFFFFFF,), "app proc", EPERM),
    ("personality", (0x40000,), "", EPERM),  # ADDR_NO_RANDOMIZE
    ("prctl", (15, 4096), "stdio", EPERM),  # PR_SET_NAME
    ("prctl", (22, 2, 4096), "app unveil", EPERM),  # PR_SET_SECCOMP
    ("prctl", (36, 1), "app proc", EPERM),  # PR_SET_CHILD_SUBREAPER
    ("prctl", (47, 2, 5), "app id", EPERM),  # PR_CAP_AMBIENT
    ("prctl", (0x59616D61, 5), "app debug", EPERM),  # PR_SET_PTRACER
    ("setresuid", (0, 0, 0), "app id", EPERM),
    ("capset", (4096, 4096), "app id", EPERM),
    ("memfd_create", (4096, 1), "app exec", ENOSYS),
    ("memfd_create", (4096, 9), "stdio", ENOSYS),
    # Terminals
    ("ioctl", (0, 0x5401, 4096), "stdio", EPERM),  # isatty()
    ("ioctl", (0, 0x5402, 4096), "app tty device", EPERM),  # TCSETS
    ("ioctl", (0, 0x5412, 4096), "", EPERM),  # TIOCSTI
    ("ioctl", (0, HIGH | 0x5412, 4096), "", EPERM),
    ("ioctl", (0, 0x541C, 4096), "", EPERM),  # TIOCLINUX
    ("ioctl", (0, 0x5423, 4096), "", EPERM),  # TIOCSETD
    ("ioctl", (3, 0x8915, 4096), "app route device", EPERM),  # SIOCGIFADDR
    ("ioctl", (3, 0xC0104601, 4096), "app device", EPERM),
    # The kernel's inside
    ("io_uring_setup", (1, 4096), "", ENOSYS),
    ("io_uring_enter", (3, 1, 1, 0, 0, 0), "", ENOSYS),
    ("io_setup", (1, 4096), "app aio", EPERM),
    ("ptrace", (16, 5, 0, 0), "debug", EPERM),
    ("process_vm_readv", (5, 4096, 1, 4096, 1, 0), "debug", EPERM),
    ("pidfd_getfd", (3, 1, 0), "debug", EPERM),
    ("bpf", (5, 4096, 64), "bpf", EPERM),
    ("perf_event_open", (4096, 0, 0, 0, 0), "perf", EPERM),
    ("userfaultfd", (1,), "", EPERM),
    ("keyctl", (0, 0), "keyring", EPERM),
    ("add_key", (4096, 4096, 4096, 1, 0), "keyring", EPERM),
    ("mount", (4096, 4096, 4096, 0, 0), "mount", EPERM),
    ("chroot", (4096,), "mount", EPERM),
    ("open_by_handle_at", (3, 4096, 0), "", EPERM),
    ("clock_settime", (0, 4096), "settime", EPERM),
    ("mbind", (4096, 4096, 1, 0, 0, 0), "numa", ENOSYS),
    ("shmget", (0, 4096, 0), "app ipc", EPERM),
    ("landlock_create_ruleset", (0, 0, 1), "app unveil", ENOSYS),
    ("syslog", (3, 4096, 1), "", EPERM),
    ("reboot", (0, 0, 0, 0), "", EPERM),
    ("init_module", (4096, 1, 4096), "", EPERM),
    ("finit_module", (3, 4096, 0), "", EPERM),
    ("kexec_load", (0, 0, 0, 0), "", EPERM),
    ("swapon", (4096, 0), "", EPERM),
    ("sethostname", (4096, 1), "", EPERM),
]


@pytest.fixture(scope="module")
def machines() -> dict[tuple[str, frozenset[str]], Machine]:
    return {}


@pytest.mark.parametrize("arch", sorted(AUDIT))
@pytest.mark.parametrize(
    "call, arguments, sufficient, errno", FACTS,
    ids=lambda value: str(value) if isinstance(value, str) and "+" not in value else None)
def test_a_call_passes_under_these_words_only(
    arch: str, call: str, arguments: tuple[int, ...], sufficient: str, errno: int,
    machines: dict[tuple[str, frozenset[str]], Machine],
) -> None:
    enough = [frozenset(words.split("+")) for words in sufficient.split()]
    assert all(words <= EVERY for words in enough)
    tried = {frozenset({word}) for word in EVERY} | set(enough)
    tried |= {words - {word} for words in enough for word in words}  # one short
    for words in tried:
        key = (arch, words)
        if key not in machines:
            machines[key] = Machine(seccomp.compile(arch, sorted(words)))
        found = machines[key].run(AUDIT[arch], CALLS[arch][call], arguments).action
        allowed = any(some <= words | {"stdio"} for some in enough)
        assert found == (ALLOW if allowed else 0x50000 | errno), sorted(words)


OLD = {  # what only x86-64 has, and its arguments; as above
    ("open", (4096, 0)): "app rpath",
    ("open", (4096, 0o102, 0o644)): "app rpath+wpath+cpath",
    ("open", (4096, 0o101, 0o4644)): "",
    ("creat", (4096, 0o644)): "app wpath+cpath",
    ("creat", (4096, 0o4755)): "",
    ("chmod", (4096, 0o4755)): "",
    ("chmod", (4096, 0o755)): "app fattr",
    ("mknod", (4096, 0o020644, 0x103)): "",
    ("fork", ()): "app proc",
    ("vfork", ()): "app proc",
    ("stat", (4096, 4096)): "app rpath wpath",
    ("arch_prctl", (0x1002, 4096)): "stdio",
    ("modify_ldt", (0, 4096, 16)): "",
    ("iopl", (3,)): "",
}


@pytest.mark.parametrize("call, arguments", OLD)
def test_the_older_forms_are_ruled_alike(
    call: str, arguments: tuple[int, ...],
    machines: dict[tuple[str, frozenset[str]], Machine],
) -> None:
    test_a_call_passes_under_these_words_only(
        "x86_64", call, arguments, OLD[call, arguments], EPERM, machines)


def test_every_word_is_told_apart_by_some_fact() -> None:
    """A word without a line above would be a word that nobody has checked."""
    told = {word for _, _, words, _ in FACTS for some in words.split() for word in some.split("+")}
    assert told == EVERY


@pytest.mark.parametrize("arch", sorted(AUDIT))
@pytest.mark.parametrize("word", sorted(EVERY - {"namespace"}))
def test_no_other_word_makes_a_namespace_of_any_kind(arch: str, word: str) -> None:
    machine = Machine(seccomp.compile(arch, [word]))
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        for call, others in (("clone", 17), ("clone", 0x3D0F00), ("unshare", 0x200)):
            number = CALLS[arch][call]
            assert machine.run(AUDIT[arch], number, [flag | others]).action == 0x50000 | EPERM


@pytest.mark.parametrize("arch", sorted(AUDIT))
def test_network_rules_close_what_landlock_leaves_open(arch: str) -> None:
    def run(extra: seccomp.Extra, call: str, *arguments: int) -> int:
        machine = Machine(seccomp.compile(arch, ["app"], extra=extra))
        return machine.run(AUDIT[arch], CALLS[arch][call], arguments).action

    assert run(network.no_listen(), "listen", 3, 1) == 0x50000 | EPERM
    assert run(network.no_listen(), "accept4", 3) == ALLOW
    assert run(network.no_udp(), "socket", 2, 0o2000002, 17) == 0x50000 | EPERM
    assert run(network.no_udp(), "socket", 10, 2, 0) == 0x50000 | EPERM
    assert run(network.no_udp(), "socket", 2, 1, 0) == ALLOW
    assert run(network.no_udp(), "socket", 1, 2, 0) == ALLOW  # a unix socket
    assert run(network.no_internet(), "socket", 2, 1, 0) == 0x50000 | EAFNOSUPPORT
    assert run(network.no_internet(), "socket", HIGH | 10, 2, 0) == 0x50000 | EAFNOSUPPORT
    assert run(network.no_internet(), "socket", 1, 1, 0) == ALLOW
