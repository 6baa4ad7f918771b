"""Thirty boots in a row, on disks that are used again and again: one is like the other, begun by a
plan or not."""
from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.vm.booted import Booted, needs_disk, on_disk, root_image
from tests.vm.household import (
    PLAN,
    UNITS,
    assert_stopped_in_order,
    assert_whole,
    facts,
    marks,
    settled,
)
from tests.vm.machine import needs_machine

BOOTS = 30
AT_ONCE = 2
CHANCE = ("unboxed logger: ", "unboxed: powering off: waiting for ")
NUMBERS = re.compile(r"\bpid \d+|\d+\.\d+")


def words(console: str) -> list[str]:
    """What was said, whatever process said it and when; what happens at once has no order.
    Whether the logger met the disk before it could be written to is chance, and on a busy host a
    stop may take as long as it takes until that is told."""
    lines = (NUMBERS.sub("N", line) for line in console.splitlines())
    return sorted(line for line in lines if not line.startswith(CHANCE))


def life(home: Path, image: Path, *, planned: bool) -> tuple[str, list[str]]:
    """One boot; `planned`: an earlier one on that disk left a plan, by which this one begins."""
    with Booted(home, UNITS, root=image, args=on_disk()) as machine:
        settled(machine)
        found = facts(machine)
        assert ("plan" in marks(machine)) == planned
        machine.sh(f"until test -e {PLAN}; do sleep 0.05; done")
        console = machine.power("off")
    assert_stopped_in_order(console)
    assert_whole(image)
    return found, words(console)


@needs_machine
@needs_disk
@pytest.mark.slow
def test_thirty_boots_in_a_row_are_all_alike(tmp_path: Path) -> None:
    def row(number: int) -> list[tuple[str, list[str]]]:
        home = tmp_path / f"row-{number}"
        home.mkdir()
        image = root_image(home)
        return [life(home / "machine", image, planned=boot > 0) for boot in range(BOOTS // AT_ONCE)]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = [one for each in pool.map(row, range(AT_ONCE)) for one in each]
    assert len(found) == BOOTS
    for state, said in found:
        assert state == found[0][0]
        assert said == found[0][1]
