from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.agents.dashboard import lines as module
from supervisor.agents.dashboard.lines import LINE_CHARS, RING_CHARS, Feed, Lines


def record(message: str, key: str = "web", **fields: Any) -> bytes:
    return json.dumps({
        "time_ns": 1_700_000_000_000_000_000, "unit": key, "instance": 0, "stream": "output",
        "message": message, "seq": 1, "cursor": f"{key}@1f", **fields,
    }).encode() + b"\n"  # fmt: skip


def texts(lines: Lines, key: str = "web", after: int = 0) -> list[str]:
    return [line[3] for line in lines.after(key, after, 10_000)[0]]


def test_lines_are_those_of_the_instance_that_the_cursor_names() -> None:
    lines = Lines()
    feed = Feed(lines)
    assert feed.take(record("one", "web/0") + record("two", "web/1")) == {"web/0", "web/1"}
    assert lines.after("web/1", 0, 9) == ([(2, 1_700_000_000_000, "output", "two")], False)


@given(st.data())
def test_where_reads_end_makes_no_difference(data: st.DataObject) -> None:
    stream = b"".join(record(f"line {number} \u00e9") for number in range(5))
    lines = Lines()
    feed = Feed(lines)
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        feed.take(stream[:size])
        stream = stream[size:]
    assert texts(lines) == [f"line {number} \u00e9" for number in range(5)]


@pytest.mark.parametrize("garbage", [
    b"\n", b"{\n", b"null\n", b"[1]\n", b'{"cursor":1}\n', b"\xff\xfe\n", b"[" * 5000 + b"\n",
    b'{"time_ns":"x","unit":"web","stream":"output","message":"m","cursor":"web@1"}\n',
    b'{"time_ns":1,"unit":"web","stream":"strange","message":"m","cursor":"web@1"}\n',
    b'{"time_ns":1,"unit":"web","stream":"output","message":7,"cursor":"web@1"}\n',
    b'{"time_ns":1e999,"unit":"web","stream":"output","message":"m","cursor":"web@1"}\n',
])
def test_what_is_no_line_is_skipped(garbage: bytes) -> None:
    lines = Lines()
    assert Feed(lines).take(b'{"torn": \n' + garbage + record("after")) == {"web"}
    assert texts(lines) == ["after"]


def test_a_loss_is_a_line_that_tells_how_much_and_why() -> None:
    lines = Lines()
    span = {"from": 1_000_000_000, "to": 2_000_000_000}
    Feed(lines).take(record("", "web", stream="lost", bytes=4096, reason="full", **span))
    assert texts(lines) == ["4096 bytes lost within 1000 ms: full"]


def test_a_loss_of_which_nobody_knows_when_it_was_is_told_too() -> None:
    lines = Lines()
    span = {"from": None, "to": 2_000_000_000}
    Feed(lines).take(record("", "web", stream="lost", bytes=4096, reason="expired", **span))
    assert texts(lines) == ["4096 bytes lost: expired"]


def test_a_line_without_end_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST", 1000)
    lines = Lines()
    feed = Feed(lines)
    for _ in range(100):
        feed.take(b"x" * 500)
    assert feed.take(b"x\n" + record("after")) == {"web"}
    assert texts(lines) == ["after"]


def test_a_flooding_instance_drops_its_own_oldest_lines_and_says_so() -> None:
    lines = Lines()
    lines.add("db", 1, "output", "quiet")
    for number in range(20_000):
        lines.add("web", 1, "output", f"{number} " + "x" * 100)
    kept, missed = lines.after("web", 5, 10**6)
    assert missed
    assert sum(len(line[3]) for line in kept) <= RING_CHARS
    assert kept[-1][3].startswith("19999 ")
    assert texts(lines, "db") == ["quiet"]


def test_many_instances_share_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOTAL_CHARS", 40 * 2 * LINE_CHARS)
    lines = Lines()
    for number in range(400):
        for key in range(40):
            lines.add(f"unit-{key}", 1, "output", f"{number} " + "x" * 1000)
    total = sum(len(text) for key in range(40) for text in texts(lines, f"unit-{key}"))
    assert total <= module.TOTAL_CHARS


def test_the_least_recent_of_too_many_instances_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_MOST_RINGS", 2)
    lines = Lines()
    for key in ("a", "b", "a", "c"):
        lines.add(key, 1, "output", "line")
    assert [len(texts(lines, key)) for key in "abc"] == [2, 0, 1]


def test_a_long_line_is_cut_and_says_by_how_much() -> None:
    lines = Lines()
    lines.add("web", 1, "output", "x" * (LINE_CHARS + 5))
    assert texts(lines)[0].endswith("x… (5 more characters)")
