"""The power goes while a machine runs, or at any moment of its shutdown (fault 35): the next boot
is like any other, and what was logged can be read."""
from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from tests.vm.booted import (
    UNBOXED,
    Booted,
    needs_disk,
    on_disk,
    root_image,
)
from tests.vm.household import UNITS, assert_stopped_in_order, assert_whole, settled
from tests.vm.machine import needs_machine

CUTS = 7  # the first one while it runs
LAST_S = 0.9  # after the request; whole, it takes about as long
TALKER = (
    "trap 'echo said while stopping' TERM\n"
    "n=0; while :; do n=$((n + 1)); echo life {life} line $n; sleep 0.01; done"
)


def talker(life: int) -> str:
    words = ["/bin/sh", "-c", TALKER.format(life=life)]
    return f'command = {json.dumps(words)}\nsandbox.level = "off"\nstop.ladder = ["TERM", "1s"]\n'


@needs_machine
@needs_disk
@pytest.mark.slow
def test_f35_a_power_cut_costs_no_unit_and_no_log(tmp_path: Path) -> None:
    root = root_image(tmp_path)
    safe: dict[int, int] = {}
    console = ""
    for life in range(CUTS + 1):
        units = {**UNITS, "talker": talker(life)}
        with Booted(tmp_path / str(life), units, root=root, args=on_disk()) as machine:
            settled(machine, {"talker": "running"})
            lines = machine.sh(f"{UNBOXED} logs talker").splitlines()
            machine.sh("sync")
            check(lines, safe)
            safe[life] = len(numbers(lines, life))
            assert "EXT4-fs error" not in machine.console()
            if life == 0:
                continue
            if life < CUTS:
                machine.ask_power("off")
                time.sleep(LAST_S * (life - 1) / (CUTS - 2))
            else:
                console = machine.power("off")
    assert_stopped_in_order(console)
    assert_whole(root)


def numbers(lines: list[str], life: int) -> list[int]:
    """Of that life's lines. The last one may be torn, and is left out."""
    found = [re.search(f"life {life} line ([0-9]+)", line) for line in lines]
    return [int(one[1]) for one in found if one][:-1]


def check(lines: list[str], safe: dict[int, int]) -> None:
    """Each earlier life's lines are there from the first to at least the last one that was seen
    before, one after the other."""
    for life, least in safe.items():
        found = numbers(lines, life)
        assert found == list(range(1, len(found) + 1)), f"life {life}: {found}"
        assert len(found) >= least, f"life {life}: {len(found)} of {least} lines"
