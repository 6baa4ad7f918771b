"""Fault 32: storage that takes long. A unit that may not lose anything waits; one with `on_full =
"drop"` hardly does, and each byte is stored or counted. Nobody else waits for either."""
from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.logger_kit import FakeKeeper, check_all, ended, numbered, wait_until, writer
from tests.stack import Stack

LINES = 20_000  # of 100 bytes
LAG_MS = 50
SLOW_S = 0.08  # for each write of up to 128 KiB

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK), reason="mounts FUSE"
)


def hurried_lines() -> Iterator[bytes]:
    """Some megabytes a second."""
    for number in range(0, 4 * LINES, 40):
        yield numbered(number * 100, 4000)
        time.sleep(0.001)


class Disk:
    """`wrapper`: a command that has its arguments see the disk."""

    def __init__(self, home: Path) -> None:
        self.path = home / "log"
        self.path.mkdir()
        self._seconds = home / "seconds"
        self.set(0.0)
        program = str(Path(__file__).with_name("slow_fuse.py"))
        self.server = subprocess.Popen(
            ["unshare", "-m", sys.executable, program, str(self.path), str(self._seconds)],
            stdout=subprocess.PIPE,
        )
        assert self.server.stdout is not None
        assert self.server.stdout.readline() == b"mounted\n"
        self.wrapper = ("nsenter", f"--mount=/proc/{self.server.pid}/ns/mnt", "--")
        self.seen = Path(f"/proc/{self.server.pid}/root{self.path}")

    def set(self, seconds: float) -> None:
        fresh = self._seconds.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.rename(self._seconds)

    def close(self) -> None:
        self.set(0.0)
        self.server.kill()
        self.server.wait()
        assert self.server.stdout is not None
        self.server.stdout.close()


@contextmanager
def disk_of(home: Path) -> Iterator[Disk]:
    disk = Disk(home)
    try:
        yield disk
    finally:
        disk.close()


@pytest.mark.parametrize("full", ["block", "drop"])
def test_f32_a_slow_disk_costs_time_or_bytes_and_all_are_accounted_for(
    tmp_path: Path, full: str
) -> None:
    options = f"keep={1 << 30} segment={1 << 24} compress=0 full={full}"
    with disk_of(tmp_path) as disk, FakeKeeper(
        disk.path, options, runtime=tmp_path / "rt", more=["--budget", "0"]
    ) as keeper:
        keeper.start(*disk.wrapper)
        end = keeper.stream("web")
        os.write(end, numbered(0, 100))
        wait_until((disk.seen / "web").exists)
        disk.set(SLOW_S)
        began = time.monotonic()
        with writer(end, lambda: (b"%099d\n" % n for n in range(1, LINES))) as pid:
            assert ended(pid, 40)
        took = time.monotonic() - began
        disk.set(0.0)
        assert keeper.finish() == 0
        written, lost = check_all(disk.seen / "web", numbered)
        print(f"{full}: {took:.2f} s, {lost} bytes lost")
        assert written == LINES * 100
        if full == "block":
            assert lost == 0
            assert took > SLOW_S * LINES * 100 / (1 << 20), "it was slow indeed"
        else:
            assert lost > 0


def test_f32_what_a_killed_logger_dropped_is_declared_by_the_next(tmp_path: Path) -> None:
    options = f"keep={1 << 30} segment={1 << 18} compress=0 full=drop"
    with disk_of(tmp_path) as disk, FakeKeeper(
        disk.path, options, runtime=tmp_path / "rt", more=["--budget", "0"]
    ) as keeper:
        keeper.start(*disk.wrapper)
        end = keeper.stream("web")
        disk.set(SLOW_S)
        kills, chance = 0, random.Random(32)
        with writer(end, hurried_lines) as pid:
            while not ended(pid, 0.3 + chance.random() / 2):
                keeper.kill()
                keeper.start(*disk.wrapper)
                kills += 1
        disk.set(0.0)
        assert keeper.finish() == 0
        written, lost = check_all(disk.seen / "web", numbered)
        print(f"{kills} kills, {lost} bytes lost")
        assert written == 4 * LINES * 100
        assert lost > 0
        assert not list((tmp_path / "rt" / "logger").glob("*"))


def slowest_ms(stack: Stack) -> float:
    """Of ten starts, each of which takes the keeper, until their end is told."""
    found = []
    for _ in range(10):
        began = time.monotonic()
        stack.call("Start", units=["quick"], wait=True)
        found.append((time.monotonic() - began) * 1000)
    return max(found)


@pytest.mark.parametrize("full", ["block", "drop"])
def test_f32_the_first_process_does_not_wait_for_a_slow_disk(tmp_path: Path, full: str) -> None:
    flood = f'command = ["/usr/bin/yes"]\nautostart = false\nlogs.on_full = "{full}"\n'
    quick = 'command = ["/bin/true"]\nkind = "task"\nautostart = false\nlogs.to = "null"\n'
    with disk_of(tmp_path) as disk:
        with Stack(tmp_path, {"flood": flood, "quick": quick}, prefix=disk.wrapper) as stack:
            stack.call("Start", units=["flood"], wait=True)
            wait_until((disk.seen / "flood").exists)
            told, waits = [], True
            for _ in range(3):  # a machine with other work may stop any process for as long
                disk.set(0.0)
                fast = slowest_ms(stack)
                disk.set(SLOW_S)
                slow = slowest_ms(stack)
                told.append(f"a start takes {fast:.1f} ms at most, {slow:.1f} while it is slow")
                waits = slow >= fast + LAG_MS
                if not waits:
                    break
            print(f"{full}: {told}")
            stack.call("Stop", units=["flood"], wait=True)
            disk.set(0.0)
        assert not waits, told
