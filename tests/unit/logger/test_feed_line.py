from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.logger.feed_line import PARTIAL, Encoder, loss, timestamp
from supervisor.logger.form import ERROR, LOSS, OUTPUT
from supervisor.logger.lines import PIECE_BYTES

TIME_NS = 1_795_266_000_123_456_789


def line(
    data: bytes, *, key: str = "web", kind: int = OUTPUT, begin: int = 0, resume: int = 1 << 20
) -> dict[str, Any]:
    text = Encoder().line((TIME_NS, key, kind, data, begin, resume))
    assert text.endswith("\n")
    assert text.count("\n") == 1
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_line_has_what_an_agent_needs() -> None:
    assert line(b"hello", begin=10, resume=16) == {
        "time": "2026-11-21T13:00:00.123456789Z", "time_ns": TIME_NS, "unit": "web", "instance": 0,
        "stream": "output", "message": "hello", "seq": 10, "cursor": "web@10",
    }


def test_an_instance_is_told_from_its_unit_and_an_error_from_output() -> None:
    found = line(b"oh", key="web/12", kind=ERROR, resume=255)
    assert (found["unit"], found["instance"], found["stream"]) == ("web", 12, "error")
    assert found["cursor"] == "web/12@ff"


def test_what_lines_share_is_not_taken_over_from_another() -> None:
    encoder = Encoder()
    records = [
        (TIME_NS, "a", OUTPUT, b"1", 0, 2), (TIME_NS, "a", OUTPUT, b"2", 2, 4),
        (TIME_NS, "a", ERROR, b"3", 4, 6), (TIME_NS, "b", ERROR, b"4", 0, 2),
        (TIME_NS + 1, "b", ERROR, b"5", 2, 4),
    ]
    found = [json.loads(encoder.line(record)) for record in records]
    assert [(one["time_ns"], one["unit"], one["stream"], one["message"]) for one in found] == [
        (TIME_NS, "a", "output", "1"), (TIME_NS, "a", "output", "2"), (TIME_NS, "a", "error", "3"),
        (TIME_NS, "b", "error", "4"), (TIME_NS + 1, "b", "error", "5"),
    ]
    assert [one["cursor"] for one in found] == ["a@2", "a@4", "a@6", "b@2", "b@4"]


@given(st.binary(max_size=200).filter(lambda data: b"\n" not in data))
def test_any_bytes_come_out_as_they_were(data: bytes) -> None:
    found = line(data)
    assert found["message"] == data.decode("utf-8", "backslashreplace")
    if "raw" in found:
        assert b64decode(found["raw"]) == data
    else:
        assert found["message"].encode() == data


def test_text_that_is_utf8_has_nothing_raw_beside_it() -> None:
    assert line('caf\u00e9 "x" \\ \0 \x1b[1m'.encode()) == {
        **line(b""), "message": 'caf\u00e9 "x" \\ \0 \x1b[1m'}


@pytest.mark.parametrize("length, resume, kind, partial", [
    (PIECE_BYTES, PIECE_BYTES, OUTPUT, True),  # the next piece follows at once
    (PIECE_BYTES, PIECE_BYTES + 1, OUTPUT, False),  # a newline was between
    (10, 10, OUTPUT | PARTIAL, True),  # its end has not come in time
    (10, 5, OUTPUT, False),  # another line that waits holds the cursor back
])
def test_only_what_goes_on_is_partial(length: int, resume: int, kind: int, partial: bool) -> None:
    assert line(b"x" * length, kind=kind, resume=resume).get("partial", False) is partial


def test_a_loss_says_what_is_missing() -> None:
    found = line(loss(5, None, 1234, "expired"), kind=LOSS, begin=100, resume=1334)
    assert found["stream"] == "lost"
    assert found["message"] == "1234 bytes were lost: expired"
    assert (found["from"], found["to"], found["bytes"], found["reason"]) == (
        5, None, 1234, "expired")
    assert (found["seq"], found["cursor"]) == (100, "web@536")


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"bytes":"x","reason":1}'])
def test_a_loss_that_is_damaged_is_still_told(data: bytes) -> None:
    found = line(data, kind=LOSS)
    assert (found["stream"], found["reason"]) == ("lost", "unknown")


def test_times_have_nine_digits() -> None:
    assert timestamp(0) == "1970-01-01T00:00:00.000000000Z"
    assert timestamp(951_782_400_000_000_001) == "2000-02-29T00:00:00.000000001Z"
