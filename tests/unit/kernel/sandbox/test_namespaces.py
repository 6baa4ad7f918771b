from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from supervisor.kernel.plan import Step
from supervisor.kernel.sandbox import namespaces as ns
from supervisor.kernel.sandbox.part import Part
from supervisor.model.sandbox import Network, Users
from tests.unit.kernel.sandbox.given import FACTS, context, policy

ROOTLESS = FACTS._replace(root=False)
KEYS = {
    "processes": "own", "ipc": "own", "hostname": "own", "cgroup": "own", "time": "own",
}  # fmt: skip


def all_of_them() -> Part:
    return ns.part(policy(**KEYS, network=Network("none")), context())


def names(steps: tuple[Step, ...] | list[Step]) -> list[object]:
    return [step.args[0] if step.name == "CALL" else step.name for step in steps]


def test_nothing_asked_for_is_no_step() -> None:
    assert ns.part(policy(), context()) == Part()
    assert ns.birth(0, 0, False, policy(), context()) == []


def test_what_wants_a_birth_and_what_the_born_one_does() -> None:
    found = all_of_them()
    assert found.holds == ns.NEWPID
    assert found.joins == ns.NEWTIME
    assert found.own_memory
    assert names(found.setup) == ["unshare", "sethostname", "socket", "ioctl", "close"]
    flags = found.setup[0].args[1][0]  # type: ignore[index] # the call's arguments
    assert flags == ns.NEWIPC | ns.NEWUTS | ns.NEWCGROUP | ns.NEWNET
    assert found.setup[1].args[1] == (b"web", 3)
    assert not found.missing


def test_every_key_says_what_enforces_it() -> None:
    assert [key for key, _ in all_of_them().mechanisms] == [
        "sandbox.processes", "sandbox.ipc", "sandbox.hostname", "sandbox.cgroup", "sandbox.time",
        "network.mode",
    ]  # fmt: skip


def test_the_birth_comes_in_order() -> None:
    steps = ns.birth(ns.NEWPID, ns.NEWTIME, True, policy(), context())
    assert names(steps)[:4] == ["HOLD", "unshare", "WRITE", "FORK"]


def test_a_namespace_of_time_begins_at_zero() -> None:
    if not os.path.exists("/proc/self/timens_offsets"):
        pytest.skip("this kernel has no time namespaces")
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    lines = ns._offsets().splitlines()
    assert [line.split()[0] for line in lines] == ["monotonic", "boottime"]
    seconds, nanoseconds = map(int, lines[1].split()[1:])
    assert 0 <= nanoseconds < 10**9
    own = [line.split() for line in Path("/proc/self/timens_offsets").read_text().splitlines()]
    shift = int(own[1][1]) * 10**9 + int(own[1][2])
    begins = before - shift + seconds * 10**9 + nanoseconds
    assert -60 * 10**9 < begins <= 0  # the clock ran on meanwhile


def test_rootless_a_user_namespace_comes_first() -> None:
    found = ns.part(policy(ipc="own"), context(ROOTLESS))
    assert found.holds == ns.NEWUSER
    assert "in a user namespace" in found.mechanisms[0][1]
    first = ns.birth(found.holds, 0, False, policy(ipc="own"), context(ROOTLESS))[0]
    assert first.name == "HOLD"
    assert first.args[1] == "deny"


def test_without_user_namespaces_each_key_is_missing_by_name() -> None:
    facts = ROOTLESS._replace(user_namespaces=False)
    found = ns.part(policy(ipc="own", time="own"), context(facts))
    assert [key for key, _ in found.missing] == ["sandbox.ipc", "sandbox.time"]
    assert not found.setup
    assert not found.holds
    assert not found.joins


def test_a_kernel_without_time_namespaces_lacks_that_key_only() -> None:
    facts = FACTS._replace(time_namespaces=False)
    found = ns.part(policy(ipc="own", time="own"), context(facts))
    assert [key for key, _ in found.missing] == ["sandbox.time"]
    assert not found.own_memory
    assert names(found.setup) == ["unshare"]


def test_root_without_user_namespaces_lacks_users_only() -> None:
    facts = FACTS._replace(user_namespaces=False)
    found = ns.part(policy(ipc="own", users=Users()), context(facts))
    assert [key for key, _ in found.missing] == ["sandbox.users"]
    assert not found.holds
    assert names(found.setup) == ["unshare"]
