"""The shipped units of units/system, all together, as a machine has them."""
from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from supervisor.config.load import read_units
from supervisor.core import graph as graphs
from supervisor.model.unit import BOOT, Unit

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "units" / "system"
EARLY = ("apparmor", "coldplug", "filesystems", "lvm", "tmpfiles", "udev")
SILENT = {"saved-state", "sessions"}  # what they say in a life is far less than a pipe holds
OURS = (*EARLY, "console-setup", "devices", "modules", "network-filesystems", "saved-state")


def shipped() -> dict[str, Unit]:
    loaded = read_units([str(FOLDER)])
    assert loaded.problems == []
    return dict(loaded.units)


def test_they_are_right_together() -> None:
    found = graphs.build(shipped(), machine=True)
    assert not found.broken


def test_boot_is_what_it_says_and_everything_else_waits_for_it() -> None:
    found = graphs.build(shipped(), machine=True)
    assert set(graphs.closure(found, [BOOT])) == {BOOT, *EARLY}
    hard = {dep.unit for dep in found.deps[BOOT] if dep.hard}
    assert hard == {"filesystems"}, "nothing else stops a boot"


def test_the_watchdog_is_fed_until_services_have_stopped_and_no_boot_needs_it() -> None:
    found = graphs.build(shipped(), machine=True)
    (edge,) = [dep for dep in found.deps[BOOT] if dep.unit == "watchdog"]
    assert edge.order
    assert not edge.pull
    assert not edge.hard
    assert edge.until == "started"
    assert not any(dep.unit == BOOT for dep in found.deps["watchdog"])


def test_the_dhcp_client_is_never_given_up() -> None:
    restart = shipped()["dhcp"].restart
    assert restart.limit is None
    assert restart.max_delay_ns <= 30 * 10**9


def test_no_daemon_of_a_machine_waits_for_room_on_its_disk() -> None:
    """Least of all the one by which somebody comes in to make room."""
    waits = {
        unit.name for unit in shipped().values()
        if unit.kind == "service" and unit.command and unit.logs.on_full != "drop"
        and unit.logs.to == "files"
    }
    assert waits <= SILENT


def test_file_systems_wait_for_no_other_unit() -> None:
    found = graphs.build(shipped(), machine=True)
    assert not found.deps.get("filesystems"), "an interpreter's start beside udev's, not after it"


@pytest.mark.parametrize("name", OURS)
def test_each_is_skipped_beside_systemd_and_in_containers(name: str) -> None:
    unit = shipped()[name]
    assert "!/run/systemd/system" in unit.conditions.path_exists
    assert unit.conditions.virtualization == ("!container",)
    assert unit.sandbox is not None
    assert unit.sandbox.level == "off"


def test_each_step_that_a_unit_runs_is_there() -> None:
    steps = set()
    for path in FOLDER.glob("*.toml"):
        steps |= set(re.findall(r'"unboxed boot ([a-z-]+)', path.read_text()))
    assert {"filesystems", "modules", "identity", "network-filesystems"} <= steps
    there = {name.removesuffix(".py").replace("_", "-")
             for name in os.listdir(ROOT / "supervisor" / "boot") if name.endswith(".py")}
    assert steps <= there


def test_each_is_told_of_in_the_documents() -> None:
    text = (ROOT / "docs" / "machine.md").read_text()
    assert [name for name in OURS if f"`{name}`" not in text] == []
