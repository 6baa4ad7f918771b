"""Fault 29: /dev, /proc and /run are not there at boot, in any combination, on a root that can be
written to and on one that cannot. The machine is up all the same, or says why not in a shell."""
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import pytest

from tests.vm.booted import Booted, needs_disk, root_image
from tests.vm.machine import needs_machine

DIRECTORIES = ("dev", "proc", "run")
COMBINATIONS = [each for count in (1, 2, 3) for each in combinations(DIRECTORIES, count)]
AT_ONCE = 2
# It says so on what PID 1 itself has.
WEB = """
command = ["/bin/sh", "-c", "echo '<web is up>'; exec sleep 1000"]
sandbox.level = "off"
logs.to = "inherit"
"""
ENDS = {"<web is up>": "up", "rescue shell: ": "rescue"}


def comes_up(
    home: Path, without: tuple[str, ...], disk_flags: str = "", patience_s: float = 0
) -> str:
    """How far it comes."""
    home.mkdir()
    root = root_image(home, without=without)
    made = Booted(
        home / "life", {"web": WEB}, root=root, disk_flags=disk_flags, patience_s=patience_s
    )
    with made as machine:
        machine.until_true(lambda: any(end in machine.console() for end in ENDS), "known end")
        return next(word for end, word in ENDS.items() if end in machine.console())


@needs_machine
@needs_disk
@pytest.mark.slow
def test_f29_a_machine_without_some_of_its_directories_comes_up(tmp_path: Path) -> None:
    def one(without: tuple[str, ...]) -> str:
        return comes_up(tmp_path / "-".join(without), without)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(zip(COMBINATIONS, pool.map(one, COMBINATIONS), strict=True))
    assert found == dict.fromkeys(COMBINATIONS, "up")


@needs_machine
@needs_disk
@pytest.mark.slow
@pytest.mark.parametrize("without", [
    ("dev",), ("proc",), ("run",), DIRECTORIES,
], ids="-".join)  # fmt: skip
def test_f29_on_a_root_that_nobody_can_write_to_it_is_up_or_says_why_not(
    without: tuple[str, ...], tmp_path: Path
) -> None:
    assert comes_up(tmp_path / "home", without, "r", patience_s=40)
