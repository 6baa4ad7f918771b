"""A supervisor that is an ordinary user: what a user namespace gives it, and what is refused."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

from supervisor.kernel.sandbox import addresses, devices, dynamic, namespaces, private_net
from supervisor.kernel.sandbox.facts import facts
from supervisor.kernel.sandbox.part import CannotConfine
from supervisor.model.sandbox import MappedRange, Network, PortRule, Users
from tests.keeper.keeperclient import keeper_binary
from tests.kernel.kit import NOBODY, in_child
from tests.kernel.sandbox.stage import stage
from tests.unit.kernel.sandbox.given import policy

LOOK = """seen["ids"] = [os.getuid(), os.getgid()]
seen["map"] = [int(n) for n in open("/proc/self/uid_map").read().split()]
seen["own"] = sorted(n for n in os.listdir("/proc/self/ns")
                     if os.readlink(f"/proc/self/ns/{n}") != HOST[n])"""


def rootless(call: Callable[[], Any]) -> Any:
    """What `call` returns to a user without rights."""
    if os.geteuid():
        return call()
    binary = keeper_binary()

    def usable() -> bool:
        return os.access(binary, os.X_OK) and os.access(sys.executable, os.X_OK)

    if not in_child(usable, NOBODY):
        pytest.skip("an ordinary user cannot reach the keeper or this Python")

    def fresh() -> Any:
        facts.cache_clear()
        return call()

    return in_child(fresh, NOBODY)


@pytest.mark.parametrize(
    "keys, inside, expected",
    [
        ({"ipc": "own"}, None, {"ipc"}),
        ({"processes": "own", "hostname": "own"}, None, {"pid", "pid_for_children", "uts"}),
        ({"users": Users(), "network": Network("none")}, 0, {"net"}),
        ({"users": Users((MappedRange(7, -1, 1),)), "cgroup": "own"}, 7, {"cgroup"}),
    ],
)
def test_what_a_user_namespace_gives(
    keys: dict[str, Any], inside: int | None, expected: set[str]
) -> None:
    host = {name: os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")}

    def look() -> object:
        if not facts().user_namespaces:
            return "none"
        me = os.geteuid()
        if isinstance(keys.get("users"), Users) and keys["users"].map:
            keys["users"] = Users((MappedRange(7, me, 1),))
        with stage() as made:
            code = f"HOST = {host}\n{LOOK}"
            found = made.look(code, policy(**keys), made.context(), namespaces.part)
        return [me, found["ids"], found["map"], found["own"]]

    seen = rootless(look)
    if seen == "none":
        pytest.skip("ordinary users may make no user namespaces here")
    me, ids, mapped, own = seen
    number = me if inside is None else inside
    assert ids == [number, number]
    assert mapped == [number, me, 1]
    assert set(own) == expected | {"user"}


def test_what_takes_root_is_missing_by_name() -> None:
    rules = (PortRule("udp", 53), PortRule("tcp", 443, "10.0.0.0/8"))
    unit = policy(network=Network("private", connect=rules), devices=(), capabilities=("MKNOD",))

    def looks() -> object:
        with stage() as made:
            ctx = made.context()
            parts = [part(unit, ctx) for part in (devices.part, addresses.part, private_net.part)]
            assert not any(part.first for part in parts)
            return [row for part in parts for row in part.missing]

    missing = dict(rootless(looks))
    assert set(missing) == {"sandbox.devices", "network.connect", "network.mode"}
    assert "runs as root" in missing["network.mode"]


def test_it_has_no_ids_to_give() -> None:
    def takes() -> str:
        try:
            dynamic.users("/run/unboxed").take("web")
        except CannotConfine as exc:
            return str(exc)
        return "given"

    assert "runs as root" in rootless(takes)
