"""Which ids a user namespace has, inside and outside.

A given map is held against what the supervisor may map: with CAP_SETUID and CAP_SETGID all that
its own user namespace has, else its own id alone, and then setgroups(2) is denied in it (the kernel
asks for that, or a group that takes rights away could be left).
"""
from __future__ import annotations

import os

from supervisor.kernel.host import read
from supervisor.kernel.plan import Identity
from supervisor.kernel.sandbox import dynamic
from supervisor.kernel.sandbox.part import CannotConfine, Context
from supervisor.model.policy import Policy
from supervisor.model.sandbox import MappedRange

CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN = 6, 7, 21
_MOST_LINES = 340  # user_namespaces(7)
_LAST_ID = 2**32 - 2


def may_map(ctx: Context) -> bool:
    """Whether it may map other ids than its own one."""
    both = 1 << CAP_SETUID | 1 << CAP_SETGID
    return ctx.facts.root or ctx.facts.capabilities & both == both


def maps(policy: Policy, ctx: Context) -> tuple[str, str, str]:
    """What is written to setgroups, uid_map and gid_map. Raises CannotConfine."""
    if not may_map(ctx):
        inside = _own_one(policy)
        uid, gid = os.geteuid(), os.getegid()
        first, group = (uid, gid) if inside is None else (inside, inside)
        return "deny", f"{first} {uid} 1\n", f"{group} {gid} 1\n"
    if policy.users is None:
        return "", _same("uid"), _same("gid")
    text = "".join(f"{one.inside} {one.outside} {one.count}\n" for one in ranges(policy, ctx))
    return "", text, text


def ranges(policy: Policy, ctx: Context) -> tuple[MappedRange, ...]:
    """Of a supervisor that may map. Raises CannotConfine."""
    found = policy.users.map if policy.users is not None else ()
    if not found:
        try:
            first = dynamic.blocks(ctx.runtime).of(ctx.unit)
        except CannotConfine as exc:
            raise CannotConfine(f"sandbox.users: {exc}") from exc
        return (MappedRange(0, first, dynamic.BLOCK),)
    _check(found)
    for kind in ("uid", "gid"):
        own = _read_map(f"/proc/self/{kind}_map")
        for one in found:
            if not any(o.inside <= one.outside and _end(one) <= o.inside + o.count for o in own):
                raise CannotConfine(
                    f"sandbox.users: cannot map {kind}s {one.outside} to {_end(one) - 1}: the "
                    "supervisor's own user namespace does not have them; map others"
                )
    return found


def outside(policy: Policy, ctx: Context, identity: Identity) -> tuple[int, int]:
    """The host's uid and gid of one who is `identity` in there: what its files belong to. Raises
    CannotConfine if an id is not in the map."""
    if policy.users is None or not may_map(ctx):
        uid = os.geteuid() if identity.uid is None else identity.uid
        return uid, identity.gid
    known = ranges(policy, ctx)
    uid = _through(identity.uid or 0, known, identity.name)
    for gid in identity.groups:
        _through(gid, known, identity.name)
    return uid, _through(identity.gid, known, identity.name)


def _through(number: int, known: tuple[MappedRange, ...], name: str) -> int:
    for one in known:
        if one.inside <= number < one.inside + one.count:
            return number - one.inside + one.outside
    raise CannotConfine(
        f"sandbox.users: cannot become {name}: id {number} is not in `map`; add it there"
    )


def _own_one(policy: Policy) -> int | None:
    """What the one own id is inside; None: the same. Raises CannotConfine."""
    if policy.users is None:
        return None
    if not policy.users.map:
        return 0
    first = policy.users.map[0]
    if len(policy.users.map) > 1 or (first.outside, first.count) != (os.geteuid(), 1):
        raise CannotConfine(
            "sandbox.users: cannot map others: a supervisor without CAP_SETUID and CAP_SETGID may "
            f'map its own id only; write map = ["0:{os.geteuid()}:1"]'
        )
    return first.inside


def _check(found: tuple[MappedRange, ...]) -> None:
    if len(found) > _MOST_LINES:
        raise CannotConfine(f"sandbox.users: cannot map over {_MOST_LINES} ranges")
    for one in found:
        if one.count < 1 or min(one.inside, one.outside) < 0:
            raise CannotConfine(
                f"sandbox.users: cannot map a range of {one.count} ids from {one.outside}"
            )
        if max(one.inside, one.outside) + one.count - 1 > _LAST_ID:
            raise CannotConfine(f"sandbox.users: cannot map ids above {_LAST_ID}")
    for starts in ([(o.inside, o.count) for o in found], [(o.outside, o.count) for o in found]):
        end = 0
        for first, count in sorted(starts):
            if first < end:
                raise CannotConfine(f"sandbox.users: cannot map id {first} twice")
            end = first + count


def _end(one: MappedRange) -> int:
    return one.outside + one.count


def _read_map(path: str) -> list[MappedRange]:
    rows = [line.split() for line in read(path).splitlines()]
    return [MappedRange(*map(int, row)) for row in rows]


def _same(kind: str) -> str:
    """Every id of ours as itself."""
    own = _read_map(f"/proc/self/{kind}_map")
    return "".join(f"{one.inside} {one.inside} {one.count}\n" for one in own)
