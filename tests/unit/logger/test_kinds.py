"""Lines of several kinds in one stream: each kind is whole, and reading may go on anywhere."""
from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.logger.cursor import Cursor
from supervisor.logger.form import ERROR, LOSS, OUTPUT
from supervisor.logger.lines import PIECE_BYTES, Record
from supervisor.logger.read import records
from tests.unit.logger.made import Arrival, make

SECOND = 1_000_000_000
T = 1_800_000_000 * SECOND
LOST = b'{"from":1,"to":2,"bytes":3,"reason":"full"}\n'


def model(arrivals: list[Arrival]) -> list[Record]:
    """(time, key, kind, line, begin) computed byte by byte, in order of ends; "resume" is 0."""
    found: list[Record] = []
    held: dict[int, tuple[int, int, bytes]] = {}
    at = 0
    for time_ns, kind, data in arrivals:
        if kind == LOSS and LOSS not in held:
            found += whole(held)
        for byte in data:
            since, begin, line = held.pop(kind, (time_ns, at, b""))
            at += 1
            if byte == 10:
                found.append((since, "web", kind, line, begin, 0))
            else:
                held[kind] = since, begin, line + bytes([byte])
    return found + whole(held)


def whole(held: dict[int, tuple[int, int, bytes]]) -> list[Record]:
    lines = sorted((begin, since, kind, line) for kind, (since, begin, line) in held.items())
    held.clear()
    return [(since, "web", kind, line, begin, 0) for begin, since, kind, line in lines]


rows = st.lists(
    st.one_of(
        st.tuples(
            st.integers(0, 2), st.sampled_from([OUTPUT, ERROR]),
            st.sampled_from([b"a", b"bc\n", b"\n", b"\n\nd", b"one\ntwo", b"z" * 90]),
        ),
        st.just((1, LOSS, LOST)),
    ),
    min_size=1, max_size=25,
)
numbers = st.sets(st.integers(0, 25))


def timed(steps: list[tuple[int, int, bytes]]) -> list[Arrival]:
    times = itertools.accumulate((step for step, _, _ in steps), initial=T)
    next(times)
    return [(T + (at - T) * SECOND, kind, data)
            for at, (_, kind, data) in zip(times, steps, strict=True)]


def read(logdir: Path, place: int | None = None, **limits: int) -> list[Record]:
    """All records, or those from a place where reading may go on."""
    if place is None:
        return list(records(str(logdir), **limits))  # type: ignore[arg-type]
    cursor = Cursor(str(logdir), "web", 64)
    cursor.seek(place, within=True)
    try:
        return [*cursor.lines(cursor.ends()[0]), *cursor.flush()]
    finally:
        cursor.close()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows, numbers, numbers, st.integers(0, 25), st.integers(0, 20), st.integers(0, 12))
def test_each_kind_is_whole_however_it_was_cut(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, bytes]],
    cuts: set[int], ahead: set[int], since: int, length: int, last: int,
) -> None:
    logdir = tmp_path_factory.mktemp("kinds")
    arrivals = timed(steps)
    make(logdir, "web", arrivals, cuts=cuts, ahead=ahead)
    expected = model(arrivals)
    found = read(logdir)
    assert [record[:5] for record in found] == [record[:5] for record in expected]

    least, most = T + since * SECOND, T + (since + length) * SECOND
    inside = [record for record in found if least <= record[0] <= most]
    some = list(records(str(logdir), since_ns=least, until_ns=most))
    # In the same order but for lines that go on after others that are too late.
    assert sorted(record[:5] for record in some) == sorted(record[:5] for record in inside)
    assert [record[:5] for record in records(str(logdir), since_ns=least)] == [
        record[:5] for record in found if least <= record[0]]

    latest = list(records(str(logdir), last_n=last))
    assert len(latest) == min(last, len(found))
    assert {record[:5] for record in latest} <= {record[:5] for record in found}

    ones = [record for record in found if b"one" in record[3]]
    kept = list(records(str(logdir), last_n=last, keep=lambda record: b"one" in record[3]))
    assert len(kept) == min(last, len(ones))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows, numbers, numbers)
def test_reading_goes_on_at_any_record_without_a_miss(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, bytes]],
    cuts: set[int], ahead: set[int],
) -> None:
    logdir = tmp_path_factory.mktemp("resume")
    make(logdir, "web", timed(steps), cuts=cuts, ahead=ahead)
    found = [record[:5] for record in read(logdir)]
    for number, record in enumerate(read(logdir)):
        again = [later[:5] for later in read(logdir, record[5])]
        assert again == [one for one in found if one[4] >= record[5]]
        assert set(found[number + 1 :]) <= set(again)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows, st.integers(0, 40))
def test_where_lines_always_overlap_reading_on_misses_nothing_either(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, bytes]], most: int,
) -> None:
    logdir = tmp_path_factory.mktemp("overlap")
    make(logdir, "web", timed(steps))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("supervisor.logger.lines.OVERLAP_BYTES", most)
        found = read(logdir)
        for number, record in enumerate(found):
            again = {later[:5] for later in read(logdir, record[5])}
            assert {later[:5] for later in found[number + 1 :]} <= again


def test_lines_that_are_written_at_once_are_told_apart(tmp_path: Path) -> None:
    make(tmp_path, "web", [
        (T, OUTPUT, b"out, first half, "), (T + 1, ERROR, b"an error\nand "),
        (T + 2, OUTPUT, b"second half\n"), (T + 3, ERROR, b"another\n"),
    ])
    assert [(r[0], r[2], r[3]) for r in records(str(tmp_path))] == [
        (T + 1, ERROR, b"an error"),
        (T, OUTPUT, b"out, first half, second half"),
        (T + 1, ERROR, b"and another"),
    ]


def test_a_loss_ends_lines(tmp_path: Path) -> None:
    make(tmp_path, "web", [
        (T, OUTPUT, b"cut o"), (T, ERROR, b"also"), (T + 1, LOSS, LOST), (T + 2, OUTPUT, b"ff\n"),
    ])
    assert [(r[2], r[3]) for r in records(str(tmp_path))] == [
        (OUTPUT, b"cut o"), (ERROR, b"also"), (LOSS, LOST[:-1]), (OUTPUT, b"ff")]
    assert json.loads(LOST)["bytes"] == 3
    # Who begins behind the begin of the line that was cut is told of what came after the loss.
    assert [r[3] for r in records(str(tmp_path), since_ns=T + 2)] == [b"ff"]


def test_unnoted_bytes_are_of_the_kind_that_was_announced(tmp_path: Path) -> None:
    home = make(tmp_path, "web", [(T, OUTPUT, b"out\n"), (T + 1, ERROR, b"")])
    log = next(home.glob("*.log"))
    log.write_bytes(b"out\nkilled before it was noted\n")
    assert [(r[2], r[3]) for r in records(str(tmp_path))] == [
        (OUTPUT, b"out"), (ERROR, b"killed before it was noted")]


@pytest.mark.parametrize("between", [b"", b"error\n"])
def test_pieces_of_a_long_line_go_on_where_they_stopped(tmp_path: Path, between: bytes) -> None:
    long = bytes(range(32, 127)) * 2000
    arrivals: list[Arrival] = []
    for at in range(0, len(long), 50_000):
        arrivals.append((T + at, OUTPUT, long[at : at + 50_000]))
        if between:
            arrivals.append((T + at, ERROR, between))
    arrivals.append((T + len(long), OUTPUT, b"\nshort\n"))
    make(tmp_path, "web", arrivals, cuts=range(0, 99, 2))
    found = read(tmp_path)
    pieces = [r for r in found if r[2] == OUTPUT]
    assert [len(r[3]) for r in pieces] == [PIECE_BYTES, PIECE_BYTES, len(long) % PIECE_BYTES, 5]
    assert b"".join(r[3] for r in pieces[:-1]) == long
    for number, record in enumerate(found):
        again = read(tmp_path, record[5])
        assert {r[3:5] for r in found[number + 1 :]} <= {r[3:5] for r in again}
        assert {r[3:5] for r in again} <= {r[3:5] for r in found}


@pytest.mark.parametrize("kind", [256 + OUTPUT, 0xFFFF, 0])
def test_a_kind_that_there_is_not_hides_no_line(tmp_path: Path, kind: int) -> None:
    """One bit of an index fell over: readers go on, feeds among them."""
    arrivals = [(T, OUTPUT, b"one\ntw"), (T, kind, b"o\nthree\n"), (T, OUTPUT, b"four\n")]
    make(tmp_path, "web", arrivals, cuts={1})
    for place in (None, 0, 6, 8):
        assert b"four" in [line for _, _, _, line, *_ in read(tmp_path, place)][-1]
    assert [line for _, _, _, line, *_ in read(tmp_path, last_n=3)][-1].endswith(b"four")


def test_what_is_deleted_is_told_by_the_cursor(tmp_path: Path) -> None:
    home = make(tmp_path, "web", [(T, OUTPUT, b"12345\n")] * 6, cuts=range(6))
    cursor = Cursor(str(tmp_path), "web")
    assert len(list(cursor.lines(6))) == 1
    cursor.close()
    for name in (6, 12):
        (home / f"{name:016x}.log").unlink()
        (home / f"{name:016x}.idx").unlink()
    found = []
    for record in cursor.lines(36):
        found.append((record[4], cursor.gap))
        cursor.gap = None
    cursor.close()
    assert found == [(18, (6, 18)), (24, None), (30, None)]
