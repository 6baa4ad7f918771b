from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from supervisor.agents.shipper.intake import Intake, Line
from supervisor.agents.shipper.severity import split


def fed(message: str = "hello", **more: Any) -> bytes:
    line = {
        "time": "", "time_ns": 5, "unit": "web", "instance": 0, "stream": "output",
        "message": message, "seq": 0, "cursor": "web@6", **more}
    return json.dumps(line).encode() + b"\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    os.set_blocking(ends[0], False)
    yield ends
    for end in ends:
        os.close(end)


def messages(lines: list[Line]) -> list[str]:
    return [line.message for line in lines]


def test_lines_are_put_together_from_what_is_read() -> None:
    intake = Intake(-1)
    data = fed("one") + fed("two", seq=4)
    for at in range(1, len(data)):
        intake = Intake(-1)
        assert messages(intake.parse(data[:at]) + intake.parse(data[at:])) == ["one", "two"]


def test_what_a_killed_feed_left_is_skipped() -> None:
    intake = Intake(-1)
    assert intake.parse(fed()[:30]) == []
    data = b"\n" + b"[]\n" + b'{"unit":1}\n' + b"\xff\n" + fed("next", seq=4)
    assert messages(intake.parse(data)) == ["next"]


def test_a_line_without_an_end_is_not_kept_for_ever() -> None:
    intake = Intake(-1)
    for _ in range(40):
        assert intake.parse(b"x" * (64 << 10)) == []
    assert messages(intake.parse(b"\n" + fed("next"))) == ["next"]


def test_what_a_new_feed_sends_again_is_left_out() -> None:
    intake = Intake(-1)
    both = fed("1", seq=0) + fed("2", seq=2)
    assert messages(intake.parse(both)) == ["1", "2"]
    assert messages(intake.parse(b"\n" + both + fed("3", seq=4))) == ["3"]


def test_streams_are_numbered_apart() -> None:
    intake = Intake(-1)
    data = fed("1", seq=8) + fed("2", seq=2, stream="error") + fed("3", seq=1, instance=1)
    assert messages(intake.parse(data)) == ["1", "2", "3"]


def test_a_stream_that_began_anew_is_not_the_same_again() -> None:
    intake = Intake(-1)
    intake.parse(fed("old", seq=100, time_ns=5))
    assert messages(intake.parse(fed("new", seq=0, time_ns=6))) == ["new"]


def test_a_line_of_which_a_part_was_had_comes_whole() -> None:
    intake = Intake(-1)
    intake.parse(fed("abc", partial=True))
    assert messages(intake.parse(fed("abcdef"))) == ["abcdef"]
    assert intake.parse(fed("abcdef")) == []


def test_the_newest_of_each_stream_is_acknowledged(pipe: tuple[int, int]) -> None:
    intake = Intake(pipe[1])
    intake.parse(fed(cursor="web@6") + fed(seq=6, cursor="web@c") + fed(unit="db", cursor="db@2"))
    intake.acknowledge()
    assert os.read(pipe[0], 4096) == b"web@c\ndb@2\n"
    intake.acknowledge()
    with pytest.raises(BlockingIOError):
        os.read(pipe[0], 4096)


def test_what_was_left_out_is_acknowledged_too(pipe: tuple[int, int]) -> None:
    intake = Intake(pipe[1])
    for _ in range(2):
        intake.parse(fed())
        intake.acknowledge()
        assert os.read(pipe[0], 4096) == b"web@6\n"


def test_an_acknowledgement_never_waits(pipe: tuple[int, int]) -> None:
    intake = Intake(pipe[1])
    unit = "u" * 60
    for seq in range(3000):
        intake.parse(fed(unit=unit, seq=seq, cursor=f"{unit}@{seq:x}"))
        intake.acknowledge()
    assert intake.owes()
    os.read(pipe[0], 1 << 20)
    intake.acknowledge()
    assert not intake.owes()
    assert os.read(pipe[0], 4096) == f"{unit}@bb7\n".encode()


def test_more_streams_than_a_write_takes_are_acknowledged_in_several(
    pipe: tuple[int, int]
) -> None:
    intake = Intake(pipe[1])
    for number in range(1000):
        intake.parse(fed(unit=f"unit{number}", cursor=f"unit{number}@1"))
    intake.acknowledge()
    assert len(os.read(pipe[0], 1 << 20).splitlines()) == 1000


def test_a_feed_that_is_gone_is_not_waited_for() -> None:
    readable, writable = os.pipe()
    os.close(readable)
    intake = Intake(writable)
    intake.parse(fed())
    intake.acknowledge()
    assert not intake.owes()
    os.close(writable)


@pytest.mark.parametrize("message, severity, rest", [
    ("plain", None, "plain"),
    ("<3>cannot", 3, "cannot"),
    ("<30>daemon", 6, "daemon"),
    ("<192>no such priority", None, "<192>no such priority"),
    ("<b>bold", None, "<b>bold"),
    ("", None, ""),
    ("<", None, "<"),
    ('{"level":"WARN","msg":"x"}', 4, '{"level":"WARN","msg":"x"}'),
    ('{"severity":"fatal"}', 2, '{"severity":"fatal"}'),
    ('{"PRIORITY":"5"}', 5, '{"PRIORITY":"5"}'),
    ('{"level":30}', 6, '{"level":30}'),
    ('{"level":{}}', None, '{"level":{}}'),
    ("{", None, "{"),
    ('ts=1 level=error msg="x"', 3, 'ts=1 level=error msg="x"'),
    ("level=so-so", None, "level=so-so"),
])
def test_a_line_may_say_how_urgent_it_is(message: str, severity: int | None, rest: str) -> None:
    assert split(message) == (severity, rest)


def test_deeply_nested_text_is_only_text() -> None:
    message = '{"a":' * 100_000
    assert split(message) == (None, message)
