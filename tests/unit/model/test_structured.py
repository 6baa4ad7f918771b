"""What lines say about themselves; and lines that say nothing, or lie, harm nobody."""
from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.logger.lines import PIECE_BYTES
from supervisor.model.structured import DEBUG, facts, field, priority_number


@pytest.mark.parametrize("line, priority", [
    (b"<3>cannot open", 3),
    (b"<0>", 0),
    (b"<134>local0.info", 6),
    (b"<191>x", 7),
    (b"<192>x", None),
    (b"<>x", None),
    (b"<3 x", None),
    (b"<-1>x", None),
    (b"<b>bold</b>", None),
    (b'<4>{"level":"info"}', 4),
    (b'{"level":"WARN"}', 4),
    (b' {"Level" : "Error"} \r', 3),
    (b'{"severity":"CRITICAL"}', 2),
    (b'{"lvl":"dbug","severity":"notice"}', 5),
    (b'{"log.level":"warn"}', 4),
    (b'{"log":{"level":"error"}}', 3),
    (b'{"log":"level"}', None),
    (b'{"level":30}', 6),
    (b'{"level":"50"}', 3),
    (b'{"level":35,"x":1}', 6),
    (b'{"level":99}', 2),
    (b'{"level":3}', 3),
    (b'{"level":3.0}', 3),
    (b'{"level":8}', None),
    (b'{"level":-1}', None),
    (b'{"level":true}', None),
    (b'{"level":1e999}', None),
    (b'{"levelno":30,"levelname":"odd"}', 4),
    (b'{"levelname":"ERROR"}', 3),
    (b'{"PRIORITY":"6"}', 6),
    (b'{"level":"nonsense","severity":"err"}', 3),
    (b'{"level":"info"', None),
    (b'["level"]', None),
    (b'time=2026-11-21T03:56:20Z level=info msg="listening"', 6),
    (b"ts=1 lvl=eror", None),
    (b"time=1 level=INFO+2", 6),
    (b"level=", None),
    (b"the level=error is high", None),
    (b"error: no level", None),
    (b"", None),
])  # fmt: skip
def test_the_priority_of_a_line(line: bytes, priority: int | None) -> None:
    assert facts(line)[0] == priority


@pytest.mark.parametrize("line, fields", [
    (b'{"a":1,"b":{"c":[2]}}', {"a": 1, "b": {"c": [2]}}),
    (b'{"a":NaN,"b":1e999,"c":' + b"9" * 5000 + b"}", {"a": "NaN", "b": "1e999", "c": "9" * 5000}),
    (b'a=1 b="two words" c="say \\"hi\\"\\n" d', {"a": "1", "b": "two words", "c": 'say "hi"\n'}),
    (b"a=1\tb=x=y  c=", {"a": "1", "b": "x=y", "c": ""}),
    (b'a="not ended b=1', {"a": '"not', "b": "1"}),
    (b'a=1 and then b="2"', {"a": "1", "b": "2"}),
    ("käse=1".encode(), {}),
    (b"GET /?a=b", {}),
    (b"=1", {}),
])  # fmt: skip
def test_the_fields_of_a_line(line: bytes, fields: dict[str, Any]) -> None:
    assert facts(line)[1] == fields


@pytest.mark.parametrize("name, value", [
    ("s", "text"), ("n", "5"), ("f", "0.5"), ("t", "true"), ("z", "null"), ("o.n", "7"),
    ("a.b", "dotted"), ("o", None), ("o.x", None), ("s.x", None), ("none", None), ("l", None),
])  # fmt: skip
def test_a_field_is_found_by_its_name(name: str, value: str | None) -> None:
    fields = {"s": "text", "n": 5, "f": 0.5, "t": True, "z": None, "o": {"n": 7}, "a.b": "dotted",
              "a": {"b": "hidden"}, "l": [1]}  # fmt: skip
    assert field(fields, name) == value


@pytest.mark.parametrize("word, number", [
    ("err", 3), ("ERROR", 3), ("0", 0), ("7", 7), ("8", None), ("-1", None), ("", None),
])  # fmt: skip
def test_priorities_have_names_and_numbers(word: str, number: int | None) -> None:
    assert priority_number(word) == number


PARTS = st.sampled_from([
    b"<3>", b"<", b">", b"{", b"}", b'"', b"\\", b"=", b" ", b"level", b"a", b":", b",", b"[", b"1",
    b"\xff", b"\0", b'"level":', b"null", b"\\ud800", b"e9", b"\t",
])


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.lists(PARTS, max_size=25).map(b"".join)))
def test_no_line_is_too_odd(line: bytes) -> None:
    priority, fields = facts(line)
    assert priority is None or 0 <= priority <= DEBUG
    assert all(isinstance(name, str) for name in fields)


FILL = PIECE_BYTES


@pytest.mark.parametrize("line", [
    b'{"a":' * (FILL // 6) + b"}" * (FILL // 6),
    b'{"a":' + b"[" * FILL + b"}",
    b'{"a":' + b"1" * FILL + b"}",
    b'{"a":1.' + b"1" * FILL + b"}",
    b"{" + b'"a":1,' * (FILL // 6) + b'"b":2}',
    b"=" * FILL,
    b"a=" * (FILL // 2),
    b"a=1 " * (FILL // 4),
    b'a="' + b'\\"' * (FILL // 2),
    b'a="' + b"\\" * FILL,
    b'a=" ' * (FILL // 4),
    b"a=1 " + b"b " * (FILL // 2) + b"=",
    b" ".join(b'k%d="' % number for number in range(FILL // 8)),
    b"<3>" + b" " * FILL + b"a=1",
], ids=range(14))  # fmt: skip
def test_the_worst_of_long_lines_are_read_in_a_moment(line: bytes) -> None:
    begun = time.process_time()
    facts(line)
    assert time.process_time() - begun < 0.5  # some milliseconds; quadratic work takes seconds
