"""Text commands are split as a POSIX shell splits words, and by nobody else."""
from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.shapes import COMMAND
from supervisor.config.table import Refused
from supervisor.config.words import OPERATORS, split

SHELLISH = st.text(st.sampled_from("ab \t\n'\"\\ä{}$*"))


@given(SHELLISH)
def test_agrees_with_shlex(text: str) -> None:
    try:
        meant = shlex.split(text)
    except ValueError:
        with pytest.raises(Refused):
            split(text)
    else:
        assert split(text) == meant


@given(SHELLISH)
def test_the_short_way_agrees_with_the_long_one(text: str) -> None:
    try:
        meant = split("/x " + text)
    except Refused:
        with pytest.raises(Refused):
            COMMAND.parse("/x " + text)
    else:
        assert COMMAND.parse("/x " + text) == tuple(meant)


@pytest.mark.parametrize("operator", sorted(OPERATORS))
def test_an_operator_that_only_a_shell_obeys_is_refused(operator: str) -> None:
    with pytest.raises(Refused, match="no shell runs this"):
        COMMAND.parse(f"/bin/echo a {operator} b")
    assert COMMAND.parse(f"/bin/echo '{operator}'") == ("/bin/echo", operator)
    assert COMMAND.parse(["/bin/echo", operator]) == ("/bin/echo", operator)


def test_what_looks_like_an_operator_inside_a_word_is_text() -> None:
    url = "http://x/?a=1&b=2;c>d"
    assert COMMAND.parse(f"curl {url}") == ("curl", url)


@pytest.mark.parametrize("text", ["", " ", "''", '"" a', "a 'b", 'a "b', "a\\", "a\0b"])
def test_refuses(text: str) -> None:
    with pytest.raises(Refused):
        COMMAND.parse(text)
