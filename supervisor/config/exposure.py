"""What `unboxed audit` looks at: the checks of `systemd-analyze security`.

The checks, their weights and their ranges are systemd's (analyze-security.c, v252 and later); what
counts as kept is what this supervisor enforces for the unit, by whatever mechanism.

Law: never kind: what is only enforced in part counts as not enforced.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from supervisor.model.policy import Policy, plain, resolve
from supervisor.model.unit import Unit


class Seen(NamedTuple):
    """What the checks look at. `capabilities` None: all. `words`: the promises, if any."""

    unit: Unit
    policy: Policy
    root: bool  # it runs as root
    capabilities: frozenset[str] | None  # without CAP_
    words: frozenset[str]
    filtered: bool  # system calls are
    mounts: bool  # it has a mount namespace of its own


def look(unit: Unit, *, root: bool) -> Seen:
    """`root`: of a supervisor that runs as root."""
    policy = resolve(unit)
    becomes = policy.dynamic_user or policy.users is not None or unit.user not in ("", "root", "0")
    listed = policy.capabilities
    if listed is None and policy.no_new_privileges and not root:
        listed = ()  # it has none, and can get none
    kept = None if listed is None else frozenset(name.removeprefix("CAP_") for name in listed)
    mounts = bool(
        policy.read_only or policy.hide_homes or policy.private_tmp or policy.root or policy.secrets
        or policy.devices is not None or policy.processes != "host"
        or (policy.read is not None and policy.view == "hide")
    )  # fmt: skip
    return Seen(
        unit, policy, root and not becomes, kept, frozenset(policy.promises),
        bool(policy.promises), mounts,
    )  # fmt: skip


_Test = Callable[[Seen], int | None]
# Promises under which a system call of systemd's group is allowed.
PROMISED = {
    "swap": frozenset[str](),
    "obsolete": frozenset[str](),
    "clock": frozenset({"settime"}),
    "cpu-emulation": frozenset[str](),
    "debug": frozenset({"debug", "perf"}),
    "mount": frozenset({"mount"}),
    "module": frozenset[str](),
    "raw-io": frozenset[str](),
    "reboot": frozenset[str](),
    "privileged": frozenset({"app", "chown", "id", "settime", "bpf", "mount"}),
    "resources": frozenset({"stdio"}),  # which every filter has
}
_IMPLIED = frozenset({"stdio"})


def _unless(test: Callable[[Seen], bool]) -> _Test:
    """0 if it holds, else 1."""
    return lambda seen: int(not test(seen))


def _without(*names: str) -> _Test:
    return lambda seen: int(seen.capabilities is None or not seen.capabilities.isdisjoint(names))


def _lacks(seen: Seen, *names: str) -> bool:
    return not _without(*names)(seen)


def _filters(*words: str) -> _Test:
    """Filtered, and by none of these promises allowed."""
    return lambda seen: int(not seen.filtered or not seen.words.isdisjoint(words))


def _group(name: str) -> _Test:
    def test(seen: Seen) -> int:
        if not seen.filtered:
            return 10
        return 0 if PROMISED[name].isdisjoint(seen.words | _IMPLIED) else 9

    return test


def _user(seen: Seen) -> int:
    if seen.root:
        return 10
    return 9 if seen.unit.user == "nobody" else 0


def _groups(seen: Seen) -> int | None:
    return None if seen.root else int(bool(seen.unit.groups))


def _remove_ipc(seen: Seen) -> int | None:
    return None if seen.root else int(not seen.policy.ipc)


def _umask(seen: Seen) -> int:
    for bit, badness in ((0o002, 10), (0o004, 5), (0o020, 2), (0o040, 1)):
        if not seen.unit.umask & bit:
            return badness
    return 0


def _home(seen: Seen) -> int:
    return 0 if seen.policy.hide_homes else 5 if seen.policy.read_only else 10


def _no_devices(seen: Seen) -> bool:
    return seen.policy.devices == () and not seen.policy.gpus


def _devices(seen: Seen) -> int:
    return 10 if seen.policy.devices is None else 0 if _no_devices(seen) else 5


def _addresses(seen: Seen) -> int:
    network = seen.policy.network
    if network.mode == "none":
        return 0
    if network.listen is None or network.connect is None:
        return 10
    where = {rule.network for rule in (*network.listen, *network.connect)}
    if "" in where:
        return 10
    local = all(one.startswith(("127.", "::1")) for one in where)
    return 0 if not where else 2 if local else 5


def _own_keyring(seen: Seen) -> bool:
    return not plain(seen.unit) and seen.policy.no_new_privileges


def _realtime(seen: Seen) -> bool:
    limits = seen.unit.limits
    raised = limits is not None and any(name == "rtprio" for name, *_ in limits.rlimits)
    return _lacks(seen, "SYS_NICE") and not raised


def _clock(seen: Seen) -> bool:
    return _lacks(seen, "SYS_TIME", "WAKE_ALARM") and not _filters("settime")(seen) and (
        seen.policy.devices is not None)


# Name, weight, range, and the badness of a unit within that range, 0 is good (None: it does not
# apply).
CHECKS: tuple[tuple[str, int, int, _Test], ...] = (
    ("User=/DynamicUser=", 2000, 10, _user),
    ("SupplementaryGroups=", 200, 1, _groups),
    ("PrivateDevices=", 1000, 1, _unless(_no_devices)),
    ("PrivateMounts=", 1000, 1, _unless(lambda seen: seen.mounts)),
    ("PrivateNetwork=", 2500, 1, _unless(lambda seen: seen.policy.network.mode == "none")),
    ("PrivateTmp=", 1000, 1, _unless(lambda seen: seen.policy.private_tmp)),
    ("PrivateUsers=", 1000, 1, _unless(lambda seen: seen.policy.users is not None)),
    ("ProtectControlGroups=", 1000, 1, _unless(lambda seen: seen.policy.read_only)),
    ("ProtectKernelModules=", 1000, 1,
     _unless(lambda seen: seen.filtered and _lacks(seen, "SYS_MODULE"))),
    ("ProtectKernelTunables=", 1000, 1,
     _unless(lambda seen: seen.policy.read_only and not seen.root)),
    ("ProtectKernelLogs=", 1000, 1,
     _unless(lambda seen: seen.filtered and _lacks(seen, "SYSLOG")
             and seen.policy.devices is not None)),
    ("ProtectClock=", 1000, 1, _unless(_clock)),
    ("ProtectHome=", 1000, 10, _home),
    ("ProtectHostname=", 50, 1,
     _unless(lambda seen: seen.filtered and _lacks(seen, "SYS_ADMIN"))),
    ("ProtectSystem=", 1000, 10, lambda seen: 0 if seen.policy.read_only else 10),
    ("RootDirectory=/RootImage=", 200, 1, _unless(lambda seen: seen.policy.root not in ("", "/"))),
    ("LockPersonality=", 100, 1, _filters()),
    ("MemoryDenyWriteExecute=", 100, 1, _unless(lambda seen: not seen.policy.jit)),
    ("NoNewPrivileges=", 1000, 1, _unless(lambda seen: seen.policy.no_new_privileges)),
    ("CapabilityBoundingSet=~CAP_SYS_ADMIN", 1500, 1, _without("SYS_ADMIN")),
    ("CapabilityBoundingSet=~CAP_SET(UID|GID|PCAP)", 1500, 1,
     _without("SETUID", "SETGID", "SETPCAP")),
    ("CapabilityBoundingSet=~CAP_SYS_PTRACE", 1500, 1, _without("SYS_PTRACE")),
    ("CapabilityBoundingSet=~CAP_SYS_TIME", 1000, 1, _without("SYS_TIME")),
    ("CapabilityBoundingSet=~CAP_NET_ADMIN", 1000, 1, _without("NET_ADMIN")),
    ("CapabilityBoundingSet=~CAP_SYS_RAWIO", 1000, 1, _without("SYS_RAWIO")),
    ("CapabilityBoundingSet=~CAP_SYS_MODULE", 1000, 1, _without("SYS_MODULE")),
    ("CapabilityBoundingSet=~CAP_AUDIT_*", 500, 1,
     _without("AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE")),
    ("CapabilityBoundingSet=~CAP_SYSLOG", 500, 1, _without("SYSLOG")),
    ("CapabilityBoundingSet=~CAP_SYS_(NICE|RESOURCE)", 500, 1,
     _without("SYS_NICE", "SYS_RESOURCE")),
    ("CapabilityBoundingSet=~CAP_MKNOD", 500, 1, _without("MKNOD")),
    ("CapabilityBoundingSet=~CAP_(CHOWN|FSETID|SETFCAP)", 1000, 1,
     _without("CHOWN", "FSETID", "SETFCAP")),
    ("CapabilityBoundingSet=~CAP_(DAC_*|FOWNER|IPC_OWNER)", 1000, 1,
     _without("DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "IPC_OWNER")),
    ("CapabilityBoundingSet=~CAP_KILL", 500, 1, _without("KILL")),
    ("CapabilityBoundingSet=~CAP_NET_(BIND_SERVICE|BROADCAST|RAW)", 500, 1,
     _without("NET_BIND_SERVICE", "NET_BROADCAST", "NET_RAW")),
    ("CapabilityBoundingSet=~CAP_SYS_BOOT", 100, 1, _without("SYS_BOOT")),
    ("CapabilityBoundingSet=~CAP_MAC_*", 100, 1, _without("MAC_ADMIN", "MAC_OVERRIDE")),
    ("CapabilityBoundingSet=~CAP_LINUX_IMMUTABLE", 75, 1, _without("LINUX_IMMUTABLE")),
    ("CapabilityBoundingSet=~CAP_IPC_LOCK", 50, 1, _without("IPC_LOCK")),
    ("CapabilityBoundingSet=~CAP_SYS_CHROOT", 50, 1, _without("SYS_CHROOT")),
    ("CapabilityBoundingSet=~CAP_BLOCK_SUSPEND", 25, 1, _without("BLOCK_SUSPEND")),
    ("CapabilityBoundingSet=~CAP_WAKE_ALARM", 25, 1, _without("WAKE_ALARM")),
    ("CapabilityBoundingSet=~CAP_LEASE", 25, 1, _without("LEASE")),
    ("CapabilityBoundingSet=~CAP_SYS_TTY_CONFIG", 25, 1, _without("SYS_TTY_CONFIG")),
    ("CapabilityBoundingSet=~CAP_SYS_PACCT", 25, 1, _without("SYS_PACCT")),
    ("CapabilityBoundingSet=~CAP_BPF", 25, 1, _without("BPF", "SYS_ADMIN")),
    ("UMask=", 100, 10, _umask),
    ("KeyringMode=", 1000, 1, _unless(_own_keyring)),
    ("ProtectProc=", 1000, 3, lambda seen: 3 if seen.policy.processes == "host" else 0),
    ("ProcSubset=", 10, 1, lambda _seen: 1),
    ("NotifyAccess=", 1000, 1, _unless(lambda seen: seen.unit.start.ready.kind != "notify")),
    ("RemoveIPC=", 100, 1, _remove_ipc),
    ("Delegate=", 100, 1, lambda _seen: 0),
    ("RestrictRealtime=", 500, 1, _unless(_realtime)),
    ("RestrictSUIDSGID=", 1000, 1, _filters()),
    ("RestrictNamespaces=~user", 1500, 1, _filters("namespace")),
    ("RestrictNamespaces=~mnt", 500, 1, _filters("namespace")),
    ("RestrictNamespaces=~ipc", 500, 1, _filters("namespace")),
    ("RestrictNamespaces=~pid", 500, 1, _filters("namespace")),
    ("RestrictNamespaces=~cgroup", 500, 1, _filters("namespace")),
    ("RestrictNamespaces=~net", 500, 1, _filters("namespace")),
    ("RestrictNamespaces=~uts", 100, 1, _filters("namespace")),
    ("RestrictAddressFamilies=~AF_(INET|INET6)", 1500, 1,
     _filters("app", "inet", "dns", "mcast")),
    ("RestrictAddressFamilies=~AF_UNIX", 25, 1, _filters("app", "unix", "dns")),
    ("RestrictAddressFamilies=~AF_NETLINK", 200, 1, _filters("dns", "route")),
    ("RestrictAddressFamilies=~AF_PACKET", 1000, 1, _filters()),
    ("RestrictAddressFamilies=~…", 1250, 1, _filters()),
    ("SystemCallArchitectures=", 1000, 10, lambda seen: 0 if seen.filtered else 10),
    ("SystemCallFilter=~@swap", 1000, 10, _group("swap")),
    ("SystemCallFilter=~@obsolete", 250, 10, _group("obsolete")),
    ("SystemCallFilter=~@clock", 1000, 10, _group("clock")),
    ("SystemCallFilter=~@cpu-emulation", 250, 10, _group("cpu-emulation")),
    ("SystemCallFilter=~@debug", 1000, 10, _group("debug")),
    ("SystemCallFilter=~@mount", 1000, 10, _group("mount")),
    ("SystemCallFilter=~@module", 1000, 10, _group("module")),
    ("SystemCallFilter=~@raw-io", 1000, 10, _group("raw-io")),
    ("SystemCallFilter=~@reboot", 1000, 10, _group("reboot")),
    ("SystemCallFilter=~@privileged", 700, 10, _group("privileged")),
    ("SystemCallFilter=~@resources", 700, 10, _group("resources")),
    ("IPAddressDeny=", 1000, 10, _addresses),
    ("DeviceAllow=", 1000, 10, _devices),
    ("AmbientCapabilities=", 500, 1,
     _unless(lambda seen: seen.root or not seen.policy.capabilities)),
)
