"""The reader against a naive model of what was written, and what crashes leave behind."""
from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.logger import read
from supervisor.logger.form import ENTRY_BYTES
from supervisor.logger.lines import PIECE_BYTES, Record
from supervisor.logger.read import matches, records, streams
from tests.unit.logger.source import MakeSource, Source

SECOND = 1_000_000_000
T = 1_800_000_000 * SECOND


def lines(logdir: Path, *patterns: str, **limits: int | None) -> list[bytes]:
    return [record[3] for record in records(str(logdir), patterns, **limits)]  # type: ignore[arg-type]


def model(arrivals: list[tuple[int, bytes]], key: str) -> list[Record]:
    """What a reader must find, computed byte by byte."""
    found: list[Record] = []
    line, begun, begin, at = b"", -1, 0, 0
    for time_ns, data in arrivals:
        for byte in data:
            if begun < 0:
                begun, begin = time_ns, at
            at += 1
            if byte == 10:
                found.append((begun, key, 1, line, begin, at))
                line, begun = b"", -1
            else:
                line += bytes([byte])
    if line:
        found.append((begun, key, 1, line, begin, at))
    return found


chunks = st.lists(
    st.tuples(
        st.integers(0, 3),  # seconds since the last arrival
        st.sampled_from([
            b"a", b"bc", b"\n", b"\n\n", b"one\n", b"two\nthr", b"x" * 700, b"y" * 3000 + b"\n",
        ]),
    ),
    max_size=40,
)


@contextlib.contextmanager
def written(
    logdir: Path, rows: list[tuple[int, bytes]], key: str = "web", start_ns: int = T
) -> Iterator[list[tuple[int, bytes]]]:
    """A stream in small segments; yields [(time, bytes)] as they came."""
    arrivals: list[tuple[int, bytes]] = []
    with pytest.MonkeyPatch.context() as patch:
        made = Source(logdir, key, "keep=1000000000 segment=4096", patch)
        now_ns = start_ns
        for step, data in rows:
            now_ns += step * SECOND
            made.put(data, now_ns)
            arrivals.append((now_ns, data))
        try:
            yield arrivals
        finally:
            made.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(chunks, st.integers(-2, 60), st.integers(-2, 60), st.integers(0, 30))
def test_lines_are_those_of_the_stream_whatever_cut_them(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, bytes]], since: int, length: int, last: int,
) -> None:
    logdir = tmp_path_factory.mktemp("read") / "log"
    with written(logdir, rows) as arrivals:
        expected = model(arrivals, "web")
        assert list(records(str(logdir))) == expected
        assert list(records(str(logdir), last_n=last)) == (expected[-last:] if last else [])
        begin, end = T + since * SECOND, T + (since + length) * SECOND
        inside = [record for record in expected if begin <= record[0] <= end]
        assert list(records(str(logdir), since_ns=begin, until_ns=end)) == inside
        some = list(records(str(logdir), since_ns=begin, until_ns=end, last_n=last))
        assert some == (inside[-last:] if last else [])
        assert list(records(str(logdir), since_ns=begin)) == [
            record for record in expected if begin <= record[0]
        ]


def test_several_units_are_merged_by_time(source: MakeSource, logdir: Path) -> None:
    web, db = source("web/0"), None
    db = source("db", share=web)
    for number in range(20):
        (web if number % 3 else db).put(b"line %d\n" % number, T + number)
    assert lines(logdir) == [b"line %d" % number for number in range(20)]
    assert lines(logdir, last_n=4) == [b"line %d" % number for number in range(16, 20)]
    assert {record[1] for record in records(str(logdir))} == {"web/0", "db"}


def test_streams_are_the_directories_of_the_log_directory(
    source: MakeSource, logdir: Path
) -> None:
    assert streams(str(logdir)) == []
    assert lines(logdir) == []
    web = source("web/1")
    web.put(b"x\n", T)
    (logdir / "file").write_text("no stream")
    (logdir / ".web.moved-1").mkdir()
    (logdir / "link").symlink_to(web.path)
    (logdir / "db").mkdir()
    assert streams(str(logdir)) == ["db", "web/1"]
    assert lines(logdir, "db") == []


@pytest.mark.parametrize(
    "key, patterns, expected",
    [
        ("web/0", [], True),
        ("web/0", ["web"], True),
        ("web/0", ["web/0"], True),
        ("web/0", ["web/1"], False),
        ("web/0", ["w*"], True),
        ("web/0", ["web/[01]"], True),
        ("website", ["web"], False),
        ("db", ["web", "d?"], True),
        ("db", ["[!d]*"], False),
    ],
)
def test_patterns(key: str, patterns: list[str], expected: bool) -> None:
    assert matches(key, patterns) is expected


def test_a_line_has_the_time_of_its_first_byte(source: MakeSource, logdir: Path) -> None:
    web = source("web")
    web.put(b"begun ", T)
    web.put(b"ended\nnext", T + 7)
    assert list(records(str(logdir))) == [
        (T, "web", 1, b"begun ended", 0, 12), (T + 7, "web", 1, b"next", 12, 16)]
    assert lines(logdir, until_ns=T) == [b"begun ended"]
    assert lines(logdir, since_ns=T + 1) == [b"next"]


def test_a_long_line_comes_in_pieces(source: MakeSource, logdir: Path) -> None:
    web = source("web")
    line = bytes(range(32, 127)) * 2000
    for at in range(0, len(line), 50_000):
        web.put(line[at : at + 50_000], T + at)
    web.put(b"\nshort\n", T + len(line))
    found = list(records(str(logdir)))
    assert b"".join(record[3] for record in found[:-1]) == line
    sizes = [len(record[3]) for record in found[:-1]]
    assert sizes == [PIECE_BYTES, PIECE_BYTES, len(line) % PIECE_BYTES]
    assert {record[0] for record in found[:-1]} == {T}
    assert found[-1][3] == b"short"


def test_a_line_of_exactly_a_piece_is_one_line(source: MakeSource, logdir: Path) -> None:
    web = source("web")
    web.put(b"x" * PIECE_BYTES, T)
    web.put(b"\nnext\n", T + 1)
    assert [len(line) for line in lines(logdir)] == [PIECE_BYTES, 4]


def test_the_last_lines_are_found_without_reading_the_rest(
    source: MakeSource, logdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = source("web")
    for number in range(200):
        web.put(b"%060d\n" % number * 800, T + number)
    read_bytes = 0
    true_read = os.pread

    def counted(fd: int, length: int, offset: int) -> bytes:
        nonlocal read_bytes
        data = true_read(fd, length, offset)
        read_bytes += len(data)
        return data

    monkeypatch.setattr("supervisor.logger.segment.os.pread", counted)
    assert lines(logdir, last_n=5) == [b"%060d" % 199] * 5
    assert read_bytes < 100_000
    read_bytes = 0
    assert len(lines(logdir, since_ns=T + 199)) == 800
    assert read_bytes < 200_000


def test_the_end_of_a_line_without_end_is_found_without_reading_it_all(
    source: MakeSource, logdir: Path
) -> None:
    web = source("web")
    for number in range(64):
        web.put(b"z" * 65_536, T + number)
    assert [len(line) for line in lines(logdir, last_n=2)] == [PIECE_BYTES] * 2


def test_unnoted_bytes_are_read_with_the_time_of_the_file(source: MakeSource, logdir: Path) -> None:
    web = source("web")
    web.put(b"noted\n", T)
    segment = next(web.path.glob("*.log"))
    with segment.open("ab") as log:
        log.write(b"not noted\n")
    os.utime(segment, ns=(T + 5, T + 5))
    assert list(records(str(logdir))) == [
        (T, "web", 1, b"noted", 0, 6), (T + 5, "web", 1, b"not noted", 6, 16)]
    assert lines(logdir, since_ns=T + 1) == [b"not noted"]


@pytest.mark.parametrize("left", [0, 5, ENTRY_BYTES, ENTRY_BYTES + 23, None])
def test_a_torn_or_missing_index_hides_nothing(
    source: MakeSource, logdir: Path, left: int | None
) -> None:
    web = source("web")
    for number in range(4):
        web.put(b"line %d\n" % number, T + number)
    index = next(web.path.glob("*.idx"))
    if left is None:
        index.unlink()
    else:
        os.truncate(index, left)
    assert lines(logdir) == [b"line %d" % number for number in range(4)]


def test_an_index_that_knows_more_than_the_segment_holds_is_harmless(
    source: MakeSource, logdir: Path
) -> None:
    web = source("web")
    for number in range(4):
        web.put(b"line %d\n" % number, T + number)
    os.truncate(next(web.path.glob("*.log")), 10)
    assert lines(logdir) == [b"line 0", b"lin"]
    assert lines(logdir, last_n=1) == [b"lin"]
    assert lines(logdir, since_ns=T + 1) == [b"lin"]


def test_a_clock_that_was_set_back_hides_nothing(source: MakeSource, logdir: Path) -> None:
    web = source("web")
    for number in range(5):
        web.put(b"ahead %d\n" % number, T + 3600 * SECOND + number)
    for number in range(5):
        web.put(b"right %d\n" % number, T + number * SECOND)
    assert len(lines(logdir)) == 10
    right = [b"right %d" % number for number in range(1, 4)]
    assert lines(logdir, since_ns=T + SECOND, until_ns=T + 3 * SECOND) == right
    assert lines(logdir, since_ns=T + 3600 * SECOND + 3) == [b"ahead 3", b"ahead 4"]
    assert lines(logdir, last_n=2) == [b"right 3", b"right 4"]


def test_expiry_while_reading_leaves_out_what_is_gone(source: MakeSource, logdir: Path) -> None:
    web = source("web", options="keep=1000000000 segment=4096")
    for number in range(1000):
        web.put(b"%099d\n" % number, T + number)
    reading = records(str(logdir))
    first = [next(reading)[3] for _ in range(10)]
    for path in sorted(web.path.iterdir())[:20]:
        path.unlink()
    rest = [record[3] for record in reading]
    numbers = [int(line) for line in (*first, *rest) if len(line) == 99]
    assert numbers[:10] == list(range(10))
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 999
    assert len(numbers) > 600


def test_a_log_directory_that_vanishes_while_reading_ends_it(
    source: MakeSource, logdir: Path
) -> None:
    web = source("web", options="keep=1000000000 segment=4096")
    for number in range(1000):
        web.put(b"%099d\n" % number, T + number)
    reading = records(str(logdir))
    next(reading)
    for path in web.path.iterdir():
        path.unlink()
    web.path.rmdir()
    assert len(list(reading)) < 100


def test_reading_ends_though_more_is_written_meanwhile(source: MakeSource, logdir: Path) -> None:
    web = source("web")
    web.put(b"old\n" * 1000, T)
    count = 0
    for _ in records(str(logdir)):
        web.put(b"new\n", T + 1)
        count += 1
    assert count == 1000


def test_many_streams_are_read_with_little_memory_and_closed(
    source: MakeSource, logdir: Path
) -> None:
    first = source("unit-0")
    first.put(b"line 0\n", T)
    for number in range(1, 150):
        source(f"unit-{number}", share=first).put(b"line %d\n" % number, T + number)
    before = len(os.listdir("/proc/self/fd"))
    assert lines(logdir) == [b"line %d" % number for number in range(150)]
    assert len(os.listdir("/proc/self/fd")) == before
    cursors = read.open_cursors("x", ["unit"] * 1000)
    assert sum(cursor._block_bytes for cursor in cursors) <= read.MEMORY_BYTES
