"""A machine's second boot starts what the first one started first, before its manager is up."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.vm.booted import Booted, needs_disk, on_disk, root_image
from tests.vm.household import SERVICES, UNITS, assert_whole, facts, service, settled, task
from tests.vm.machine import needs_machine

PLAN = "/var/lib/unboxed/boot-plan"
EARLY = "is_early=$(date +%s%N); echo $is_early >>/run/early; "
# Nothing goes before all others: services are the first wave.
FLAT = {
    "plain": service("plain"),
    "second": service("second", "instances = 2\n"),
    "once": task("once"),
    "asks": service("asks", 'conditions.path_exists = ["/etc/passwd", "!/etc/gone"]\n'),
    "told": service("told", 'start.ready = "fd:3"\n', ready="echo >&3; "),
    "later": service("later", 'needs.requires = ["once"]\n'),
    "nobody": service("nobody", 'user = "nobody"\n'),
}

pytestmark = [needs_machine, needs_disk, pytest.mark.slow]


def marks(machine: Booted) -> dict[str, int]:
    return {step["name"]: step["done_ns"] for step in machine.call("BootReport")["steps"]}


def launched(machine: Booted) -> dict[str, int]:
    """Unit -> how often it said that it starts, in this boot."""
    said = machine.sh("cd /run/starts; wc -l *")
    return {name: int(n) for n, name in re.findall(r"(\d+) (\w+)$", said, re.MULTILINE)
            if name != "total"}


class Life:
    """One machine after another on the same disk."""

    def __init__(self, home: Path, units: dict[str, str]) -> None:
        self.home = home
        self.units = dict(units)
        self.image = root_image(home)

    def boot(self, **more: Any) -> Booted:
        return Booted(self.home / "machine", self.units, root=self.image, args=on_disk(), **more)


def test_second_boot_starts_by_the_plan_and_is_like_the_first(tmp_path: Path) -> None:
    life = Life(tmp_path, UNITS)
    states = []
    for number in range(3):
        with life.boot() as machine:
            rows = settled(machine)
            found = marks(machine)
            assert ("plan" in found) == bool(number), found
            if number:
                assert found["plan"] < found["interpreter"]
                assert "killing" not in machine.console()
            machine.until_true(lambda machine=machine: machine.sh(f"ls {PLAN} || true"), "a plan")
            states.append((facts(machine), {key: row["state"] for key, row in rows.items()}))
            console = machine.power("off")
        assert sorted(re.findall("<stop (.*?)>", console)) == sorted(SERVICES)
        assert_whole(life.image)
    assert states[1] == states[0]
    assert states[2] == states[0]
