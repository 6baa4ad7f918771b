"""What reaches a terminal is harmless, and fits."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.cli.screen import clean, columns, cut, table


@pytest.mark.parametrize("text, shown", [
    ("plain", "plain"), ("größe 你好", "größe 你好"), ("\x1b[31mred", "\\x1b[31mred"),
    ("a\rb\nc\td", "a\\rb\\nc\\td"), ("\x9b2J", "\\x9b2J"), ("\x00\x7f", "\\x00\\x7f"),
    ("a\u202eb", "a\\u202eb"), ("\udcff", "\\udcff"),
])  # fmt: skip
def test_control_characters_are_made_visible(text: str, shown: str) -> None:
    assert clean(text) == shown


@given(st.text())
def test_no_text_whatever_can_move_the_cursor(text: str) -> None:
    shown = clean(text)
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in shown)
    assert set(clean(text, tabs=True)) <= set(shown) | {"\t"}


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])), st.integers(0, 40))
def test_what_is_cut_fits_and_says_so(text: str, width: int) -> None:
    short = cut(text, width)
    assert columns(short) <= max(width, 0)
    assert short == text or short.endswith("…") or width == 0


def test_wide_and_combining_characters_are_counted_as_the_terminal_does() -> None:
    assert columns("你好") == 4
    assert columns("e\u0301") == 1


def test_a_table_keeps_to_its_width_by_cutting_the_last_column_first() -> None:
    rows = [("short", "1", "a remark that is long"), ("a-name-as-long-as-this", "22", "x")]
    lines = ["  ".join(cells).rstrip() for cells in table(("UNIT", "N", "WHY"), rows, 40, (1,))]
    assert lines == [
        "UNIT                     N  WHY",
        "short                    1  a remark th…",
        "a-name-as-long-as-this  22  x",
    ]
    narrow = ["  ".join(cells).rstrip() for cells in table(("UNIT", "N", "WHY"), rows, 32, (1,))]
    assert narrow == [
        "UNIT             N  WHY",
        "short            1  a remark th…",
        "a-name-as-lon…  22  x",
    ]


def test_without_a_width_nothing_is_cut() -> None:
    rows = [("u", "x" * 500)]
    assert table(("UNIT", "WHY"), rows)[1][1] == "x" * 500
