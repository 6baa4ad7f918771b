"""Fault 30: the logger is killed 1,000 times while 100 MB of numbered lines go through it."""
from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from supervisor.logger.form import ENTRY, ERROR, OUTPUT, RECOVERED
from supervisor.logger.read import records
from tests.logger_kit import FakeKeeper, arrivals, content, ended, segments, wait_until, writer

KILLS = 1000
LINES = 1_000_000  # of 100 bytes
BATCH = 50


def lines() -> Iterator[bytes]:
    """Some by one write each, as most programs do, some by large ones."""
    for begin in range(0, LINES, BATCH):
        batch = [b"%099d\n" % number for number in range(begin, begin + BATCH)]
        if begin // BATCH % 2:
            yield b"".join(batch)
        else:
            yield from batch


def size(directory: Path) -> int:
    found = segments(directory)
    return int(found[-1].name[:16], 16) + found[-1].stat().st_size if found else 0


def wait_for_size(directory: Path, bytes_: int) -> None:
    wait_until(lambda: size(directory) >= bytes_)


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_f30_a_thousand_kills_lose_no_byte_and_tear_no_line(tmp_path: Path) -> None:
    chance = random.Random(30)
    directory = tmp_path / "log" / "web"
    kills = 0
    # Small segments, so that loggers die while they rotate, too.
    with FakeKeeper(tmp_path / "log", f"keep={1 << 30} segment={256 << 10}") as keeper:
        end = keeper.stream("web")
        with writer(end, lines) as pid:
            while kills < KILLS:
                before = size(directory)
                keeper.start()
                # Let each do about its share, and die at an instant of chance's choice: after some
                # bytes, or while it starts.
                share = before + chance.randrange(2 * LINES * 100 // KILLS) if kills % 20 else 0
                wait_for_size(directory, min(share, LINES * 100))
                time.sleep(chance.random() * 0.002)
                keeper.kill()
                kills += 1
            keeper.start()
            assert ended(pid, 60)
        assert keeper.finish() == 0

        index = b"".join(path.read_bytes() for path in sorted(directory.glob("*.idx")))
        offset = last_ns = recovered = 0
        for time_ns, begin, length, stream, flags in ENTRY.iter_unpack(index):
            assert (begin, stream) == (offset, 1)
            assert time_ns >= last_ns
            offset, last_ns = begin + length, time_ns
            recovered += flags & RECOVERED

    stored = b"".join(content(path) for path in segments(directory))
    assert len(stored) == LINES * 100
    last = int(segments(directory)[-1].name[:16], 16)
    assert offset >= last, "bytes have no entry if their logger was killed, and none came after"
    for number in range(LINES):
        assert stored[number * 100 : number * 100 + 100] == b"%099d\n" % number
    read = (int(line) for _, _, _, line, _, _ in records(str(tmp_path / "log")))
    assert all(number == expected for expected, number in enumerate(read))
    print(f"{kills} kills, {recovered} arrivals noted by a successor")


def test_f30_what_a_killed_logger_had_no_time_to_note_is_of_its_pipe(tmp_path: Path) -> None:
    """Two pipes of one unit: all that came through each is there, as its own and in order."""
    chance, web, count = random.Random(31), tmp_path / "log" / "web", 30_000
    kinds = {OUTPUT: ("web", b"out "), ERROR: ("web!err", b"err ")}
    with FakeKeeper(tmp_path / "log", f"keep={1 << 30} segment={64 << 10} compress=0") as keeper:
        with ExitStack() as units:
            pids = []
            for name, word in kinds.values():
                made = partial(said, word, count)
                pids.append(units.enter_context(writer(keeper.stream(name), made)))
            for _ in range(40):
                keeper.start()
                time.sleep(0.03 + chance.random() * 0.04)
                keeper.kill()
            keeper.start()
            assert all(ended(pid, 30) for pid in pids)
        assert keeper.finish() == 0
    found = {OUTPUT: b"", ERROR: b""}
    for kind, data in arrivals(web):
        found[kind] += data
    for kind, (_, word) in kinds.items():
        assert found[kind] == b"".join(said(word, count))


def said(word: bytes, count: int) -> Iterator[bytes]:
    for number in range(count):
        yield b"%s%095d\n" % (word, number)
