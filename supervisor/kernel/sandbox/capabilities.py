"""Capabilities: which a service keeps, and that no way leads back to others.

Law: what the service may have is its bounding set, so that no program it executes, as root or with
file capabilities, gets more. Whoever is not root keeps what it has over execve only as ambient
ones; all others have empty inheritable and ambient sets (CVE-2022-29162). A root that keeps a list
needs no SECBIT_NOROOT: what execve gives it is the bounding set, and that is the list.
"""
from __future__ import annotations

from _struct import Struct as _Layout

from supervisor.kernel.calls import Struct, call
from supervisor.kernel.plan import Step
from supervisor.kernel.sandbox.part import Context, Part
from supervisor.model.capabilities import CAPABILITIES
from supervisor.model.policy import Policy

_NUMBERS = {name: number for number, name in enumerate(CAPABILITIES)}
_SETPCAP = 1 << _NUMBERS["CAP_SETPCAP"]
_HEADER = bytes.fromhex("2205082000000000")  # _LINUX_CAPABILITY_VERSION_3, of this process
_DATA = _Layout("<6I")
_PR_SET_KEEPCAPS, _PR_CAP_AMBIENT, _RAISE = 8, 47, 2


def number(name: str) -> int:
    """Of "CAP_NET_ADMIN" or "net_admin". Raises KeyError."""
    return _NUMBERS["CAP_" + name.upper().removeprefix("CAP_")]


def mask_of(names: tuple[str, ...]) -> int:
    return sum({1 << number(name) for name in names})


def part(policy: Policy, ctx: Context, new_users: bool) -> Part:
    """`new_users`: it is born in a user namespace, which gives it all of that."""
    if policy.level == "off" and policy.capabilities is None:
        return Part()
    facts, wanted = ctx.facts, policy.capabilities
    everything = (2 << facts.last_capability) - 1
    own = everything if new_users else facts.capabilities
    if wanted is None:  # a root that was asked for
        return Part(settle=(_set(own, 0),)) if facts.inherited else Part()
    useful = everything if policy.users is not None else facts.capabilities
    lacking = [name for name in wanted if not useful >> number(name) & 1]
    if lacking:
        why = f"the supervisor itself has no {' '.join(lacking)}; run it as root, with them"
        return Part(missing=(("sandbox.capabilities", why),))
    keep, uid = mask_of(wanted), ctx.identity.uid
    ambient = bool(keep) and (uid if uid is not None else facts.uid) != 0
    setup = [Step("BOUND", (keep,))] if own & _SETPCAP else []
    if ambient and uid is not None:
        words = "keep capabilities when the user changes"
        setup.append(call("prctl", _PR_SET_KEEPCAPS, 1, words=words))
    settle = [_set(keep, keep if ambient else 0)]
    if ambient:
        settle += [
            call("prctl", _PR_CAP_AMBIENT, _RAISE, n, words=f"keep {CAPABILITIES[n]} at execve")
            for n in sorted({number(name) for name in wanted})
        ]
    how = ["bounding set"] * bool(setup) + ["capset(2)"] + ["ambient set"] * ambient
    words = f"{' '.join(wanted) or 'none'}: {', '.join(how)}"
    return Part(
        setup=tuple(setup),
        settle=tuple(settle),
        mechanisms=(("sandbox.capabilities", words),),
    )


def _set(permitted: int, inheritable: int) -> Step:
    """capset: effective is as permitted. What is no longer inheritable is no longer ambient."""
    low, high = permitted & 0xFFFFFFFF, permitted >> 32
    data = _DATA.pack(low, low, inheritable & 0xFFFFFFFF, high, high, inheritable >> 32)
    count = permitted.bit_count()
    return call("capset", Struct((_HEADER,)), Struct((data,)), words=f"keep {count} capabilities")
