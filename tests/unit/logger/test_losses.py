"""What is lost: counted to the byte by a logger that may be killed, declared once."""
from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.logger.form import ENTRY, ERROR, LOSS, OUTPUT
from supervisor.logger.losses import MOST_BYTES, MOST_RECORD, Ledger, declared_from
from supervisor.logger.meter import SECOND_NS, Meter
from tests.unit.logger.source import MakeSource, Source

T = 1_700_000_000_000_000_000


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    path = tmp_path / "rt"
    path.mkdir()
    return path


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def counted(runtime: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in (runtime / "logger").iterdir()}


# --- Counting


def test_what_is_dropped_is_the_size_of_a_file(runtime: Path, pipe: tuple[int, int]) -> None:
    loss = Ledger(str(runtime)).begin("web@0", "full")
    os.write(pipe[1], b"x" * 1000)
    assert loss.take(pipe[0], 600) == 600
    assert counted(runtime) == {f"web@0.{loss.from_ns}.full.lost": 600}
    assert loss.take(pipe[0], 600) == 400
    assert loss.take(pipe[0], 600) == 0
    assert counted(runtime) == {f"web@0.{loss.from_ns}.full.lost": 1000}
    loss.forget()
    assert counted(runtime) == {}


def test_it_takes_no_memory_and_has_its_size_at_every_instant(
    runtime: Path, pipe: tuple[int, int]
) -> None:
    loss = Ledger(str(runtime)).begin("web", "slow")
    path = Path(loss.path)
    for number in range(1, 201):
        os.write(pipe[1], b"x" * 60_000)
        assert loss.take(pipe[0], 1 << 20) == 60_000
        assert path.stat().st_size == number * 60_000
        assert path.stat().st_blocks * 512 <= MOST_BYTES + 60_000
    loss.close()


def test_the_next_logger_finds_what_was_counted(runtime: Path, pipe: tuple[int, int]) -> None:
    first = Ledger(str(runtime)).begin("web@1", "rate")
    os.write(pipe[1], b"x" * 1000)
    first.take(pipe[0], 1000)
    Path(first.path + ".new").touch()  # killed just before it took the other's place
    Ledger(str(runtime)).begin("web.b", "full")  # and this one before anything was dropped
    (runtime / "logger" / "something else").touch()
    ledger = Ledger(str(runtime))
    assert ledger.streams_left() == ["web@1"]
    (found,) = ledger.left("web@1")
    assert (found.stream, found.from_ns, found.reason, found.size, found.old) == (
        "web@1", first.from_ns, "rate", 1000, True)
    assert found.to_ns >= found.from_ns
    assert ledger.left("web@1") == []
    assert sorted(counted(runtime)) == ["something else", f"web@1.{first.from_ns}.rate.lost"]


def test_without_a_place_to_count_nothing_is_dropped(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"x")
    with pytest.raises(OSError, match="no runtime directory"):
        Ledger("").begin("web", "full")


def test_a_record_is_one_line_of_json_and_tells_its_name(runtime: Path) -> None:
    loss = Ledger(str(runtime)).begin("web", "full")
    loss.size, loss.to_ns = (1 << 64) - 1, (1 << 63) - 1
    record = loss.record()
    assert json.loads(record) == {
        "from": loss.from_ns, "to": loss.to_ns, "bytes": loss.size, "reason": "full"}
    assert record.endswith(b"}\n")
    assert len(record) <= MOST_RECORD
    assert declared_from(record) == loss.from_ns
    loss.forget()


@pytest.mark.parametrize(
    "record", [b"", b"{", b'{"from": 12, "to": 5', b'{"from": }\n', b'{"to": 5, "x": 1}\n', b"12\n"]
)
def test_other_bytes_are_no_record(record: bytes) -> None:
    assert declared_from(record) == -1


# --- In a stream


def make(source: MakeSource, runtime: Path, options: str = "") -> Source:
    web = source("web", options=options)
    web.runtime = runtime
    web.begin()
    return web


def arrivals(web: Source) -> list[tuple[int, bytes]]:
    """(kind, content) of all index entries, and what has none under kind 0."""
    found: list[tuple[int, bytes]] = []
    for path in sorted(web.path.glob("*.log")):
        data, at = path.read_bytes(), int(path.stem, 16)
        end = 0
        for _, begin, length, kind, _ in ENTRY.iter_unpack(path.with_suffix(".idx").read_bytes()):
            if length:
                found.append((kind, data[begin - at : begin - at + length]))
                end = begin - at + length
        if data[end:]:
            found.append((0, data[end:]))
    return found


def lost(web: Source) -> list[tuple[int, str]]:
    records = [json.loads(data) for kind, data in arrivals(web) if kind == LOSS]
    return [(record["bytes"], record["reason"]) for record in records]


def test_a_loss_is_declared_before_what_came_after_it(source: MakeSource, runtime: Path) -> None:
    web = make(source, runtime)
    web.put(b"first\n", T)
    os.write(web.writable, b"dropped\n")
    assert web.stream.lose(web.readable, "full") == 8
    os.write(web.writable, b"more\n")
    assert web.stream.lose(web.readable, "full") == 5
    web.put(b"last\n", T + 1)
    assert [kind for kind, _ in arrivals(web)] == [OUTPUT, LOSS, OUTPUT]
    assert lost(web) == [(13, "full")]
    assert arrivals(web)[2] == (OUTPUT, b"last\n")
    assert counted(runtime) == {}


def test_each_reason_has_its_record(source: MakeSource, runtime: Path) -> None:
    web = make(source, runtime)
    for reason in ("full", "slow", "full"):
        os.write(web.writable, b"12345")
        web.stream.lose(web.readable, reason)
    web.stream.declare(web.directory)
    assert lost(web) == [(10, "full"), (5, "slow")]


@pytest.mark.parametrize("step", ["expect", "append", "note", "unlink"])
def test_a_logger_killed_while_it_declares_has_an_heir_that_does_it_once(
    source: MakeSource, runtime: Path, step: str
) -> None:
    """`step` is the last thing that it did."""
    web = make(source, runtime)
    web.put(b"first\n", T)
    os.write(web.writable, b"x" * 1000)
    web.stream.lose(web.readable, "full")
    (loss,) = web.stream.losses
    tail = web.stream.tail
    assert tail is not None
    tail.expect(LOSS, T + 1)
    if step != "expect":
        tail.append(loss.record())
    if step in ("note", "unlink"):
        tail.note(len(loss.record()), T + 1)
    if step == "unlink":
        loss.forget()
    web.crash()
    web.put(b"last\n", T + 2)
    assert lost(web) == [(1000, "full")]
    assert b"".join(data for kind, data in arrivals(web) if kind == OUTPUT) == b"first\nlast\n"
    assert counted(runtime) == {}


@pytest.mark.parametrize("length", [1, 9, 40])
def test_a_torn_record_is_written_again_whole(
    source: MakeSource, runtime: Path, length: int
) -> None:
    web = make(source, runtime)
    web.put(b"first\n", T)
    os.write(web.writable, b"x" * 1000)
    web.stream.lose(web.readable, "rate")
    tail = web.stream.tail
    assert tail is not None
    tail.expect(LOSS, T + 1)
    tail.append(web.stream.losses[0].record()[:length])
    web.crash()
    web.put(b"last\n", T + 2)
    assert lost(web) == [(1000, "rate")]
    assert [kind for kind, _ in arrivals(web)] == [OUTPUT, LOSS, OUTPUT]


def test_after_a_power_failure_bytes_of_a_unit_are_never_taken_for_a_torn_record(
    source: MakeSource, runtime: Path
) -> None:
    """The index knows that a record came; what followed it there was not written in time."""
    web = make(source, runtime)
    web.put(b"first\n", T)
    tail = web.stream.tail
    assert tail is not None
    tail.expect(LOSS, T + 1)
    os.pwrite(tail.log, b"what a unit said\n" * 100, tail.size)
    web.crash()
    web.put(b"last\n", T + 2)
    assert arrivals(web) == [
        (OUTPUT, b"first\n"), (OUTPUT, b"what a unit said\n" * 100), (OUTPUT, b"last\n")]


def test_what_is_lost_after_a_failed_declaration_is_another_loss(
    source: MakeSource, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one may be in the segment already, and would not be written again."""
    web = make(source, runtime)
    os.write(web.writable, b"x" * 1000)
    web.stream.lose(web.readable, "full")

    def no_space(*_: object) -> None:
        raise OSError(28, "no space")

    with monkeypatch.context() as patch:
        patch.setattr("supervisor.logger.tail.Tail.note", no_space)
        with pytest.raises(OSError, match="no space"):
            web.stream.declare(web.directory)
    os.write(web.writable, b"x" * 500)
    web.stream.lose(web.readable, "full")
    web.stream.declare(web.directory)
    assert lost(web) == [(1000, "full"), (500, "full")]


def test_a_record_goes_into_a_segment_with_room_for_all_of_it(
    source: MakeSource, runtime: Path
) -> None:
    web = make(source, runtime, "keep=1048576 segment=4096")
    web.put(b"x" * 4000, T)
    os.write(web.writable, b"12345")
    web.stream.lose(web.readable, "full")
    web.stream.declare(web.directory)
    assert lost(web) == [(5, "full")]
    assert len(list(web.path.glob("*.log"))) == 2


def test_a_record_in_a_removed_file_is_written_again(source: MakeSource, runtime: Path) -> None:
    web = make(source, runtime)
    web.put(b"first\n", T)
    os.write(web.writable, b"12345")
    web.stream.lose(web.readable, "full")
    for path in web.path.iterdir():
        path.unlink()
    web.stream.declare(web.directory)
    assert lost(web) == [(5, "full")]


# --- Two pipes


def test_killed_between_bytes_and_entry_the_kind_is_known(
    source: MakeSource, runtime: Path, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    web = make(source, runtime)
    for kind, word in ((OUTPUT, b"out"), (ERROR, b"err"), (ERROR, b"err"), (OUTPUT, b"out")):
        read, write = (web.readable, web.writable) if kind == OUTPUT else pipe
        os.write(write, word)
        with monkeypatch.context() as patch:
            patch.setattr("supervisor.logger.stream.Stream._note", killed)
            with pytest.raises(Killed):
                web.move(T, kind, read)
        web.crash()
    web.put(b"end", T + 1)
    assert arrivals(web) == [
        (OUTPUT, b"out"), (ERROR, b"err"), (ERROR, b"err"), (OUTPUT, b"out"), (OUTPUT, b"end")]


def test_what_a_removed_file_took_keeps_its_kind(
    source: MakeSource, runtime: Path, pipe: tuple[int, int]
) -> None:
    web = make(source, runtime)
    web.put(b"out", T)
    for path in web.path.iterdir():
        path.unlink()
    os.write(pipe[1], b"err")
    web.move(T + 1, ERROR, pipe[0])
    web.put(b"end", T + 2)
    assert arrivals(web) == [(ERROR, b"err"), (OUTPUT, b"end")]


# --- The rate


def test_a_bucket_holds_one_second_and_is_shut_until_it_is_full_again() -> None:
    meter = Meter()
    now = 5 * SECOND_NS
    assert meter.allowed(1000, now) == 1000
    meter.took(600)
    assert meter.allowed(1000, now + SECOND_NS // 10) == 500
    meter.took(500)
    assert meter.allowed(1000, now + SECOND_NS // 10) == 0
    meter.shut(1000, now + SECOND_NS // 10)
    assert meter.shut_until_ns == now + SECOND_NS // 10 + SECOND_NS
    assert meter.allowed(1000, meter.shut_until_ns - 1) == 0
    assert meter.allowed(1000, meter.shut_until_ns) == 1000


def test_small_steps_of_time_are_not_lost() -> None:
    meter = Meter()
    meter.allowed(1000, 0)
    meter.took(1000)
    allowed = [meter.allowed(1000, now) for now in range(0, SECOND_NS // 2, 99_999)]
    assert allowed[-1] in (499, 500)


def test_what_is_beyond_the_rate_is_dropped_and_declared_when_the_bucket_is_full(
    source: MakeSource, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = make(source, runtime, "rate=1000")
    now = SECOND_NS
    monkeypatch.setattr("supervisor.logger.stream.time.monotonic_ns", lambda: now)
    os.write(web.writable, b"a" * 2500)
    assert web.move(T) == 1000
    assert web.move(T + 1) == 1500
    assert web.move(T + 2) == 0
    now += SECOND_NS // 2
    os.write(web.writable, b"b" * 10)
    assert web.move(T + 3) == 10
    assert web.stored() == b"a" * 1000
    now += SECOND_NS // 2
    assert web.move(T + 4) == 0
    assert lost(web) == [(1510, "rate")]
    web.put(b"c" * 1000, T + 5)
    assert arrivals(web)[-1] == (OUTPUT, b"c" * 1000)
    assert counted(runtime) == {}
