"""The manager is killed at every stage of a boot and of a shutdown: both come to the same end."""
from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.vm.booted import Booted, needs_disk, on_disk, root_image
from tests.vm.household import UNITS, assert_stopped_in_order, assert_whole, settled
from tests.vm.machine import needs_machine

STAGES = 16  # of each; evenly from the first moment to a little after the last
AT_ONCE = 2
LATE = 1.1  # of what an undisturbed one takes


def life(
    home: Path, image: Path, boot_ms: int | None = None, down_ms: int | None = None
) -> tuple[int, int, int]:
    """One boot and one shutdown, killed so late if at all; how many ms each took, and how many
    managers were killed."""
    kill = "" if boot_ms is None else f"{boot_ms},0,1"
    with Booted(home, UNITS, root=image, args=on_disk(), kill=kill) as machine:
        machine.until("<first>")
        began = time.monotonic()
        settled(machine)
        boot = time.monotonic() - began
        if kill:
            machine.until("KILLED")  # it may have been up already
            settled(machine)
        began = time.monotonic()
        machine.ask_power("off", kill="" if down_ms is None else f"{down_ms},0,1")
        machine.until("everything is stopped")
        down = time.monotonic() - began
        console = machine.went("off")
    assert_stopped_in_order(console)
    assert_whole(image)
    return int(boot * 1000), int(down * 1000), console.count("KILLED")


@needs_machine
@needs_disk
@pytest.mark.slow
def test_a_manager_killed_at_any_stage_of_boot_or_shutdown_changes_no_end(tmp_path: Path) -> None:
    def row(number: int) -> int:
        home = tmp_path / f"row-{number}"
        home.mkdir()
        image = root_image(home)
        boot, down, _ = life(home / "machine", image)  # and those after it begin by its plan
        killed = 0
        for stage in range(number, STAGES, AT_ONCE):
            share = LATE * stage / (STAGES - 1)
            try:
                both = int(boot * share), int(down * share)
                killed += life(home / "machine", image, *both)[2]
            except Exception as exc:
                raise AssertionError(f"killed at {share:.0%} of {boot} and {down} ms") from exc
        return killed

    with ThreadPoolExecutor(AT_ONCE) as pool:
        killed = sum(pool.map(row, range(AT_ONCE)))
    assert killed > STAGES  # the last find the manager gone, more of them the busier the host is
