"""A batch until it is delivered or refused: tries, waits between them, and what is said of them.

Law: a receiver that may take it later is waited for, for ever, and told of once, not each time.
Waits grow and differ by chance, so that many shippers do not come back at the same instant. Lines
are lost only if their receiver says so, and each such loss is told and counted.
"""
from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Protocol

from supervisor.agents.shipper.intake import Line
from supervisor.agents.shipper.outcome import Later, Never, TooLarge
from supervisor.agents.shipper.say import say, tell
from supervisor.agents.shipper.settings import Settings

FIRST_SECONDS = 0.5
MOST_SECONDS = 60.0
SAY_SECONDS = 600.0  # until a failure that goes on is told again


class Target(Protocol):
    def send(self, lines: list[Line], timeout_seconds: float) -> int:
        """How many of them were refused. Raises Later, TooLarge or Never."""

    def close(self) -> None: ...


class Delivery:
    """`wait(seconds)` sleeps, and returns early with True once the shipper is to end; then
    `deadline` is the monotonic time at which it gives up, else infinite."""

    def __init__(self, settings: Settings, target: Target, wait: Callable[[float], bool]) -> None:
        self._url = settings.url
        self._timeout = settings.timeout_seconds
        self._target = target
        self._wait = wait
        self.deadline = float("inf")
        self.delivered = 0
        self.refused = 0
        self._failing_since = 0.0  # 0: it is not
        self._said_at = 0.0
        self._said = ""

    def deliver(self, lines: list[Line]) -> bool:
        """False: the deadline came first, and the lines count as not delivered."""
        parts = [lines]
        while parts:
            part = parts.pop()
            if not part:
                continue
            try:
                refused = self._until_taken(part)
            except TooLarge as outcome:
                if len(part) > 1:
                    half = len(part) // 2
                    parts += [part[half:], part[:half]]
                    continue
                self._lose(1, outcome.why)
                refused = 1
            except Never as outcome:
                self._lose(len(part), outcome.why)
                refused = len(part)
            else:
                if refused is None:
                    return False
                if refused:
                    self._lose(refused, getattr(self._target, "refused_why", ""))
            self.delivered += len(part) - refused
        return True

    def _until_taken(self, lines: list[Line]) -> int | None:
        """How many were refused; None: there is no more time."""
        tries = 0
        while True:
            left = self.deadline - time.monotonic()
            if left <= 0:
                return None
            try:
                refused = self._target.send(lines, min(self._timeout, left))
            except Later as later:
                self._tell(later.why, len(lines))
                most = min(MOST_SECONDS, FIRST_SECONDS * 2 ** min(tries, 10))
                # At least what the receiver asked for, else something up to `most`.
                pause = max(later.after_seconds, most * (0.5 + random.random() / 2))  # noqa: S311 - chance, not secrecy
                tries += 1
                self._wait(max(0.0, min(pause, self.deadline - time.monotonic())))
            else:
                self._recovered()
                return refused

    def _lose(self, count: int, why: str) -> None:
        self.refused += count
        say(f"cannot deliver {count} lines to {self._url}: {why or 'they are refused'};"
            f" they are not sent again ({self.refused} refused since the start)")

    def _tell(self, why: str, count: int) -> None:
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        if why != self._said or now - self._said_at >= SAY_SECONDS:
            say(f"cannot deliver to {self._url}: {why}; {count} lines and all behind them wait in"
                " the log files")
            self._said, self._said_at = why, now
            tell(f"cannot deliver: {why}")

    def _recovered(self) -> None:
        if self._failing_since:
            say(f"delivers to {self._url} again, after"
                f" {time.monotonic() - self._failing_since:.1f} s")
            self._failing_since, self._said = 0.0, ""
            tell("delivers")
