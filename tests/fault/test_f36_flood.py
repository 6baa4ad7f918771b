"""Fault 36: a unit that floods delays the lines of others by less than a second."""
from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor.logger.form import ENTRY
from tests.logger_kit import FakeKeeper, wait_until, writer

LINES = 150
MIB = 1 << 20


def short_lines() -> Iterator[bytes]:
    while True:
        yield b"x" * 99 + b"\n"


def large_writes() -> Iterator[bytes]:
    block = (b"x" * 99 + b"\n") * 655
    while True:
        yield block


def delays(log: Path, end: int, pause_s: float) -> list[float]:
    """Milliseconds from each write of a line to the arrival that stored it."""
    written = []
    for number in range(LINES):
        written.append(time.time_ns())
        os.write(end, b"%07d\n" % number)
        time.sleep(pause_s)  # the rate of a unit that says something now and then

    def stored() -> bytes:
        return b"".join(path.read_bytes() for path in sorted(log.glob("*.idx")))

    wait_until(lambda: sum(row[2] for row in ENTRY.iter_unpack(stored())) == LINES * 8)
    arrived: list[int] = []
    for time_ns, _, length, _, _ in ENTRY.iter_unpack(stored()):
        arrived += [time_ns] * (length // 8)
    return sorted((came - went) / 1e6 for went, came in zip(written, arrived, strict=True))


@pytest.mark.parametrize("flood", [short_lines, large_writes])
def test_f36_a_flood_hardly_delays_others(
    tmp_path: Path, flood: Callable[[], Iterator[bytes]]
) -> None:
    with FakeKeeper(tmp_path / "log", f"keep={64 * MIB} segment={8 * MIB}") as keeper:
        keeper.start()
        loud, quiet = keeper.stream("loud"), keeper.stream("quiet")
        with writer(loud, flood):
            wait_until((tmp_path / "log" / "loud").exists)
            found = delays(tmp_path / "log" / "quiet", quiet, 0.01)
    print(f"median {found[LINES // 2]:.1f} ms, worst {found[-1]:.1f} ms")
    assert found[-1] < 1000
    assert found[LINES * 9 // 10] < 50


def test_f36_ten_floods_neither(tmp_path: Path) -> None:
    with FakeKeeper(tmp_path / "log", f"keep={16 * MIB} segment={4 * MIB}") as keeper:
        keeper.start()
        quiet = keeper.stream("quiet")
        loud = [keeper.stream(f"loud-{number}") for number in range(10)]


        def everywhere() -> Iterator[bytes]:
            """One process writes to all: the logger is measured, not the number of CPUs."""
            block = b"x" * 4096
            while True:
                for end in loud:
                    os.write(end, block)
                yield b""

        with writer(quiet, everywhere):
            wait_until(lambda: len(list(tmp_path.glob("log/loud-*"))) == len(loud))
            found = delays(tmp_path / "log" / "quiet", quiet, 0.01)
    print(f"ten floods: median {found[LINES // 2]:.1f} ms, worst {found[-1]:.1f} ms")
    assert found[-1] < 1000
    assert found[LINES * 9 // 10] < 50
