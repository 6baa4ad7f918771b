from __future__ import annotations

import os

import pytest

from supervisor.kernel.plan import Identity
from supervisor.kernel.sandbox import usermap
from supervisor.kernel.sandbox.namespaces import inside
from supervisor.kernel.sandbox.part import CannotConfine
from supervisor.model.sandbox import MappedRange, Users
from tests.unit.kernel.sandbox.given import FACTS, STAY, context, policy

ROOTLESS = context(FACTS._replace(root=False))
MAPPED = Users((MappedRange(0, 300000, 1000), MappedRange(5000, 400000, 10)))


@pytest.fixture
def ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first user namespace, whoever runs the tests."""
    monkeypatch.setattr(usermap, "_read_map", lambda _: [MappedRange(0, 0, 4294967295)])


@pytest.mark.usefixtures("ids")
def test_a_given_map_is_what_the_kernel_is_told() -> None:
    text = "0 300000 1000\n5000 400000 10\n"
    assert usermap.maps(policy(users=MAPPED), context()) == ("", text, text)


@pytest.mark.usefixtures("ids")
@pytest.mark.parametrize(
    "ranges, words",
    [
        ([(0, 1000, 0)], "a range of 0 ids"),
        ([(0, 1000, 10), (5, 2000, 10)], "cannot map id 5 twice"),
        ([(0, 1000, 10), (50, 1009, 1)], "cannot map id 1009 twice"),
        ([(0, 4294967295, 1)], "cannot map ids above 4294967294"),
        ([(4294967290, 1000, 10)], "cannot map ids above 4294967294"),
        ([(n, n, 1) for n in range(341)], "over 340 ranges"),
    ],
)
def test_maps_that_cannot_be_are_refused(ranges: list[tuple[int, int, int]], words: str) -> None:
    bad = Users(tuple(MappedRange(*one) for one in ranges))
    with pytest.raises(CannotConfine, match=rf"sandbox\.users.*{words}"):
        usermap.maps(policy(users=bad), context())


def test_what_the_supervisors_own_namespace_has_not_cannot_be_mapped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(usermap, "_read_map", lambda _: [MappedRange(0, 100000, 65536)])
    good = Users((MappedRange(0, 65535, 1),))
    assert usermap.maps(policy(users=good), context())[1] == "0 65535 1\n"
    with pytest.raises(CannotConfine, match="cannot map uids 65535 to 65536"):
        usermap.maps(policy(users=Users((MappedRange(0, 65535, 2),))), context())


def test_rootless_the_one_own_id_is_root_inside_and_setgroups_denied() -> None:
    uid, gid = os.geteuid(), os.getegid()
    assert usermap.maps(policy(users=Users()), ROOTLESS) == ("deny", f"0 {uid} 1\n", f"0 {gid} 1\n")


def test_rootless_without_users_it_stays_who_it_is() -> None:
    uid, gid = os.geteuid(), os.getegid()
    maps = ("deny", f"{uid} {uid} 1\n", f"{gid} {gid} 1\n")
    assert usermap.maps(policy(ipc="own"), ROOTLESS) == maps


def test_rootless_another_map_is_refused_with_the_one_that_can_be() -> None:
    own = os.geteuid()
    good = Users((MappedRange(7, own, 1),))
    assert usermap.maps(policy(users=good), ROOTLESS)[1] == f"7 {own} 1\n"
    for bad in ([(0, own + 1, 1)], [(0, own, 2)], [(0, own, 1), (1, own + 1, 1)]):
        users = Users(tuple(MappedRange(*one) for one in bad))
        with pytest.raises(CannotConfine, match=rf"0:{own}:1"):
            usermap.maps(policy(users=users), ROOTLESS)


@pytest.mark.usefixtures("ids")
def test_who_it_is_outside() -> None:
    someone = Identity("www", 33, 5003, (33, 999), "/", "/bin/sh")
    assert usermap.outside(policy(users=MAPPED), context(), someone) == (300033, 400003)
    assert usermap.outside(policy(), context(), someone) == (33, 5003)


@pytest.mark.usefixtures("ids")
@pytest.mark.parametrize("changes", [{"uid": 1000}, {"gid": 4999}, {"groups": (0, 5010)}])
def test_an_id_that_is_not_in_the_map_is_refused(changes: dict[str, object]) -> None:
    someone = Identity("www", 33, 33, (), "/", "/bin/sh")._replace(**changes)  # type: ignore[arg-type] # by name
    with pytest.raises(CannotConfine, match=r"cannot become www: id \d+ is not in `map`"):
        inside(policy(users=MAPPED), context(), someone)


@pytest.mark.usefixtures("ids")
def test_nobody_named_is_root_inside() -> None:
    who = inside(policy(users=MAPPED), context(), STAY)
    assert (who.uid, who.gid, who.groups) == (0, 0, ())
    assert inside(policy(), context(), STAY) is STAY
    assert inside(policy(users=Users()), ROOTLESS, STAY) is STAY
