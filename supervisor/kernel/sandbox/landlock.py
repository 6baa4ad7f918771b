"""What Landlock does for a unit: paths where there is no view of its own, programs, ports, scopes.

What a view hides or mounts read-only (view = "hide") needs no second list here. Landlock limits
files where the view is "deny" (EACCES, no root needed), and in every view the programs that may be
executed, which no mount can tell apart. It never sees modes, owners, times and attributes, and
before ABI 3 no truncation: filters.py refuses these. A domain that limits files can mount nothing
and, before ABI 2, rename nothing from one directory to another (EXDEV: programs copy instead).
"""
from __future__ import annotations

import os

from supervisor.kernel.sandbox import devices, namespaces, paths
from supervisor.kernel.sandbox import ruleset as r
from supervisor.kernel.sandbox.hung import DoesNotAnswer
from supervisor.kernel.sandbox.part import Context, Part
from supervisor.kernel.sandbox.ruleset import Ruleset, since
from supervisor.kernel.sandbox.trace import exists, trace
from supervisor.model.policy import Policy
from supervisor.model.sandbox import Network, PortRule

Rows = tuple[tuple[str, str], ...]


def part(policy: Policy, ctx: Context) -> Part:
    abi = min(ctx.facts.landlock, r.NEWEST)
    limits = [_files(policy, ctx), _ports(policy, ctx), _scopes(policy, ctx), _unix(policy, ctx)]
    rules = Ruleset()
    mechanisms: Rows = ()
    missing: Rows = ()
    for one, does, lacks in limits:
        rules = Ruleset(
            rules.files | one.files,
            rules.network | one.network,
            rules.scopes | one.scopes,
            rules.paths + one.paths,
            rules.ports + one.ports,
        )
        mechanisms, missing = mechanisms + does, missing + lacks
    if rules.files:  # every domain that limits files refuses this, unless it is allowed
        refer = r.REFER & r.files(abi)
        rules = rules._replace(files=rules.files | refer)
        if not rules.files & r.WRITE_FILE:
            rules = rules._replace(paths=(("/", refer), *rules.paths))
    return Part(
        last=r.steps(rules, abi, log=policy.on_violation == "log"),
        mechanisms=mechanisms,
        missing=missing,
    )


_Limit = tuple[Ruleset, Rows, Rows]
_NOTHING: _Limit = (Ruleset(), (), ())


def denies(policy: Policy, ctx: Context) -> bool:
    """Whether paths are refused by Landlock rather than hidden by a view: asked for, or all that
    there is where no view can be made."""
    return policy.view == "deny" or not (namespaces.makes_views(ctx) or policy.root)


def shares_tmp(policy: Policy) -> bool:
    """Whether it writes the host's /tmp where it can have no own one. Never a dynamic user, who
    would leave files there for whoever gets his id."""
    return "sandbox.tmp" in policy.implied and not policy.dynamic_user


def stands_in(policy: Policy, ctx: Context) -> tuple[str, ...]:
    """The keys that it keeps where no view can be made, if the file does not insist on one. All it
    leaves is that paths which are denied are seen to be there."""
    if namespaces.makes_views(ctx) or policy.root or policy.insists or not ctx.facts.landlock:
        return ()
    reads = policy.read is not None or policy.hide_homes
    keys = {
        "sandbox.read": policy.read is not None,
        "sandbox.write": writes_limited(policy),
        "sandbox.level": policy.hide_homes and policy.read is None,
        "sandbox.devices": policy.devices is not None and reads and writes_limited(policy),
    }
    return tuple(key for key, kept in keys.items() if kept)


def writes_limited(policy: Policy) -> bool:
    return policy.write is not None or policy.read_only


def executes_limited(policy: Policy) -> bool:
    """By a list of programs, or by promises without the word."""
    words = policy.promises
    return policy.exec is not None or bool(words and "exec" not in words and "app" not in words)


def _files(policy: Policy, ctx: Context) -> _Limit:
    abi = ctx.facts.landlock
    deny = denies(policy, ctx)
    wanted = {
        "sandbox.read": r.READ if deny and policy.read is not None else 0,
        "sandbox.level": r.READ if deny and policy.hide_homes and policy.read is None else 0,
        "sandbox.write": r.WRITE if deny and writes_limited(policy) else 0,
        "sandbox.exec": r.EXECUTE if executes_limited(policy) else 0,
    }
    keys = [key for key, rights in wanted.items() if rights]
    if not abi or not keys:
        own = keys if policy.view == "deny" else [key for key in keys if key == "sandbox.exec"]
        return Ruleset(), (), tuple((key, _none(abi, 1)) for key in own)  # others are the view's
    handled = 0
    for limited in wanted.values():
        handled |= limited & r.files(abi)
    rights = _executed(policy, ctx) + (_denied(policy, ctx) if deny else [])
    paths = tuple((trace(path, policy.root).real, right) for path, right in rights)
    if "sandbox.devices" in stands_in(policy, ctx):
        keys.append("sandbox.devices")
    return Ruleset(handled, paths=paths), tuple((key, _words(key, abi)) for key in keys), ()


_Rights = list[tuple[str, int]]


def _executed(policy: Policy, ctx: Context) -> _Rights:
    """Programs that are listed, and always what execve opens of its own: it has to start. Of @self
    no more than that: the directories of its libraries may hold other programs, and are read."""
    listed = policy.exec or ()
    own = frozenset(paths.own_program(ctx.program, policy.root) if "@self" in listed else ())
    others = [path for path in paths.executed(policy, ctx) if path not in own or path in listed]
    itself = [path for path, _ in paths.interpreters(ctx.program, policy.root)]
    return [(path, r.READ | r.EXECUTE) for path in (*others, *itself)]


def _denied(policy: Policy, ctx: Context) -> _Rights:
    """What may be read and written where the view is everybody's."""
    reads, writes, runs = paths.listed(policy, ctx)
    if policy.read is None and policy.hide_homes:
        reads = (*reads, *_but_homes(policy.root))
    own = paths.own_program(ctx.program, policy.root) if policy.read is not None else (ctx.program,)
    reads = (*reads, *runs, *own, "/proc", *ctx.reaches)
    if ctx.directory not in ("", "/"):
        reads = (*reads, ctx.directory)
    if policy.private_tmp and (namespaces.makes_views(ctx) or shares_tmp(policy)):
        writes = (*writes, *paths.TEMPORARY)
    if "sandbox.devices" in stands_in(policy, ctx):
        reads = tuple(path for path in reads if path != "/dev")
    rights = [(path, r.READ) for path in reads]
    rights += [(path, r.READ | r.WRITE) for path in writes]
    rights += [(path, r.READ | r.WRITE_FILE | r.IOCTL_DEV) for path in _devices(policy, ctx)]
    return [(path, right) for path, right in rights if exists(path, policy.root)]


def _devices(policy: Policy, ctx: Context) -> tuple[str, ...]:
    """All of /dev, where that has no other devices than the unit may use."""
    if policy.devices is None or namespaces.makes_views(ctx):
        return ("/dev",)
    return (*devices.ALWAYS, "/dev/pts", *devices.listed(policy))


def _but_homes(root: str) -> tuple[str, ...]:
    """All directories but /home, /root and /run/user. What is made in / later is not among them."""
    found = [f"/{name}" for name in os.listdir(f"{root}/") if name not in ("home", "root", "run")]
    found += [f"/run/{name}" for name in os.listdir(f"{root}/run") if name != "user"]
    return tuple(path for path in sorted(found) if _is_itself(path, root))


def _is_itself(path: str, root: str) -> bool:
    """Whether no link leads there. What hangs, and the unit does not name, is closed to it."""
    try:
        return exists(path, root) and trace(path, root).real == path
    except DoesNotAnswer:
        return False


def _words(key: str, abi: int) -> str:
    if key == "sandbox.exec":
        return "Landlock (EXECUTE); a loader that it may execute loads what it may read"
    if key == "sandbox.level":
        return "Landlock: /home, /root and /run/user cannot be read, and / itself not be listed"
    if key == "sandbox.devices":
        return "Landlock: the nodes of others cannot be opened"
    if key == "sandbox.write":
        words = "Landlock; modes, owners, times and attributes by a system call filter"
        return words + ("; so is truncate(2)" if abi < 3 else "")
    return "Landlock; that a file is there, and its attributes, are still seen"


def _none(abi: int, needed: int) -> str:
    if not abi:
        return f"needs {since(needed)}, in a kernel that has it switched on (lsm=...,landlock)"
    return f"needs {since(needed)}; this kernel has {abi}"


def _ports(policy: Policy, ctx: Context) -> _Limit:
    """TCP, and UDP where Landlock has it. Programs on the cgroup do the same where there are any
    (addresses.py); then this is the second lock, which holds in groups of v1 too."""
    net, abi = policy.network, ctx.facts.landlock
    if net.mode == "none":
        return _NOTHING
    rules = (
        ("network.listen", net.listen, r.BIND_TCP, r.BIND_UDP, "bind"),
        ("network.connect", net.connect, r.CONNECT_TCP, r.CONNECT_UDP, "connect"),
    )
    known, handled = r.network(abi), 0
    programs = ctx.group and ctx.facts.cgroup_bpf
    ports: list[tuple[int, int]] = []
    does: list[tuple[str, str]] = []
    lacks: list[tuple[str, str]] = []
    for key, listed, tcp, udp, verb in rules:
        if listed is None:
            continue
        closed = listed == () and (key == "network.listen" or net.listen == ())  # by the filter
        if not (known & tcp or programs or closed):
            lacks.append((key, _none(abi, 4) + ", or programs on a cgroup of v2"))
        mine = [(one.port, right) for one, right in _rights(listed, tcp, udp)]
        free = sum({right for port, right in mine if not port})  # any port of that protocol
        now = (tcp | udp) & known & ~free
        handled |= now
        ports += [(port, right) for port, right in mine if right & now]
        if key == "network.listen" and not (known & udp or programs or no_udp(net)):
            why = f"of UDP ports it {_none(abi, 10)}, or programs on a cgroup of v2, or a `connect`"
            lacks.append((key, f"{why} without udp"))
        if now:
            does.append((key, f"Landlock: {verb} by TCP{' and UDP' if now & udp else ''} port"))
    if handled & r.BIND_UDP and not no_udp(net):
        ports.append((0, r.BIND_UDP))  # what a client gets when it sends
    return Ruleset(network=handled, ports=tuple(ports)), tuple(does), tuple(lacks)


def no_udp(net: Network) -> bool:
    """Whether it may neither send UDP nor wait for it: then it makes no such socket."""
    rules = (*(net.listen or ()), *(net.connect or ()))
    return net.connect is not None and all(one.protocol != "udp" for one in rules)


def _rights(listed: tuple[PortRule, ...], tcp: int, udp: int) -> list[tuple[PortRule, int]]:
    return [(one, udp if one.protocol == "udp" else tcp) for one in listed]


def _scopes(policy: Policy, ctx: Context) -> _Limit:
    """An addition of the level, not a key: it is not missed on a kernel without."""
    if not policy.scoped:
        return _NOTHING
    abi = ctx.facts.landlock
    scopes = r.scopes(abi)
    words = "Landlock: no signals and no abstract sockets to processes outside"
    if not scopes:
        words = f"signals and abstract sockets to processes outside: {_none(abi, 6)}"
    # Whoever is in any domain neither traces nor reads and writes /proc/PID/mem of those outside,
    # who may well have his user. What such a one limits of files it allows everywhere.
    files = r.files(abi) & r.REFER if not scopes else 0
    return Ruleset(files, scopes=scopes), (("sandbox.level", words),), ()


def _unix(policy: Policy, ctx: Context) -> _Limit:
    """Unix sockets by path."""
    listed, abi = policy.network.unix, ctx.facts.landlock
    if listed is None:
        return _NOTHING
    key = "network.unix"
    if r.files(abi) & r.RESOLVE_UNIX:
        sockets = [trace(path, policy.root).real for path in (*listed, *ctx.listens)]
        rules = Ruleset(r.RESOLVE_UNIX, paths=tuple((path, r.RESOLVE_UNIX) for path in sockets))
        return rules, ((key, "Landlock: connects to these paths only"),), ()
    if makes_no_unix(policy, ctx):
        return Ruleset(), ((key, "no unix sockets at all, by the system call filter"),), ()
    if policy.read is not None and not denies(policy, ctx):
        return Ruleset(), ((key, "the view: only sockets in paths that are listed are there"),), ()
    why = f'{_none(abi, 9)}; or list what it reads, with view = "hide"'
    return Ruleset(), (), ((key, why),)


def makes_no_unix(policy: Policy, ctx: Context) -> bool:
    """Whether it may reach no unix socket, and nobody expects it to reach or make one."""
    return policy.network.unix == () and not ctx.listens and "unix" not in policy.promises
