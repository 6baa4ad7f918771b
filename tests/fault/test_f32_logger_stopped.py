"""Fault 32: storage is slow or stands still (a stopped logger). Units wait, nothing is lost."""
from __future__ import annotations

import fcntl
import os
import signal
import termios
import time
from collections.abc import Iterator
from pathlib import Path

from tests.logger_kit import FakeKeeper, check_all, ended, numbered, wait_until, writer

LINES = 50_000  # of 100 bytes


def lines() -> Iterator[bytes]:
    for number in range(LINES):
        yield b"%099d\n" % number


def waiting(pipe: int) -> int:
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), "little")


def test_f32_a_unit_waits_for_a_stopped_logger_and_loses_nothing(tmp_path: Path) -> None:
    with FakeKeeper(tmp_path / "log") as keeper:
        logger = keeper.start()
        end = keeper.stream("web")
        os.kill(logger, signal.SIGSTOP)
        with writer(end, lines) as pid:
            wait_until(lambda: waiting(keeper.pipes["web"]) > 60_000)
            assert not ended(pid, 0.2), "the unit must wait"
            held = waiting(keeper.pipes["web"])  # its pipe is full
            assert not ended(pid, 0.2)
            assert waiting(keeper.pipes["web"]) == held
            os.kill(logger, signal.SIGCONT)
            assert ended(pid, 30)
        assert keeper.finish() == 0
        assert keeper.stored("web") == b"".join(lines())


def test_f32_storage_that_comes_and_goes_keeps_everything_in_order(tmp_path: Path) -> None:
    with FakeKeeper(tmp_path / "log") as keeper:
        logger = keeper.start()
        end = keeper.stream("web")
        with writer(end, lines) as pid:
            for _ in range(20):
                os.kill(logger, signal.SIGSTOP)
                time.sleep(0.02)  # that long storage takes for one turn
                os.kill(logger, signal.SIGCONT)
                if ended(pid, 0.001):
                    break
            else:
                assert ended(pid, 30)
        wait_until(lambda: len(keeper.stored("web")) == LINES * 100)
        assert keeper.stored("web") == b"".join(lines())


def wait_for_more(keeper: FakeKeeper) -> None:
    before = len(keeper.stored("web"))
    wait_until(lambda: before == LINES * 100 or len(keeper.stored("web")) > before)


def test_f32_a_logger_killed_while_stopped_has_an_heir(tmp_path: Path) -> None:
    with FakeKeeper(tmp_path / "log") as keeper:
        end = keeper.stream("web")
        with writer(end, lines) as pid:
            for _ in range(10):
                logger = keeper.start()
                wait_for_more(keeper)
                os.kill(logger, signal.SIGSTOP)
                keeper.kill()
            keeper.start()
            assert ended(pid, 30)
        assert keeper.finish() == 0
        assert keeper.stored("web") == b"".join(lines())


def test_f32_what_is_dropped_after_a_stop_is_counted_exactly(tmp_path: Path) -> None:
    """A stop looks like slow storage: with `on_full = "drop"` a moment of dropping follows it."""
    with FakeKeeper(tmp_path / "log", "full=drop compress=0") as keeper:
        logger = keeper.start()
        end = keeper.stream("web")
        with writer(end, lines) as pid:
            for _ in range(20):
                os.kill(logger, signal.SIGSTOP)
                time.sleep(0.06)
                os.kill(logger, signal.SIGCONT)
                if ended(pid, 0.005):
                    break
            else:
                assert ended(pid, 30)
        assert keeper.finish() == 0
        assert check_all(tmp_path / "log" / "web", numbered)[0] == LINES * 100
