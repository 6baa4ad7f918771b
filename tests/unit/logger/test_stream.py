"""What reaches the disk, and what a killed or hindered logger finds there again."""
from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.logger.form import BOOT_BYTES, ENTRY, ENTRY_BYTES, RECOVERED
from tests.unit.logger.source import MakeSource

SECOND = 1_000_000_000
YEAR = 365 * 86_400 * SECOND
T = 1_800_000_000 * SECOND
SMALL = "keep=16384 segment=4096"


def entries(directory: Path) -> list[tuple[int, int, int, int, int]]:
    found = []
    for path in sorted(directory.glob("*.idx")):
        data = path.read_bytes()
        rows = ENTRY.iter_unpack(data[: len(data) - len(data) % ENTRY_BYTES])
        found += [(*row[:4], row[4] & RECOVERED) for row in rows]  # without the boot's number
    return found


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_nothing_is_made_before_the_first_byte(source: MakeSource) -> None:
    web = source()
    assert not web.path.parent.exists()


def test_each_arrival_is_bytes_and_an_entry(source: MakeSource) -> None:
    web = source()
    web.put(b"one\ntwo\n", T)
    web.put(b"three\n", T + 5)
    assert web.stored() == b"one\ntwo\nthree\n"
    assert entries(web.path) == [(T, 0, 8, 1, 0), (T + 5, 8, 6, 1, 0)]
    assert names(web.path) == ["0000000000000000.idx", "0000000000000000.log"]


def test_an_empty_pipe_is_no_arrival(source: MakeSource) -> None:
    web = source()
    web.put(b"x", T)
    assert web.move(T + 1) == 0
    assert len(entries(web.path)) == 1


def test_others_may_not_read_what_units_write(source: MakeSource) -> None:
    web = source()
    web.put(b"secret", T)
    assert web.path.stat().st_mode & 0o007 == 0
    assert all(path.stat().st_mode & 0o007 == 0 for path in web.path.iterdir())


def test_a_new_logger_goes_on_in_the_same_segment(source: MakeSource) -> None:
    web = source()
    web.put(b"before\n", T)
    web.crash()
    web.put(b"after\n", T + 9)
    assert web.stored() == b"before\nafter\n"
    assert entries(web.path) == [(T, 0, 7, 1, 0), (T + 9, 7, 6, 1, 0)]


def test_bytes_that_were_not_noted_are_noted_by_the_next_logger(source: MakeSource) -> None:
    web = source()
    web.put(b"noted\n", T)
    segment = next(web.path.glob("*.log"))
    with segment.open("ab") as log:
        log.write(b"killed just then\n")
    os.utime(segment, ns=(T + 3, T + 3))
    web.crash()
    web.put(b"next\n", T + 8)
    assert entries(web.path) == [
        (T, 0, 6, 1, 0), (T + 3, 6, 17, 1, RECOVERED), (T + 8, 23, 5, 1, 0)
    ]


@pytest.mark.parametrize("torn", [1, 12, 23])
def test_a_torn_entry_is_replaced(source: MakeSource, torn: int) -> None:
    web = source()
    web.put(b"one\n", T)
    web.put(b"two\n", T + 1)
    index = next(web.path.glob("*.idx"))
    os.truncate(index, ENTRY_BYTES + torn)
    os.utime(next(web.path.glob("*.log")), ns=(T + 2, T + 2))
    web.crash()
    web.put(b"three\n", T + 3)
    assert entries(web.path) == [(T, 0, 4, 1, 0), (T + 2, 4, 4, 1, RECOVERED), (T + 3, 8, 6, 1, 0)]


def test_an_index_that_knows_more_than_the_disk_is_corrected(source: MakeSource) -> None:
    """After a power failure: the index was written back, the segment's last bytes were not."""
    web = source()
    for number in range(5):
        web.put(b"12345678", T + number)
    segment = next(web.path.glob("*.log"))
    os.truncate(segment, 20)
    os.utime(segment, ns=(T + 2, T + 2))
    web.crash()
    web.put(b"again", T + 9)
    assert entries(web.path) == [
        (T, 0, 8, 1, 0), (T + 1, 8, 8, 1, 0), (T + 2, 16, 4, 1, RECOVERED), (T + 9, 20, 5, 1, 0)
    ]


def test_a_segment_without_index_gets_one(source: MakeSource) -> None:
    web = source()
    web.put(b"old", T)
    next(web.path.glob("*.idx")).unlink()
    os.utime(next(web.path.glob("*.log")), ns=(T, T))
    web.crash()
    web.put(b"new", T + 1)
    # Nothing tells in which boot it came: what comes next is put behind all that it may have held.
    assert entries(web.path) == [(T, 0, 3, 1, RECOVERED), (T + 1, BOOT_BYTES, 3, 1, 0)]


def test_segments_are_adjacent_and_hold_at_most_their_size(source: MakeSource) -> None:
    web = source(options="keep=1048576 segment=4096")
    data = os.urandom(50_000)
    web.put(data, T)
    assert web.stored() == data
    starts = [int(path.stem, 16) for path in sorted(web.path.glob("*.log"))]
    sizes = [path.stat().st_size for path in sorted(web.path.glob("*.log"))]
    assert starts == [sum(sizes[:number]) for number in range(len(sizes))]
    for path in web.path.glob("*.log"):
        assert path.stat().st_size + path.with_suffix(".idx").stat().st_size <= 4096


def test_tiny_arrivals_do_not_outgrow_the_limit_by_their_index(source: MakeSource) -> None:
    web = source(options="keep=16384 segment=4096")
    for number in range(3000):
        web.put(b"x", T + number)
    assert sum(path.stat().st_size for path in web.path.iterdir()) <= 16_384
    assert b"x" * 100 in web.stored()


def test_the_oldest_segments_go_and_offsets_go_on(source: MakeSource) -> None:
    web = source(options=SMALL)
    data = os.urandom(60_000)
    for at in range(0, len(data), 1000):
        web.put(data[at : at + 1000], T + at)
        assert sum(path.stat().st_size for path in web.path.iterdir()) <= 16_384
    kept = web.stored()
    assert len(kept) > 8192
    assert data.endswith(kept)
    first = min(int(path.stem, 16) for path in web.path.glob("*.log"))
    assert first == len(data) - len(kept)


def test_an_index_whose_segment_is_gone_goes_too(source: MakeSource) -> None:
    web = source(options=SMALL)
    web.put(b"x" * 4000, T)
    next(web.path.glob("*.log")).unlink()
    web.crash()
    for number in range(10):
        web.put(b"y" * 4000, T + number)
    assert {path.stem for path in web.path.glob("*.idx")} == {
        path.stem for path in web.path.glob("*.log")
    }


@pytest.mark.parametrize("back", [2 * SECOND, YEAR])
def test_a_clock_that_is_set_back_begins_a_segment(source: MakeSource, back: int) -> None:
    web = source()
    web.put(b"future\n", T)
    web.put(b"now\n", T - back)
    web.put(b"later\n", T - back + 1)
    assert len(list(web.path.glob("*.log"))) == 2
    assert [row[0] for row in entries(web.path)] == [T, T - back, T - back + 1]
    assert web.stored() == b"future\nnow\nlater\n"


def test_a_clock_that_is_slewed_stands_still_in_the_index(source: MakeSource) -> None:
    web = source()
    web.put(b"a", T)
    web.put(b"b", T - SECOND // 2)
    assert [row[0] for row in entries(web.path)] == [T, T]
    assert len(list(web.path.glob("*.log"))) == 1


def test_a_clock_a_year_ahead_changes_nothing_but_the_time(source: MakeSource) -> None:
    web = source()
    web.put(b"a", T)
    web.put(b"b", T + YEAR)
    assert [row[0] for row in entries(web.path)] == [T, T + YEAR]


def test_bytes_stay_in_the_pipe_while_the_file_cannot_take_them(
    source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = source()
    web.put(b"before ", T)
    os.write(web.writable, b"kept")
    with monkeypatch.context() as patch:
        patch.setattr("supervisor.logger.tail.posix.splice", raising(errno.EIO))
        with pytest.raises(OSError, match="Input/output"):
            web.move(T + 1)
        assert web.stored() == b"before "
    assert web.move(T + 2) == 4
    assert web.stored() == b"before kept"


def test_bytes_whose_entry_could_not_be_written_are_noted_when_it_can(
    source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = source()
    web.put(b"before ", T)
    os.write(web.writable, b"kept")
    with monkeypatch.context() as patch:
        patch.setattr("supervisor.logger.tail.posix.pwrite", lambda *_: 7)
        with pytest.raises(OSError, match="no space"):
            web.move(T + 1)
    web.put(b" after", T + YEAR)
    assert web.stored() == b"before kept after"
    assert [row[1:3] for row in entries(web.path)] == [(0, 7), (7, 4), (11, 6)]


def raising(number: int) -> Callable[..., int]:
    def fail(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_removed_file_costs_no_byte_and_no_offset(source: MakeSource) -> None:
    web = source()
    web.put(b"gone with its file", T)
    for path in web.path.iterdir():
        path.unlink()
    web.put(b"new bytes", T + 1)
    assert web.move(T + 2) == 0
    assert web.stored() == b"new bytes"
    assert [path.name for path in web.path.glob("*.log")] == ["0000000000000012.log"]
    assert entries(web.path) == [(T + 2, 18, 9, 1, 0)]


def test_what_a_removed_file_took_goes_through_several_small_segments(source: MakeSource) -> None:
    web = source(options="keep=1048576 segment=65536")
    web.put(b"x", T)
    web.stream.options.segment_bytes = 1 << 16
    data = os.urandom(30_000)
    for path in web.path.iterdir():
        path.unlink()
    web.put(data, T + 1)
    web.stream.options.segment_bytes = 4096
    web.put(b"end", T + 2)
    assert web.stored() == data + b"end"


def test_what_a_removed_file_took_waits_for_space(
    source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = source()
    web.put(b"x", T)
    for path in web.path.iterdir():
        path.unlink()
    web.put(b"precious", T + 1)
    with monkeypatch.context() as patch:
        patch.setattr("supervisor.logger.tail.posix.sendfile", raising(errno.ENOSPC))
        for _ in range(3):
            with pytest.raises(OSError, match="No space"):
                web.move(T + 2)
    assert web.move(T + 3) == 0
    assert web.stored() == b"precious"


def test_a_directory_that_was_moved_away_is_noticed_within_a_second(
    source: MakeSource, tmp_path: Path
) -> None:
    web = source()
    web.put(b"old\n", T)
    web.path.rename(tmp_path / "elsewhere")
    web.put(b"new\n", T + SECOND)
    assert web.stored() == b"new\n"
    assert (tmp_path / "elsewhere" / "0000000000000000.log").read_bytes() == b"old\n"
    assert entries(web.path) == [(T + SECOND, 4, 4, 1, 0)]
