"""A boot begins by the plan of the one before it as long as nothing of it has changed, whatever
becomes of the first manager. test_boot_alike.py has what is the same with a plan and without."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.vm.booted import UNBOXED, Booted, needs_disk, on_disk, root_image
from tests.vm.household import PLAN, marks, service, task
from tests.vm.machine import needs_machine

# Nothing goes before all others: services are the first wave.
FLAT = {
    "plain": service("plain"),
    "second": service("second", "instances = 2\n"),
    "once": task("once"),
    "asks": service("asks", 'conditions.path_exists = ["/etc/passwd", "!/etc/gone"]\n'),
    "stamp": service("stamp", 'conditions.path_exists = ["!/run/stamp"]\n', "touch /run/stamp; "),
    "told": service("told", 'start.ready = "fd:3"\n', ready="echo >&3; "),
    "later": service("later", 'needs.requires = ["once"]\n'),
    "nobody": 'command = ["/bin/sleep", "1000"]\nuser = "nobody"\n',
}

STATES = {
    "plain": "running", "second/0": "running", "second/1": "running", "once": "finished",
    "asks": "running", "stamp": "running", "told": "running", "later": "running",
    "nobody": "running",
}  # fmt: skip
STARTS = {"plain": 1, "second": 2, "once": 1, "asks": 1, "stamp": 1, "told": 1, "later": 1}

pytestmark = [needs_machine, needs_disk, pytest.mark.slow]


def launched(machine: Booted) -> dict[str, int]:
    """Unit -> how often it said that it starts, in this boot."""
    said = machine.sh("cd /run/starts; wc -l *")
    return {name: int(n) for n, name in re.findall(r"(\d+) (\w+)$", said, re.MULTILINE)
            if name != "total"}


def wait_for_plan(machine: Booted) -> None:
    machine.sh(f"until test -e {PLAN}; do sleep 0.05; done")


class Life:
    """One machine after another on the same disk."""

    def __init__(self, home: Path, units: dict[str, str]) -> None:
        self.home = home
        self.units = dict(units)
        self.image = root_image(home)

    def boot(self, **more: Any) -> Booted:
        home = self.home / "machine"
        return Booted(home, self.units, root=self.image, args=on_disk(), words=["rw"], **more)

    def once(self, before_off: str = "true", **more: Any) -> tuple[dict[str, int], str]:
        """One life with the flat units, which must be as they always are; marks and console."""
        with self.boot(**more) as machine:
            for name, state in STATES.items():
                machine.wait(name, state)
            machine.until_true(lambda: STARTS.items() <= launched(machine).items(), f"{STARTS}")
            found = marks(machine)
            if "plan" in found:
                up = {u["key"]: u["up_ns"] for u in machine.call("BootReport")["units"]}
                assert found["plan"] < min(up["plain"], up["asks"]) < found["imports"] < up["told"]
            wait_for_plan(machine)
            machine.sh(before_off)
            console = machine.power("off")
        assert "unboxed: cannot" not in console, console
        return found, console


def planned(life: Life) -> dict[str, int]:
    """Until there is a plan that is used: the marks of a boot that used it."""
    first, _ = life.once()
    assert "plan" not in first
    second, console = life.once()
    assert second["plan"] < second["interpreter"], console
    return second


def test_a_plan_is_used_while_what_it_was_made_from_is_the_same(tmp_path: Path) -> None:
    asker = f"{UNBOXED} status plain >/dev/console; echo asked $? >/dev/console"
    life = Life(tmp_path, {**FLAT, "asker": task("asker", first=asker + "; ")})
    planned(life)
    life.units["plain"] = service("plain", 'env = {NEW = "1"}\n')  # and it is what runs
    changed, _ = life.once("grep -qz NEW=1 /proc/$(cat /run/starts/plain)/environ")
    assert "plan" not in changed
    again, console = life.once("touch /etc/gone")
    assert again["plan"] < again["interpreter"]
    assert "asked 0" in console  # it waited until there was somebody to ask
    with life.boot() as machine:  # a condition does not hold any more
        machine.wait("told", "running")
        assert "plan" not in marks(machine)
        assert machine.rows()["asks"]["state"] != "running"
        assert launched(machine).get("asks", 0) == 0
        machine.power("off")


def test_a_manager_killed_before_it_wrote_anything_down_is_followed_by_one_that_knows(
    tmp_path: Path
) -> None:
    life = Life(tmp_path, FLAT)
    found = planned(life)
    whole_ms = (found["begun"] - found["keeper"]) // 1_000_000
    killed = 0
    for share in (0.05, 0.4, 0.8, 0.95):
        _, console = life.once(kill=f"{int(whole_ms * share)},0,1")
        killed += console.count("KILLED")
        assert "killing" not in console, console
    assert killed >= 3  # the last may have found it up
