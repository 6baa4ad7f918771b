import pytest

from supervisor.control.access import (
    ADMIN,
    NONE,
    OBSERVE,
    OPERATE,
    Access,
    Peer,
    Role,
    Rule,
    Socket,
)
from supervisor.model.report import Problem

OURS, GROUP, OPS = 900, 50, 60


def peer(uid: int, *groups: int, socket: Socket = "control") -> Peer:
    return Peer(uid, frozenset(groups), socket)


def role(access: Access, who: Peer, unit: str = "web") -> Role:
    return access.rights(who).on(unit)


PLAIN = Access(OURS, GROUP)
RULED = Access(OURS, GROUP, (
    Rule(1000, None, OPERATE, ("web*",)),
    Rule(1000, None, OBSERVE),
    Rule(None, OPS, ADMIN),
))
BROKEN = Access(OURS, GROUP, RULED.rules, (Problem("access.toml", 1, "", "cannot ..."),))


@pytest.mark.parametrize("access", [PLAIN, RULED, BROKEN], ids=["plain", "ruled", "broken"])
@pytest.mark.parametrize("uid", [0, OURS])
def test_root_and_the_own_user_are_admin_whatever_the_file_says(access: Access, uid: int) -> None:
    assert role(access, peer(uid)) == ADMIN


@pytest.mark.parametrize("access", [PLAIN, RULED, BROKEN], ids=["plain", "ruled", "broken"])
@pytest.mark.parametrize("uid", [0, OURS, 1000, 1001])
def test_the_status_socket_gives_nobody_a_role(access: Access, uid: int) -> None:
    rights = access.rights(peer(uid, GROUP, OPS, socket="status"))
    assert (rights.role, rights.on("web")) == (NONE, NONE)


def test_the_group_of_the_socket_operates_all_units_unless_a_rule_names_the_member() -> None:
    assert role(PLAIN, peer(1000, GROUP)) == OPERATE
    assert role(RULED, peer(1001, GROUP)) == OPERATE
    assert role(RULED, peer(1000, GROUP), "db") == OBSERVE
    assert role(PLAIN, peer(1000, 1000)) == NONE
    assert role(Access(OURS, None), peer(1000, GROUP)) == NONE


def test_globs_limit_a_role_to_units_and_the_highest_that_fits_counts() -> None:
    rights = RULED.rights(peer(1000))
    assert rights.role == OPERATE
    assert [rights.on(u) for u in ("web", "web2", "web/3", "db", "aweb")] == [
        OPERATE, OPERATE, OPERATE, OBSERVE, OBSERVE,
    ]


def test_a_rule_for_a_group_holds_for_each_of_a_peers_groups() -> None:
    assert role(RULED, peer(1001, 1001, OPS)) == ADMIN
    assert role(RULED, peer(1001, 1001)) == NONE


def test_a_broken_file_grants_nothing_to_anybody() -> None:
    assert role(BROKEN, peer(1000, GROUP, OPS)) == NONE
