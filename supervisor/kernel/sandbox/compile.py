"""All mechanisms of a unit's sandbox, in the one order that is safe.

Law: who may still do a thing does it before that right is gone. So what takes the host's own view
comes first, then namespaces, mounts before ids, the bounding set before the ids too (it takes
CAP_SETPCAP), capabilities after them (a change of ids changes them), Landlock after every file is
in place (a domain that limits files can mount nothing), and the system call filter last of all,
since it refuses what the others need.

A mechanism that this kernel lacks is never left out in silence: `require` decides whether the unit
is refused, or runs and says what is missing; what level app only adds (Policy.implied) is said.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from supervisor.kernel.calls import call, fork
from supervisor.kernel.plan import Confinement, Step
from supervisor.kernel.sandbox import (
    addresses,
    capabilities,
    devices,
    filters,
    landlock,
    memory,
    namespaces,
    private_net,
    share,
    view,
)
from supervisor.kernel.sandbox.part import CannotConfine, Context, Part
from supervisor.kernel.sandbox.trace import exists, look_once
from supervisor.model.policy import Policy

_KEYCTL_JOIN_SESSION_KEYRING = 1


class Confined(NamedTuple):
    """`env`: variables that the sandbox adds. `missing`: (key, why) of what is not enforced; with
    require = "all", of what is implied only. `stores`: see Part."""

    confinement: Confinement
    env: tuple[tuple[str, str], ...]
    mechanisms: tuple[tuple[str, str], ...]
    missing: tuple[tuple[str, str], ...]
    stores: tuple[tuple[str, Callable[[], int]], ...] = ()


def confine(policy: Policy, ctx: Context) -> Confined:
    """What makes this policy true for one launch. Looks only. Raises CannotConfine."""
    look_once(on=True)
    try:
        exists(ctx.program, policy.root, "command")  # whatever else asks for these
        exists(ctx.directory or "/", policy.root, "directory")
        parts = [share.part(policy, ctx)]
        policy = share.possible(policy, ctx)
        parts += [part(policy, ctx) for part in mechanisms()]
    finally:
        look_once(on=False)
    new_users = any(part.holds & namespaces.NEWUSER for part in parts)
    parts.append(capabilities.part(policy, ctx, new_users))
    missing = tuple(dict.fromkeys(one for part in parts for one in part.missing))
    _refuse(policy, missing)
    first = [step for part in parts for step in part.first]
    return _confined(parts, [*first, *_births(parts, policy, ctx)], missing)


def _confined(
    parts: list[Part], begin: list[Step], missing: tuple[tuple[str, str], ...]
) -> Confined:
    """`begin`: what comes before the setup of all parts."""
    return Confined(
        Confinement(
            (*begin, *(step for part in parts for step in part.setup)),
            tuple(step for part in parts for step in part.settle),
            tuple(step for part in parts for step in part.last),
        ),
        tuple(pair for part in parts for pair in part.env),
        tuple(row for part in parts for row in part.mechanisms),
        missing,
        tuple(pair for part in parts for pair in part.stores),
    )


def _refuse(policy: Policy, missing: tuple[tuple[str, str], ...]) -> None:
    """Raises CannotConfine for what is missing and must not be, by reason."""
    reasons: dict[str, list[str]] = {}
    for key, why in missing:
        if policy.require == "all" and key not in policy.implied:
            reasons.setdefault(why, []).append(key)
    if reasons:
        raise CannotConfine(
            "; ".join(f"cannot enforce {', '.join(keys)}: {why}" for why, keys in reasons.items())
            + '; with require = "best" it starts without'
        )


def enter(policy: Policy, ctx: Context, pid: int, flags: int) -> Confined:
    """The same for a process that joins those of a running service: `flags` are the namespaces of
    its process `pid` that differ from ours. Views, directories and devices are there already; what
    belongs to a process is done anew, but no scopes: it would be a stranger to the service, whom a
    reload command signals. Raises CannotConfine."""
    policy = replace(policy, scoped=False)
    users = bool(flags & namespaces.NEWUSER)
    parts = [part(policy, ctx) for part in (keyring, landlock.part, memory.part, filters.part)]
    parts.append(capabilities.part(policy, ctx, users))
    parts.append(Part(env=view.environment(policy, ctx)))
    begin = [*devices.joins(policy, ctx), *namespaces.join(pid, flags)]
    if not flags and any(part.own_memory for part in parts):
        begin.append(fork())
    return _confined(parts, begin, tuple(one for part in parts for one in part.missing))


def prepare(policy: Policy, ctx: Context) -> None:
    """Make what has to be there before a launch; `confine` finds it then. Raises CannotConfine."""
    for one in (devices.prepare, namespaces.prepare, private_net.prepare, view.prepare):
        one(policy, ctx)


def mechanisms() -> tuple[Callable[[Policy, Context], Part], ...]:
    """In the order of their steps within setup and last. Capabilities come after all of these, and
    alone in settle."""
    return (
        devices.part, addresses.part, private_net.part, namespaces.part, view.part, keyring,
        landlock.part, memory.part, filters.part,
    )  # fmt: skip


def keyring(policy: Policy, ctx: Context) -> Part:
    """A session keyring of its own: the supervisor's, which it would inherit, has the keys of
    whoever started that."""
    if policy.level == "off" or not ctx.facts.keyrings:  # without keyctl there is nothing to use
        return Part()
    join = call("keyctl", _KEYCTL_JOIN_SESSION_KEYRING, words="a session keyring of its own")
    return Part(setup=(join,))


def _births(parts: list[Part], policy: Policy, ctx: Context) -> list[Step]:
    """Namespaces that are entered at birth, and the process that is born in them."""
    holds = joins = 0
    own_memory = False
    for part in parts:
        holds |= part.holds
        joins |= part.joins
        own_memory |= part.own_memory
    if policy.share_pid:
        if holds or joins:
            found = namespaces.names(holds | joins)
            raise CannotConfine(f"agent.share: cannot share a pid namespace and have {found} anew")
        return [*namespaces.join(ctx.main, namespaces.NEWPID)]  # which gives it a memory of its own
    return namespaces.birth(holds, joins, own_memory, policy, ctx)
