"""Who may do what: a peer's uid and groups, and the rules of access.toml, make its rights.

Law: pure. Closed unless opened. Roles are ordered: observe < operate < admin. The superuser and the
supervisor's own user are admin; members of the control socket's group operate all units, unless a
rule names them (or a group of theirs): then the rules that do are all they have. Nobody else has a
role. The status socket gives nobody one, whoever it is. A file with any error in it counts as no
grant at all, the default one included.

Facts of a peer are those of the moment it connected (SO_PEERCRED, SO_PEERGROUPS); its pid is never
asked for, since another process may have it by now.
"""
from __future__ import annotations

from typing import Literal

from msgspec import Struct

from supervisor.model.pattern import matches
from supervisor.model.report import Problem

Socket = Literal["control", "status"]
Role = int
NONE, OBSERVE, OPERATE, ADMIN = range(4)
ROLES = {"observe": OBSERVE, "operate": OPERATE, "admin": ADMIN}
ROLE_NAMES = ("none", *ROLES)

EVERY = ("*",)


class Rule(Struct, frozen=True, gc=False):
    """`uid` or `gid` is None, the other one a number."""

    uid: int | None
    gid: int | None
    role: Role
    units: tuple[str, ...] = EVERY


class Peer(Struct, frozen=True, gc=False):
    """Who is at the other end, as of its connect(2). `groups` holds the primary one too."""

    uid: int
    groups: frozenset[int]
    socket: Socket


class Rights(Struct, frozen=True, gc=False):
    """What one peer may do. `role`: the highest it has on any unit."""

    role: Role
    grants: tuple[tuple[Role, tuple[str, ...]], ...] = ()

    def on(self, unit: str) -> Role:
        """The role on the unit of that name, or of that instance key."""
        name = unit.partition("/")[0]
        return max(
            (role for role, units in self.grants if any(matches(glob, name) for glob in units)),
            default=NONE,
        )


_NO_RIGHTS = Rights(NONE)


class Access(Struct, frozen=True, gc=False):
    """`own_uid` is the supervisor's; `control_gid` the group that owns the control socket, or None.
    `problems` not empty: the file is broken and `rules` count for nothing."""

    own_uid: int
    control_gid: int | None = None
    rules: tuple[Rule, ...] = ()
    problems: tuple[Problem, ...] = ()

    def rights(self, peer: Peer) -> Rights:
        if peer.socket != "control":
            return _NO_RIGHTS
        if self.is_privileged(peer.uid):
            return Rights(ADMIN, ((ADMIN, EVERY),))
        if self.problems:
            return _NO_RIGHTS
        grants = tuple(
            (rule.role, rule.units)
            for rule in self.rules
            if rule.uid == peer.uid or rule.gid in peer.groups
        )
        if not grants and self.control_gid in peer.groups:
            grants = ((OPERATE, EVERY),)
        return Rights(max((role for role, _ in grants), default=NONE), grants)

    def is_privileged(self, uid: int) -> bool:
        return uid in (0, self.own_uid)
