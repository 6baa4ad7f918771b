"""What `run` shows on a terminal: log lines and states as they come, and a line that sums up.

Law: the only writer of the terminal while it lives. It keeps no clock: it is told the time.

States come by two ways, the event stream and the supervisor's own log, and services' lines by a
third; each is in order, but one may be behind another. So what comes is held for a moment and shown
in order: transitions by number, lines between them by time.
"""
from __future__ import annotations

import sys

from supervisor.cli.own import STREAM, entry
from supervisor.cli.screen import Screen, StatusLine, clean, name_colour, name_width
from supervisor.cli.words import STATES, pending
from supervisor.logger.text import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

HOLD_NS = 80_000_000  # how far behind one way may be; nobody sees that on a screen
LONG_HOLD_NS = 1_000_000_000  # while transitions are missing, or which units there are
_HELD = 2_000  # lines that are held at most
_REMEMBERED = 10_000  # transitions; the two sources are never that far apart
_NAMED = 2  # how many instances on their way the last line names
_UP = ("running", "reloading")
_PENDING = ("starting", "waiting", "stopping", "unkillable")
# Phases worth a line of their own, as (word, colour). The last line tells of the others.
_LINES = {
    "up": ("up", "running"),
    "down": ("down", "stopped"),
    "backoff": ("ended", "backoff"),
    "failed": ("failed", "failed"),
}
_ENDS = frozenset({"down", "backoff", "failed"})
_RAN = frozenset({"launching", "starting", "up", "stopping", "killing", "finishing"})
# The logger notes when a line reached it: last words may seem that much later than the end.
_LAST_WORDS_NS = 5_000_000


class View:
    """`names` of units that will be shown, as far as they are known. `idle`: nothing on the last
    line counts down."""

    def __init__(self, screen: Screen, names: Iterable[str] = ()) -> None:
        self._statuses: list[dict[str, Any]] | None = None  # not heard of yet
        self._manager = 0  # its pid
        self._screen = screen
        self._line = StatusLine(screen)
        self._width = name_width([STREAM, *names])
        self._held: list[_Held] = []
        self._last_ns = 0  # time of the latest transition shown
        self._seen: dict[int, None] = {}  # numbers of transitions, in order of arrival
        self._latest = 0  # of them
        self._whole = 0  # up to this one none is missing
        self._stopping = 0

    @property
    def idle(self) -> bool:
        return not self._stopping and not any(
            status["state"] in _PENDING or status["state"] == "backoff"
            for status in self._statuses or ())

    @property
    def holds(self) -> bool:
        """Something is held: `draw` is wanted within HOLD_NS."""
        return bool(self._held)

    @property
    def full(self) -> bool:
        """So much is held that `draw` is wanted now."""
        return len(self._held) > _HELD

    def answer(self, reply: dict[str, Any], now_ns: int) -> None:
        """The reply to Status."""
        self._statuses = reply["instances"]
        self._width = name_width((one["key"] for one in reply["instances"]), self._width)
        manager = reply["supervisor"]["pid"]
        if self._manager not in {0, manager}:
            self.note("the manager was replaced, no service was touched", now_ns)
        self._manager = manager

    def log(self, at_ns: int, key: str, line: bytes, now_ns: int) -> None:
        """A line that was written at `at_ns`, or of the supervisor's own log."""
        if key != STREAM:
            self._held.append(_Held(now_ns, at_ns, key, "|", escape(line)))
            return
        said = entry(line)
        if "message" in said:
            self._held.append(_note(said["message"], at_ns, now_ns))
        else:
            self.transition(said, now_ns)

    def transition(self, event: dict[str, Any], now_ns: int) -> None:
        """Comes twice, from the event stream and from the log: which is first is not known."""
        if event["id"] in self._seen:
            return
        self._seen[event["id"]] = None
        self._latest = max(self._latest, event["id"])
        while self._whole + 1 in self._seen:
            self._whole += 1
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        again = event["to"] == "waiting" and event["from"] in _RAN  # without any delay between
        target = "backoff" if again else event["to"]
        shown = _LINES.get(target)
        if shown:
            word, state = shown
            cause = clean(event.get("cause") or "")
            text = self._screen.paint(word, STATES[state]) + (f": {cause}" if cause else "")
            if event["from"] == event["to"]:  # it is frozen, or thawed
                text = cause
            at_ns = event["time_ns"] + (_LAST_WORDS_NS if target in _ENDS else 0)
            self._held.append(_Held(now_ns, at_ns, event["key"], ">", text, event["id"]))

    def note(self, text: str, now_ns: int) -> None:
        """Something about the supervisor itself."""
        self._held.append(_note(text, now_ns, now_ns))

    def stop(self, times: int, now_ns: int) -> None:
        """An operator asked `times` times for the end."""
        self._stopping = times
        if times == 1:
            self.note("stopping everything in order; Ctrl-C again kills what is left", now_ns)
        else:
            self.note("killing what is left", now_ns)
        self.flush()

    def show(self, now_ns: int) -> None:
        """What was held for long enough, and what belongs before it."""
        missing = self._statuses is None or self._whole < self._latest
        hold_ns = LONG_HOLD_NS if missing else HOLD_NS
        ordered = _in_order(self._held, self._last_ns)
        due = len(ordered) if self.full else max(
            (at for at, one in enumerate(ordered, 1)
             # One from the future came before the clock was set back.
             if not now_ns - hold_ns < one.arrived_ns <= now_ns), default=0)
        self._print(ordered[:due])
        self._held = ordered[due:]
        if due:  # what is missing still will not be waited for again
            self._whole = max(self._whole, *(one.number for one in ordered[:due]))

    def flush(self) -> None:
        """All that is held."""
        self._print(_in_order(self._held, self._last_ns))
        self._held = []

    def draw(self, now_ns: int) -> None:
        self.show(now_ns)
        if self._statuses is not None:
            self._line.draw(last_line(self._statuses, now_ns, stopping=self._stopping > 0))

    def close(self) -> None:
        self.flush()
        self._line.clear()

    def _print(self, lines: list[_Held]) -> None:
        if not lines:
            return
        self._line.clear()
        self._width = name_width((one.key for one in lines), self._width)
        for one in lines:
            name = self._screen.paint(f"{one.key:<{self._width}}", name_colour(one.key))
            print(f"{name} {one.mark} {one.text}")
            if one.number:
                self._last_ns = max(self._last_ns, one.at_ns)
        sys.stdout.flush()


class _Held:
    """A line: when it came, of which time it is, and the number of the transition in it, or 0."""

    __slots__ = ("arrived_ns", "at_ns", "key", "mark", "number", "text")

    def __init__(
        self, arrived_ns: int, at_ns: int, key: str, mark: str, text: str, number: int = 0
    ) -> None:
        self.arrived_ns = arrived_ns
        self.at_ns = at_ns
        self.key = key
        self.mark = mark
        self.text = text
        self.number = number


def _note(text: str, at_ns: int, now_ns: int) -> _Held:
    return _Held(now_ns, at_ns, STREAM, ">", clean(text, tabs=True))


def _in_order(held: list[_Held], last_ns: int) -> list[_Held]:
    """By time, and transitions by number, whatever the wall clock did; `last_ns`: time of the
    latest transition before."""
    for one in sorted((one for one in held if one.number), key=lambda one: one.number):
        last_ns = one.at_ns = max(last_ns, one.at_ns)
    return sorted(held, key=lambda one: (one.at_ns, one.number))


def last_line(statuses: list[dict[str, Any]], now_ns: int, *, stopping: bool) -> str:
    """"12 up, 1 starting (db: waiting for ready, 48 s left), 1 failed"."""
    by_state: dict[str, list[dict[str, Any]]] = {}
    for status in statuses:
        state = status["state"]
        by_state.setdefault("up" if state in _UP else state, []).append(status)
    if stopping:
        alive = [status for status in statuses if status.get("pid") or status["state"] in _PENDING]
        return f"stopping, {len(alive)} left{_named(alive, now_ns)}" if alive else "stopping"
    order = ("up", "starting", "waiting", "backoff", "stopping", "frozen", "finished", "stopped",
             "skipped", "failed", "unkillable")
    parts = [
        f"{len(by_state[state])} {state}"
        + (_named(by_state[state], now_ns) if state in {*_PENDING, "backoff"} else "")
        for state in order if state in by_state
    ]
    return ", ".join(parts) or "no units"


def _named(statuses: list[dict[str, Any]], now_ns: int) -> str:
    """" (db: waiting for ready, 48 s left; and 3 more)"."""
    ordered = sorted(statuses, key=lambda status: status.get("deadline_ns") or 0, reverse=True)
    names = [
        f"{status['key']}: {pending(status, now_ns) or status['state']}"
        for status in ordered[:_NAMED]
    ]
    more = len(statuses) - _NAMED
    return f" ({'; '.join(names)}{f'; and {more} more' if more > 0 else ''})"
