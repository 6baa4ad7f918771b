"""Namespaces but those of files: processes, users, ipc, host name, time, cgroup, and no network.

A pid and a user namespace want a holder, and a time namespace is its children's only: `birth` makes
these, and the process that is born in them goes on with the rest. A supervisor that may make no
namespaces by itself (rootless) makes a user namespace first, in which it may make all the others.
"""
from __future__ import annotations

import os
from time import clock_gettime_ns

from supervisor.kernel.calls import Out, call, fork, hold
from supervisor.kernel.host import read
from supervisor.kernel.plan import Identity, Step
from supervisor.kernel.sandbox import dynamic, usermap
from supervisor.kernel.sandbox.part import Context, Part
from supervisor.model.policy import Policy

NEWTIME, NEWNS, NEWCGROUP, NEWUTS = 0x80, 0x00020000, 0x02000000, 0x04000000
NEWIPC, NEWUSER, NEWPID, NEWNET = 0x08000000, 0x10000000, 0x20000000, 0x40000000
_NAMES = {
    NEWTIME: "time", NEWNS: "mount", NEWCGROUP: "cgroup", NEWUTS: "host name", NEWIPC: "ipc",
    NEWUSER: "user", NEWPID: "pid", NEWNET: "network",
}  # fmt: skip
_FILES = {
    NEWTIME: "time", NEWNS: "mnt", NEWCGROUP: "cgroup", NEWUTS: "uts", NEWIPC: "ipc",
    NEWUSER: "user", NEWPID: "pid", NEWNET: "net",
}  # fmt: skip
_CLOCKS = {"monotonic": 1, "boottime": 7}
_PR_SET_DUMPABLE = 4
_SECOND = 1_000_000_000
_AF_INET, _DATAGRAM_CLOEXEC, _SIOCSIFFLAGS, _IFF_UP = 2, 0o2000002, 0x8914, 1
_LOOPBACK = b"lo".ljust(16, b"\0") + _IFF_UP.to_bytes(2, "little") + bytes(22)  # struct ifreq


NEEDS = (
    "takes CAP_SYS_ADMIN or user namespaces, and this host lets the supervisor use neither (see "
    "user.max_user_namespaces, kernel.unprivileged_userns_clone and "
    "kernel.apparmor_restrict_unprivileged_userns of sysctl; in a container, its profile)"
)


def names(flags: int) -> str:
    """Of namespaces, of these CLONE_NEW... flags."""
    return ", ".join(name for flag, name in _NAMES.items() if flags & flag)


def different(pid: int) -> int:
    """Which namespaces of a process (CLONE_NEW... flags) are not the supervisor's. Raises OSError
    if it is gone."""
    known = os.listdir("/proc/self/ns")  # not every kernel has all
    return sum(
        flag
        for flag, name in _FILES.items()
        if name in known
        and os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}")
    )


def join(pid: int, flags: int) -> tuple[Step, ...]:
    """Enter these namespaces of a process, as a process of their own."""
    if not flags:
        return ()

    def enter(some: int) -> tuple[Step, ...]:
        words = "its namespaces: " + names(some)
        return (call("setns", Out("main"), some, words=words),) if some else ()

    return (
        call("pidfd_open", pid, 0, result="main", words="its main process"),
        # Whoever is root in there could trace it, and it has the keeper's memory until it executes.
        call("prctl", _PR_SET_DUMPABLE, 0, words="be traced by nobody"),
        *enter(flags & ~NEWTIME),
        fork(),  # a pid namespace is its children's; and who shares a memory may join no time
        *enter(flags & NEWTIME),
        call("close", Out("main"), words="done with it"),
    )


def privileged(ctx: Context) -> bool:
    """Whether the supervisor may make namespaces without a user namespace around them."""
    return ctx.facts.root or bool(ctx.facts.capabilities >> usermap.CAP_SYS_ADMIN & 1)


def makes_views(ctx: Context) -> bool:
    """Whether a unit can have mounts of its own."""
    return ctx.facts.views and (privileged(ctx) or ctx.facts.user_namespaces)


def part(policy: Policy, ctx: Context) -> Part:
    """Raises CannotConfine for a map of users that cannot be."""
    rows = _wanted(policy)
    if not rows:
        return Part()
    if not (privileged(ctx) or ctx.facts.user_namespaces):
        return Part(missing=tuple((key, NEEDS) for key, _, _ in rows))
    missing = []
    if policy.users is not None and not ctx.facts.user_namespaces:
        why = "needs user namespaces, which this host refuses (see user.max_user_namespaces)"
        missing.append(("sandbox.users", why))
    if policy.time and not ctx.facts.time_namespaces:
        missing.append(("sandbox.time", "needs Linux 5.6 with CONFIG_TIME_NS"))
    lacking = {key for key, _ in missing}
    rows = [row for row in rows if row[0] not in lacking]
    flags = 0
    for _, flag, _ in rows:
        flags |= flag
    implied = bool(rows) and not privileged(ctx)
    if implied or flags & NEWUSER:
        usermap.maps(policy, ctx)  # or it raises
    return Part(
        setup=_entered(policy, flags & ~(NEWPID | NEWUSER | NEWTIME)),
        mechanisms=tuple(
            (key, words + (", in a user namespace" if implied else "")) for key, _, words in rows
        ),
        missing=tuple(missing),
        holds=flags & (NEWPID | NEWUSER) | (NEWUSER if implied else 0),
        joins=flags & NEWTIME,
        own_memory=bool(flags & NEWTIME),
    )


def prepare(policy: Policy, ctx: Context) -> None:
    """The ids of users = "auto". Raises CannotConfine."""
    if policy.users is not None and not policy.users.map and usermap.may_map(ctx):
        usermap.ranges(policy, ctx)  # or it says why there are none
        dynamic.blocks(ctx.runtime).take(ctx.unit)


def birth(holds: int, joins: int, own_memory: bool, policy: Policy, ctx: Context) -> list[Step]:
    """The steps for what all parts together want of a birth, see Part; none if that is nothing."""
    steps: list[Step] = []
    if holds:
        maps = usermap.maps(policy, ctx) if holds & NEWUSER else ("", "", "")
        steps.append(hold(holds, *maps))
    if joins:
        steps.append(call("unshare", joins, words="new namespaces: " + names(joins)))
    if joins & NEWTIME:
        steps.append(Step("WRITE", ("/proc/self/timens_offsets", _offsets())))
    if holds or joins or own_memory:
        steps.append(fork())
    return steps


def inside(policy: Policy, ctx: Context, identity: Identity) -> Identity:
    """Who the service becomes, as its user namespace numbers ids: root there, if nobody is named.
    Raises CannotConfine for one that is not in the map."""
    if policy.users is None or not usermap.may_map(ctx):
        return identity  # of no namespace, or of one with the one own id in it
    if identity.uid is None:
        identity = Identity("root", 0, 0, (), "/", identity.shell)
    usermap.outside(policy, ctx, identity)
    return identity


def _wanted(policy: Policy) -> list[tuple[str, int, str]]:
    """Key, CLONE_NEW... flag, and what it gives."""
    rows = []
    if policy.users is not None:
        rows.append(("sandbox.users", NEWUSER, "a user namespace; its root is nobody outside"))
    if policy.processes == "own":
        words = "a pid namespace: it sees and signals its own only; processes outside see it"
        rows.append(("sandbox.processes", NEWPID, words))
    if policy.ipc:
        words = "an ipc namespace: System V IPC and POSIX message queues; not unix sockets"
        rows.append(("sandbox.ipc", NEWIPC, words))
    if policy.hostname:
        rows.append(("sandbox.hostname", NEWUTS, f"a uts namespace, named {policy.hostname}"))
    if policy.cgroup:
        rows.append(("sandbox.cgroup", NEWCGROUP, "a cgroup namespace: its group is / to it"))
    if policy.time:
        words = "a time namespace: monotonic and boot time begin at 0; the date is the host's"
        rows.append(("sandbox.time", NEWTIME, words))
    if policy.network.mode == "none":
        words = "a network namespace with nothing but its own lo; unix sockets by path are reached"
        rows.append(("network.mode", NEWNET, words))
    return rows


def _entered(policy: Policy, flags: int) -> tuple[Step, ...]:
    """Steps of the process itself, once it is born."""
    if not flags:
        return ()
    steps = [call("unshare", flags, words="new namespaces: " + names(flags))]
    if flags & NEWUTS:
        name = policy.hostname.encode()
        steps.append(call("sethostname", name, len(name), words=f"host name {policy.hostname}"))
    if flags & NEWNET:
        steps += (
            call("socket", _AF_INET, _DATAGRAM_CLOEXEC, 0, result="loopback", words="for lo"),
            call("ioctl", Out("loopback"), _SIOCSIFFLAGS, _LOOPBACK, words="lo up"),
            call("close", Out("loopback"), words="done with lo"),
        )
    return tuple(steps)


def _offsets() -> str:
    """So that its clocks begin at 0 now. Offsets are from the host's clocks, and ours may have some
    already."""
    own = dict(line.split(None, 1) for line in read("/proc/self/timens_offsets").splitlines())
    lines = []
    for name, clock in _CLOCKS.items():
        seconds, nanoseconds = map(int, own.get(name, "0 0").split())
        offset = seconds * _SECOND + nanoseconds - clock_gettime_ns(clock)
        lines.append(f"{name} {offset // _SECOND} {offset % _SECOND}\n")
    return "".join(lines)
