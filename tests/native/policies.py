"""Whole policies, and what may become of each action of the probe under them.

Law: written by hand from what docs/units.md and docs/sandbox.md say of levels and keys, not from
what compiles them. A box is the keys of a unit file and what they come to in the terms of the
probe's world: `{world}` in them is its directory, `{port}` the port that is listed.

What is refused is answered by whoever sees it first, so `accepted` is the set of their answers;
what nobody refuses ends as it does without a policy, for a user with the same capabilities.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tests.native.actions import ACTIONS

ANY = "look read write make change exec"
PLACES = ("read", "write", "exec", "other", "echo", "loader")
EVERYTHING = dict.fromkeys(PLACES, ANY)
READ_ONLY = {**dict.fromkeys(PLACES, "look read exec"), "write": ANY}
# Of a loader that is not listed no more than its libraries' directory is there, to read.
LISTED = {"read": "look read", "write": "look read write make change", "exec": "look read exec",
          "other": "", "echo": "", "loader": "look read"}
# The same without `exec`.
SHOWN = {**LISTED, "read": "look read exec", "write": ANY, "loader": "look read exec"}
# Modes and their like are not told apart by path.
DENIED = {"read": "look read exec", "write": "look read write make exec", "exec": "look read exec",
          "other": "look", "echo": "look", "loader": "look read exec"}
# What goes round rules about ports.
OTHERS = {
    "mptcp-connect": "EPROTONOSUPPORT", "mptcp-bind": "EPROTONOSUPPORT", "sctp": "EPROTONOSUPPORT",
    "dccp": "EPROTONOSUPPORT", "udp-lite": "EPROTONOSUPPORT", "fast-open": "EOPNOTSUPP",
    "fast-open-message": "EOPNOTSUPP", "raw": "EPERM", "raw6": "EPERM", "packet": "EAFNOSUPPORT",
    "crypto": "EAFNOSUPPORT", "vsock": "EAFNOSUPPORT", "bluetooth": "EAFNOSUPPORT",
    "xdp": "EAFNOSUPPORT", "key": "EAFNOSUPPORT",
}  # fmt: skip
INTERNET = {
    *(name for name, one in ACTIONS.items() if one.tagged("tcp") or one.tagged("udp")),
    "multicast", "tcp-upper-layer", "ping", "sctp", "dccp", "raw", "raw6",
}  # fmt: skip
DATAGRAMS = {"udp-send", "udp-send-other", "udp-bind", "udp-bind-other", "multicast", "ping"}
UNIX = {"unix-connect", "unix-connect-other", "unix-bind", "unix-bind-other", "unix-abstract"}
# Any filter at all: a ring passes none, and other ABIs' numbers mean other calls.
UNFILTERED = {"io-uring": "ENOSYS", "int80": "killed SIGSYS", "x32": "killed SIGSYS"}
ITSELF = {"setuid", "setgid", "signal-stranger"}  # of root these need no right


class Host(NamedTuple):
    """What a kernel has, and how actions end on it without a policy: by user, by action."""

    landlock: int
    programs: bool  # BPF on a cgroup
    kernel: tuple[int, int]
    bare: Mapping[str, Mapping[str, str]]


class Box(NamedTuple):
    """`user` "": the supervisor's. `promises` None: any call. `places`: what may be done where;
    with `deny` the rest is refused, else what has no use is not there and what is there is
    read-only. `capabilities` None: its user's. `domain`: the ABI from which on its keys take
    Landlock; 0: never. `needs`: keys that take an ABI at least, or else programs on a cgroup."""

    keys: str
    user: str = "nobody"
    promises: tuple[str, ...] | None = None
    violation: str = "errno"
    places: Mapping[str, str] = EVERYTHING
    deny: bool = False
    capabilities: tuple[str, ...] | None = ()
    processes: str = "host"
    scoped: bool = False
    domain: int = 0
    jit: bool = True
    users: bool = False  # a user namespace of its own
    devices: bool = True
    connect: str = "any"  # listed, none
    listen: str = "any"
    udp: bool = True
    unix: bool = True
    needs: tuple[tuple[str, int, bool], ...] = ()

    def missing(self, host: Host) -> tuple[str, ...]:
        """Keys that this kernel cannot enforce: with require = "all" the unit does not start."""
        return tuple(
            key for key, abi, programs in self.needs
            if host.landlock < abi and not (programs and host.programs))

    def forks(self) -> bool:
        return self.promises is None or bool({"app", "proc"} & set(self.promises))


def accepted(name: str, box: Box, host: Host) -> frozenset[str]:
    """How an action may end in a box."""
    usual = _usual(name, box, host)
    action = ACTIONS[name]
    if name == "peer-environ" and box.domain and box.user == "root":
        usual.add("EACCES")  # newer kernels look at CAP_PERFMON before they ask Landlock
    if box.violation == "log" and not all(step.promises for step in action.steps):
        # No word would permit it, so there is nothing to learn.
        usual.update({"EPERM", *(step.instead or "ok" for step in action.steps)})
    if any(end.startswith("absent") for end in usual):
        return frozenset(usual)
    refusals = set().union(*(one(name, box, host) for one in (
        _promised, _placed, _executed, _connected, _among_processes, _of_devices)))
    if not refusals:
        return frozenset(usual)
    return frozenset(refusals | (usual - {"ok"}))  # that may come first


def _usual(name: str, box: Box, host: Host) -> set[str]:
    root, nobody = host.bare["root"][name], host.bare["nobody"][name]
    needed = {tag.partition(":")[2] for tag in ACTIONS[name].tags if tag.startswith("cap:")}
    if box.user == "nobody":
        held = box.capabilities is not None and needed <= set(box.capabilities)
        return {root if needed and held else nobody}
    if box.capabilities is None or name in ITSELF:
        return {root}
    if needed:
        return {nobody, "EPERM"}
    return {root, nobody} if ACTIONS[name].tagged("host") else {root}


def _promised(name: str, box: Box, host: Host) -> set[str]:
    if box.promises is not None:
        end = ACTIONS[name].outcome(box.promises, box.violation)
        return set() if end == "ok" or box.violation == "log" else {end}
    filtered = box.deny or not box.unix or box.connect != "any" or box.listen != "any"
    filtered = filtered or _programs_listed(box) or not (box.jit or host.kernel >= (6, 3))
    return {UNFILTERED[name]} if filtered and name in UNFILTERED else set()


def _placed(name: str, box: Box, host: Host) -> set[str]:
    found = set()
    tags = [tag.split(":") for tag in ACTIONS[name].tags if tag.startswith(("path:", "unix:"))]
    for kind, place, *use in tags:
        uses = box.places[place].split()
        if kind == "unix" or use[0] in uses:
            if not uses:
                found.add("ENOENT")
        elif place == "echo":
            found.add("exited 127")
        elif not uses:
            found.add("ENOENT")
        elif use == ["exec"]:
            found.add("EACCES")
        elif box.deny:
            found.add("EPERM" if use == ["change"] else "EACCES")
        else:
            found.add("EROFS")
        if found and len(tags) > 1:
            found.add("EXDEV")
    return found


def _programs_listed(box: Box) -> bool:
    words = set(box.promises or ("exec",))
    return "exec" not in box.places["write"].split() or not words & {"exec", "app"}


def _executed(name: str, box: Box, host: Host) -> set[str]:
    """Programs, where they are listed or `exec` is not promised; memory."""
    found = set()
    programs = ("exec-other", "exec-write", "exec-written", "exec-loader")
    if _programs_listed(box) and host.landlock and name in programs:
        found.add("EACCES")
    if _programs_listed(box) and name in ("exec-memory", "memory-file"):
        found.add("ENOSYS")
    if box.deny and host.landlock < 3 and "truncate" in name:
        found.add("EPERM")  # by the filter, wherever
    if ACTIONS[name].tagged("jit") and not box.jit:
        found.add("EACCES" if host.kernel >= (6, 3) else "EPERM")
    return found


def _connected(name: str, box: Box, host: Host) -> set[str]:
    if not box.unix and name in UNIX:
        return {"EAFNOSUPPORT"}
    if box.connect == box.listen == "any":
        return set()
    if box.connect == box.listen == "none" and name in INTERNET:
        return {"EAFNOSUPPORT"}
    found = {OTHERS[name]} if name in OTHERS else set()
    if host.programs and name in {"ping", "sctp", "dccp", "udp-lite", "raw", "raw6"}:
        found.add("EPERM")
    if not box.udp and name in DATAGRAMS:
        found.add("EPERM")
    if box.listen == "none" and name in ("udp-bind", "udp-bind-other"):
        found |= {"EACCES", "EPERM"}
    if name == "tcp-listen-unbound":  # takes a free port, unless it may listen on none
        return {"EPERM"} if box.listen == "none" else set()
    for verb, allowed in (("connect", box.connect), ("bind", box.listen)):
        refused = {"any": (), "listed": (f"tcp:{verb}:other",)}.get(
            allowed, (f"tcp:{verb}", f"tcp:{verb}:other"))
        if set(refused) & ACTIONS[name].tags and name not in OTHERS:
            found |= {"EACCES", "EPERM"}
    return found


def _among_processes(name: str, box: Box, host: Host) -> set[str]:
    found = set()
    seen = name in ("peer-environ", "peer-cmdline")
    traced = name in ("trace-peer", "read-peer-memory", "pidfd-getfd")
    signals = name in ("signal-peer", "signal-stranger")
    domain = bool(box.domain) and host.landlock >= box.domain
    root = box.user == "root" and box.capabilities is None
    # A peer that may more than it, or is of another user namespace, is as far as a stranger.
    weaker = box.users or (box.user != "nobody" and not root)
    if (domain or weaker) and traced:
        found.add("EPERM")
    if (domain or weaker) and name == "peer-environ" and not root:
        found.add("EACCES")
    if domain and box.processes == "hidden" and seen and not root:
        found.add("ENOENT")  # /proc shows whom it might trace, and root all
    if box.scoped and host.landlock >= 6 and (signals or name == "unix-abstract"):
        found.add("EPERM")
    if box.processes == "own" and seen:
        found.add("ENOENT")
    if box.processes == "own" and (traced or signals or name in ("pidfd-open", "prlimit-peer")):
        found.add("ESRCH")
    return found


def _of_devices(name: str, box: Box, host: Host) -> set[str]:
    hidden = not box.devices and ACTIONS[name].tagged("dev") and name != "dev-null"
    return {"ENOENT"} if hidden else set()
