from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.logger.text import escape


@pytest.mark.parametrize(
    "line, expected",
    [
        (b"plain text", "plain text"),
        ("grüße 漢字 🙂".encode(), "grüße 漢字 🙂"),
        (b"a\tb", "a\tb"),
        (b"\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        (b"over\rwritten", r"over\rwritten"),
        (b"bell\a back\b", r"bell\a back\b"),
        (b"nul\0 del\x7f", r"nul\x00 del\x7f"),
        ("c1 \x9b31m".encode(), r"c1 \x9b31m"),
        (b"bad \xff\xfe \xc3", r"bad \xff\xfe \xc3"),
        ("bidi \u202egnp.exe".encode(), r"bidi \u202egnp.exe"),
        ("line\u2028separator".encode(), r"line\u2028separator"),
        (b"back\\slash", "back\\slash"),
        (b"", ""),
    ],
)
def test_what_a_terminal_gets(line: bytes, expected: str) -> None:
    assert escape(line) == expected


@given(st.binary())
def test_nothing_can_steer_a_terminal(line: bytes) -> None:
    for character in escape(line):
        assert character == "\t" or unicodedata.category(character) not in {"Cc", "Zl", "Zp", "Cs"}
