"""Which device nodes a unit may open: by its cgroup, whatever nodes it can see or make.

Cgroup v2: a program attached to the unit's group before the launch goes on (ebpf.py). Cgroup v1:
the devices controller, in a group of the unit's own. With neither, what it can name is all that is
limited: a private /dev holds only these nodes, and without CAP_MKNOD nobody makes another.
"""
from __future__ import annotations

import os
import stat
from binascii import crc32
from functools import cache
from typing import NamedTuple

from supervisor.kernel.controllers import Controllers, write
from supervisor.kernel.host import read
from supervisor.kernel.limit_groups import group_of, make
from supervisor.kernel.limit_groups import remove as remove_group
from supervisor.kernel.plan import Step
from supervisor.kernel.sandbox import gpus
from supervisor.kernel.sandbox.ebpf import CGROUP_DEVICE, Field, Program, Rule, assemble, attach
from supervisor.kernel.sandbox.namespaces import makes_views
from supervisor.kernel.sandbox.part import CannotConfine, Context, Part
from supervisor.model.policy import Policy

_ATTACH_DEVICE = 6  # BPF_CGROUP_DEVICE
_KINDS = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_DEV_CHAR
_CAP_MKNOD = 27
_TYPE, _MAJOR, _MINOR = 0, 4, 8  # struct bpf_cgroup_dev_ctx
_MOST_NODES = 256  # below one listed directory


class Node(NamedTuple):
    """`kind` "c" or "b"; `minor` None: all of that major number."""

    kind: str
    major: int
    minor: int | None


ALWAYS = {
    "/dev/null": Node("c", 1, 3), "/dev/zero": Node("c", 1, 5), "/dev/full": Node("c", 1, 7),
    "/dev/random": Node("c", 1, 8), "/dev/urandom": Node("c", 1, 9), "/dev/tty": Node("c", 5, 0),
    "/dev/ptmx": Node("c", 5, 2),
}  # fmt: skip
_TERMINALS = tuple(Node("c", major, None) for major in range(136, 144))  # what ptmx makes


def listed(policy: Policy) -> tuple[str, ...]:
    """Paths of the nodes beyond ALWAYS that the policy names. Raises CannotConfine for one that is
    not there. For those who fill a private /dev."""
    found: list[str] = []
    for path in policy.devices or ():
        found += _below(path)
    return tuple(dict.fromkeys((*found, *_cards(policy)[0])))


def _cards(policy: Policy) -> tuple[list[str], str]:
    """Nodes of its graphics cards, and why not of all. Raises CannotConfine for one that is not
    there, if that refuses the unit."""
    found: list[str] = []
    why = ""
    for name in policy.gpus:
        try:
            found += gpus.nodes((name,))
        except CannotConfine as exc:
            if policy.require == "all":
                raise
            why = why or str(exc).partition(": ")[2]
    return found, why


def part(policy: Policy, ctx: Context) -> Part:
    """Nothing if all devices are open to the unit. Raises CannotConfine for a bad path."""
    found, why = _part(policy, ctx), _cards(policy)[1]
    return found._replace(missing=(*found.missing, ("sandbox.gpus", why))) if why else found


def _part(policy: Policy, ctx: Context) -> Part:
    if policy.devices is None:
        return Part()
    wanted = _nodes(policy)
    what = "null zero full random urandom tty ptmx"
    if len(wanted) > len(ALWAYS) + len(_TERMINALS):
        what += " and those listed"
    if ctx.group and ctx.facts.cgroup_bpf:
        program = Program(CGROUP_DEVICE, _ATTACH_DEVICE, program_of(wanted))
        steps = attach(program, ctx.group, "devices", f"only devices {what}")
        words = f"only {what}: a BPF program on {ctx.group}, for the whole group"
        return Part(first=steps, mechanisms=(("sandbox.devices", words),))
    if group := _group(ctx):
        words = f"only {what}: devices.allow of {group} (cgroup v1)"
        return Part(first=joins(policy, ctx), mechanisms=(("sandbox.devices", words),))
    words = f"only {what}: no other node in its /dev; no cgroup refuses one that it is handed"
    if _may_make_nodes(policy, ctx):
        why = (
            "it keeps CAP_MKNOD and could make any node; needs cgroup v2 with BPF, the v1 devices "
            "controller, or a capability list without MKNOD"
        )
        return Part(missing=(("sandbox.devices", why),))
    return Part(mechanisms=(("sandbox.devices", words),) if makes_views(ctx) else ())


def joins(policy: Policy, ctx: Context) -> tuple[Step, ...]:
    """What each of its processes that is not born of another one does: it enters the v1 group."""
    group = "" if policy.devices is None or (ctx.group and ctx.facts.cgroup_bpf) else _group(ctx)
    return (Step("WRITE", (f"{group}/cgroup.procs", "0")),) if group else ()


def prepare(policy: Policy, ctx: Context) -> None:
    """The v1 group, with its list. Raises CannotConfine."""
    path = _group(ctx)
    if policy.devices is None or not path or (ctx.group and ctx.facts.cgroup_bpf):
        return
    found = _controllers(ctx.runtime)
    wanted = {_line(node) for node in _nodes(policy)}
    _sweep(path[: -len(group_of(ctx.key)) - 1])
    try:
        found.find("devices")
        make(found, "devices", group_of(ctx.key))
        # What holds already is not written again: a process in it would see all denied meanwhile.
        if set(read(f"{path}/devices.list").splitlines()) != wanted:
            write(f"{path}/devices.deny", "a")
            for line in sorted(wanted):
                write(f"{path}/devices.allow", line)
    except (OSError, LookupError) as exc:
        reason = f"{exc.filename}: {exc.strerror}" if isinstance(exc, OSError) else exc
        raise CannotConfine(f"sandbox.devices: cannot make {path}: {reason}") from exc


def remove(key: str, runtime: str) -> bool:
    """Take the v1 group of an instance away, if it has one. False: somebody is still in it."""
    top, _ = _controllers(runtime).legacy("devices")
    gone = not top or remove_group(f"{top}/{group_of(key)}")
    if top:
        try:
            os.rmdir(top)
        except OSError:
            pass  # others are in it, or it was never made
    return gone


def program_of(nodes: tuple[Node, ...]) -> bytes:
    """The instructions that let these pass, to read, write and make."""
    rules: list[Rule] = []
    for node in nodes:
        rule = [Field(_TYPE, _KINDS[node.kind], 0xFFFF), Field(_MAJOR, node.major)]
        if node.minor is not None:
            rule.append(Field(_MINOR, node.minor))
        rules.append(tuple(rule))
    return assemble(rules)


def _nodes(policy: Policy) -> tuple[Node, ...]:
    found = [*ALWAYS.values(), *_TERMINALS]
    for path in listed(policy):
        info = os.stat(path)
        kind = "b" if stat.S_ISBLK(info.st_mode) else "c"
        found.append(Node(kind, os.major(info.st_rdev), os.minor(info.st_rdev)))
    return tuple(dict.fromkeys(found))


def _below(path: str) -> list[str]:
    """The node, or all nodes below the directory. Raises CannotConfine."""
    try:
        mode = os.stat(path).st_mode
    except OSError as exc:
        raise CannotConfine(
            f"sandbox.devices: cannot find {path}: {exc.strerror}; load its driver, or list others"
        ) from exc
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return [path]
    if not stat.S_ISDIR(mode):
        raise CannotConfine(
            f"sandbox.devices: cannot allow {path}: it is no device and no directory of devices"
        )
    found = []
    for root, _, names in os.walk(path):
        for name in names:
            mode = os.stat(f"{root}/{name}", follow_symlinks=False).st_mode
            if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                found.append(f"{root}/{name}")
    if len(found) > _MOST_NODES:
        raise CannotConfine(
            f"sandbox.devices: cannot allow {path}: it has over {_MOST_NODES} nodes; list nodes"
        )
    return sorted(found)


def _may_make_nodes(policy: Policy, ctx: Context) -> bool:
    if policy.capabilities is None:
        facts = ctx.facts
        able = facts.root or (facts.first_users and facts.capabilities >> _CAP_MKNOD & 1)
        return bool(able) and not ctx.identity.uid
    return any(name.lower().removeprefix("cap_") == "mknod" for name in policy.capabilities)


@cache
def _sweep(top: str) -> None:
    """Once: groups that are empty, of units that an earlier supervisor had."""
    remove_group(top)


def _controllers(runtime: str) -> Controllers:
    """Ours are beside the limits' groups: those know nothing of devices."""
    return Controllers(f"unboxed-devices-{crc32(runtime.encode()):08x}", "")


@cache
def _place(runtime: str) -> tuple[str, str]:
    """Looked up once: reading all mounts would be a tenth of what a launch costs the manager."""
    return _controllers(runtime).legacy("devices")


def _group(ctx: Context) -> str:
    """Its v1 group, made or not; "" where there can be none of ours."""
    if not ctx.facts.devices_v1 or not ctx.facts.root:  # the kernel asks for CAP_SYS_ADMIN
        return ""
    top, above = _place(ctx.runtime)
    return f"{top}/{group_of(ctx.key)}" if top and os.access(above, os.W_OK) else ""


def _line(node: Node) -> str:
    """As devices.allow takes it, and devices.list gives it."""
    return f"{node.kind} {node.major}:{'*' if node.minor is None else node.minor} rwm"
