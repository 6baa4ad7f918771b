"""The supervisor's own log never holds it up, never fills its memory, and says what it lost."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.manager.eventlog import WAITING, EventLog
from tests.unit.manager.kit import Bench

LONG = "x" * 2000


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def stream_tags(bench: Bench) -> list[int]:
    return [tag for op, tag, _ in bench.sent() if op == "STREAM"]


def opened(bench: Bench) -> tuple[EventLog, int]:
    """The log, and the end of its pipe that the logger would read."""
    log = EventLog(bench.sup, quiet=True)
    (tag,) = stream_tags(bench)
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    bench.tell("FD", tag, b"log:unboxed\0", (writer,))
    os.close(writer)
    return log, reader


def close(log: EventLog, reader: int) -> None:
    os.close(reader)
    os.close(log._fd)


def messages(reader: int) -> list[str]:
    data = b""
    while True:
        try:
            data += os.read(reader, 1 << 20)
        except BlockingIOError:
            return [json.loads(line)["message"] for line in data.splitlines()]


def test_what_is_said_before_there_is_a_pipe_is_written_later(bench: Bench) -> None:
    bench.sup.early_words = ["early"]
    log, reader = opened(bench)
    log.report("late")
    assert messages(reader) == ["early", "late"]
    close(log, reader)


def test_what_waits_for_a_pipe_that_is_refused_is_bounded_and_counted(bench: Bench) -> None:
    log = EventLog(bench.sup, quiet=True)
    (tag,) = stream_tags(bench)
    bench.result(tag, errno.ENOSPC)
    bench.sup.flush()
    (tag,) = stream_tags(bench)
    count = 3 * WAITING // len(LONG)
    for number in range(count):
        log.report(f"{number} {LONG}")
        assert sum(map(len, log._waiting)) == log._size <= WAITING
    assert stream_tags(bench) == [], "it is asked for once at a time"
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    bench.tell("FD", tag, b"log:unboxed\0", (writer,))
    os.close(writer)
    found = messages(reader)
    while log._waiting:
        bench.sup.loop._callbacks[log._fd](4)
        found += messages(reader)
    lost = int(found[0].split()[0])
    assert found[0] == f"{lost} lines of this log were lost: nobody took them"
    kept = [int(words.split()[0]) for words in found[1:]]
    assert kept == list(range(count - len(kept), count))
    assert lost + len(kept) == count + 1, "with the report of the refusal itself"
    close(log, reader)


def test_a_full_pipe_loses_nothing_that_fits_into_memory(bench: Bench) -> None:
    log, reader = opened(bench)
    for number in range(200):  # 400 KB: more than a pipe holds
        log.report(f"{number} {LONG}")
    assert log._fd in bench.sup.loop._callbacks, "it is told of room in the pipe"
    found = messages(reader)
    while log._waiting:
        bench.sup.loop._callbacks[log._fd](4)
        found += messages(reader)
    assert [int(words.split()[0]) for words in found] == list(range(200))
    assert log._fd not in bench.sup.loop._callbacks
    close(log, reader)
