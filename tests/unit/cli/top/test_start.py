"""What is said where there can be no full screen."""
from __future__ import annotations

import os
import sys

import pytest

from tests.unit.cli.conftest import cli, runtime  # noqa: F401 - fixtures of the folder above
from tests.unit.cli.fake import Cli


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda _fd: True)
    monkeypatch.setenv("TERM", "xterm")


def test_without_the_library_it_says_what_brings_it(
    cli: Cli, terminal: None, monkeypatch: pytest.MonkeyPatch  # noqa: F811 - the fixture
) -> None:
    for name in [*sys.modules]:
        if name.partition(".")[0] == "textual" or name == "supervisor.cli.top.app":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "textual", None)
    outcome = cli("top")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == (
        f"cannot show a full screen: textual is not installed for {sys.executable}; `pip install"
        " textual` brings it, and `unboxed status` shows the same once\n")


def test_a_dumb_terminal_is_refused(
    cli: Cli, terminal: None, monkeypatch: pytest.MonkeyPatch  # noqa: F811 - the fixture
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    outcome = cli("top")
    assert outcome.code == 2
    assert outcome.err.startswith("cannot show a full screen: this is no terminal that could")
    assert cli("top", "--interval", "0").code == 2
