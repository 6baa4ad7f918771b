"""What threads tell the screen. `Post` is its inbox, which takes a message from any thread."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.message import Message

from supervisor.cli.top.machine import Machine

Post = Callable[[Message], object]


class Listed(Message):
    """`statuses` of all instances there are, without figures."""

    def __init__(self, statuses: list[dict[str, Any]]) -> None:
        super().__init__()
        self.statuses = statuses


class Sampled(Message):
    """The figures of some, seen at `now_s` (monotonic)."""

    def __init__(self, statuses: list[dict[str, Any]], now_s: float) -> None:
        super().__init__()
        self.statuses = statuses
        self.now_s = now_s


class Looked(Message):
    """All have been sampled."""

    def __init__(self, supervisor: dict[str, Any], machine: Machine) -> None:
        super().__init__()
        self.supervisor = supervisor
        self.machine = machine


class Told(Message):
    """The states of some after something was done."""

    def __init__(self, statuses: list[dict[str, Any]]) -> None:
        super().__init__()
        self.statuses = statuses


class Lost(Message):
    """No supervisor answers, for that reason. It is asked again."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


class Said(Message):
    """For the line that tells how things went. `kind` as in words.STATES."""

    def __init__(self, text: str, kind: str = "") -> None:
        super().__init__()
        self.text = text
        self.kind = kind


class Lines(Message):
    """For the pane, if it still shows `turn`. `fresh`: in place of what it had."""

    def __init__(self, turn: int, lines: list[str], *, fresh: bool) -> None:
        super().__init__()
        self.turn = turn
        self.lines = lines
        self.fresh = fresh


class Broke(Message):
    """A thread of ours ended by an error that nobody expected."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error
