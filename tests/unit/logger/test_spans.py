"""Which segments are opened: as few as may hold what is asked for."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from supervisor.logger import spans
from supervisor.logger.form import OUTPUT
from supervisor.logger.read import records
from supervisor.logger.segment import Segment
from tests.unit.logger.made import make

S = 10**9
T = 1_800_000_000 * S
SEGMENTS = 60


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A minute of one line a second, each in a segment of its own; and which are asked for."""
    make(tmp_path, "web", [(T + n * S, OUTPUT, b"line %02d\n" % n) for n in range(SEGMENTS)],
         cuts=range(SEGMENTS))
    found: list[int] = []

    class Counted(Segment):
        def __init__(self, directory: str, start: int) -> None:
            found.append(start // 8)
            super().__init__(directory, start)

    monkeypatch.setattr(spans, "Segment", Counted)
    return found


def numbers(logdir: Path, **limits: int) -> list[int]:
    return [int(r[3][5:]) for r in records(str(logdir), **limits)]  # type: ignore[arg-type]


def test_those_that_were_written_before_are_not_opened(tmp_path: Path, opened: list[int]) -> None:
    assert numbers(tmp_path, since_ns=T + 55 * S) == [55, 56, 57, 58, 59]
    assert min(opened) >= 49  # some seconds of tolerance
    opened.clear()
    assert numbers(tmp_path, since_ns=T + 61 * S) == []
    assert len(opened) <= 6


def test_for_the_last_lines_the_oldest_are_not_opened(tmp_path: Path, opened: list[int]) -> None:
    assert numbers(tmp_path, last_n=3) == [57, 58, 59]
    assert min(opened) >= 55
    opened.clear()
    assert [r[3] for r in records(str(tmp_path), last_n=1, keep=lambda r: b"50" in r[3])] == [
        b"line 50"]
    assert min(opened) >= 48


def test_the_first_line_comes_before_later_segments_are_opened(
    tmp_path: Path, opened: list[int]
) -> None:
    assert next(records(str(tmp_path)))[3] == b"line 00"
    assert max(opened) <= 1


def test_files_that_are_dated_by_another_clock_hide_nothing(
    tmp_path: Path, opened: list[int]
) -> None:
    for number, path in enumerate(sorted(tmp_path.glob("*/*.idx"))):
        at = T + (number - 3600) * S
        os.utime(path, ns=(at, at))
    assert numbers(tmp_path, since_ns=T + 58 * S) == [58, 59]
    assert opened


def test_an_index_that_was_touched_later_hides_nothing(tmp_path: Path, opened: list[int]) -> None:
    for path in tmp_path.glob("*/*.idx"):
        os.utime(path, ns=(T + 999 * S, T + 999 * S))
    assert numbers(tmp_path, since_ns=T + 58 * S) == [58, 59]
    assert len(opened) >= SEGMENTS


def test_of_several_streams_only_those_with_the_last_lines_are_read_back(
    tmp_path: Path, opened: list[int]
) -> None:
    for name in "abc":
        make(tmp_path, name, [(T - n * S, OUTPUT, b"older\n") for n in range(9, 0, -1)],
             cuts=range(9))
    make(tmp_path, "zzz", [(T + 100 * S, OUTPUT, b"line 99\n")])
    assert numbers(tmp_path, last_n=2) == [59, 99]
    assert len(opened) < 40  # of 88
