"""`unboxed top` on a terminal of 80x24, and a real supervisor behind it."""
from __future__ import annotations

import os
import re
import signal
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.full_screen import FullScreen
from tests.places import let_in
from tests.stack import Stack

UNITS = {
    "web": 'command = ["/bin/sh", "-c", "echo serving; exec sleep 1000"]\ninstances = 2',
    "db": 'command = ["/bin/sh", "-c", "echo db is up; sleep 1000 & wait"]',
    "broken": 'command = ["/bin/sh", "-c", "exit 3"]\nrestart.when = "never"',
}


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ub-") as directory:
        yield Path(directory)


@pytest.fixture
def stack(home: Path) -> Iterator[Stack]:
    with Stack(home, UNITS) as running:
        for key, state in (("web/1", "running"), ("db", "running"), ("broken", "failed")):
            running.wait(key, state)
        yield running


def top(stack: Stack, prefix: Sequence[str] = (), **env: str) -> FullScreen:
    return FullScreen(["top"], {
        "UNBOXED_RUNTIME_DIR": str(stack.runtime), "UNBOXED_LOG_DIR": str(stack.log),
        "TERM": "xterm-16color", **env}, prefix=prefix)


def test_units_are_seen_a_log_is_read_a_unit_is_stopped_and_the_terminal_given_back(
    stack: Stack,
) -> None:
    screen = top(stack)
    screen.until("3 running, 1 failed")
    assert [line.split()[:2] for line in screen.lines[3:7]] == [
        ["broken", "failed"], ["db", "running"], ["web/0", "running"], ["web/1", "running"]]
    screen.until("exit 3")
    screen.type("\x1b[B")
    screen.until("db is up")
    screen.type("p")
    screen.until("sleep 1000")
    screen.type("x")
    screen.until("stop db?")
    screen.type("y")
    screen.until("db: stopped")
    assert stack.row("db")["state"] == "stopped"
    screen.type("q")
    assert screen.end() == 0
    assert "\x1b[?1049l" in screen.raw, "it leaves the other screen of the terminal"
    assert "38;2;" not in screen.raw, "sixteen colours are all it takes"


def test_signals_end_it_and_the_terminal_is_given_back(stack: Stack) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        screen = top(stack, NO_COLOR="1")
        screen.until("3 running")
        screen.process.send_signal(number)
        assert screen.end() == 128 + number
        assert not re.search(r"\x1b\[([0-9;]*;)?3[0-7]m", screen.raw), "there is no colour"
        assert "Traceback" not in screen.raw


def test_ctrl_c_ends_it_and_a_window_that_is_closed_too(stack: Stack) -> None:
    screen = top(stack)
    screen.until("3 running")
    screen.type("\x03")
    assert screen.end() == 130
    screen = top(stack)
    screen.until("3 running")
    screen.hang_up()
    assert screen.process.returncode is not None


def test_a_manager_that_is_replaced_is_told(stack: Stack) -> None:
    screen = top(stack)
    screen.until("3 running")
    os.kill(stack.call("Status")["supervisor"]["pid"], signal.SIGKILL)
    screen.until("it was started 2 times")
    screen.type("q")
    assert screen.end() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_observer_sees_units_and_is_told_what_is_not_permitted(stack: Stack) -> None:
    let_in(stack.home)
    screen = top(stack, prefix=("setpriv", "--reuid", "65534", "--clear-groups", "--"))
    screen.until("3 running")
    stack.log.chmod(0o700)
    screen.type("\x1b[B")
    screen.until("cannot read logs")
    screen.type("r")
    screen.until("restart db?")
    screen.type("y")
    screen.until("cannot restart db: permission denied")
    screen.type("p")
    screen.until("└─")  # its processes, without their command lines
    assert "sleep 1000" not in screen.screen()
    screen.type("q")
    assert screen.end() == 0
    assert stack.row("db")["restarts"] == 0


def test_it_can_be_suspended_and_draws_all_of_it_when_it_goes_on(stack: Stack) -> None:
    screen = top(stack)
    screen.until("3 running")
    screen.type("\x1a")
    os.waitid(os.P_PID, screen.process.pid, os.WSTOPPED)
    assert screen.given_back()
    screen.clear()
    screen.process.send_signal(signal.SIGCONT)
    for text in ("unboxed 0", "UNIT", "web/1", "3 running", "q leave"):
        screen.until(text)
    screen.type("q")
    assert screen.end() == 0
