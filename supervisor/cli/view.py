"""What `run` shows on a terminal: log lines and states as they come, and a line that sums up.

Law: the only writer of the terminal while it lives. It keeps no clock: `draw` is told the time.
"""
from __future__ import annotations

from supervisor.cli.own import STREAM, entry
from supervisor.cli.screen import Screen, StatusLine, clean, name_colour
from supervisor.cli.words import STATES, pending
from supervisor.logger.text import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAME_WIDTH = 16  # longer names shift their line; shorter ones are padded to the longest seen
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


class View:
    """`idle`: nothing on the last line counts down."""

    def __init__(self, screen: Screen) -> None:
        self._statuses: list[dict[str, Any]] | None = None  # not heard of yet
        self._manager = 0  # its pid
        self._screen = screen
        self._line = StatusLine(screen)
        self._width = 0
        self._seen: dict[int, None] = {}  # in order of arrival
        self._stopping = 0

    @property
    def idle(self) -> bool:
        return not self._stopping and not any(
            status["state"] in _PENDING or status["state"] == "backoff"
            for status in self._statuses or ())

    def answer(self, reply: dict[str, Any]) -> None:
        """The reply to Status."""
        self._statuses = reply["instances"]
        manager = reply["supervisor"]["pid"]
        if self._manager not in {0, manager}:
            self.note("the manager was replaced, no service was touched")
        self._manager = manager

    def log(self, key: str, line: bytes) -> None:
        if key != STREAM:
            self._print(key, "|", escape(line))
            return
        said = entry(line)
        if "message" in said:
            self.note(said["message"])
        else:
            self.transition(said)

    def transition(self, event: dict[str, Any]) -> None:
        """Comes twice, from the event stream and from the log: which is first is not known."""
        if event["id"] in self._seen:
            return
        self._seen[event["id"]] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        shown = _LINES.get(event["to"])
        if shown:
            word, state = shown
            cause = clean(event.get("cause") or "")
            painted = self._screen.paint(word, STATES[state])
            self._print(event["key"], ">", painted + (f": {cause}" if cause else ""))

    def note(self, text: str) -> None:
        """Something about the supervisor itself."""
        self._print(STREAM, ">", clean(text, tabs=True))

    def stop(self, times: int) -> None:
        """An operator asked `times` times for the end."""
        self._stopping = times
        if times == 1:
            self.note("stopping everything in order; Ctrl-C again kills what is left")
        else:
            self.note("killing what is left")

    def draw(self, now_ns: int) -> None:
        if self._statuses is not None:
            self._line.draw(last_line(self._statuses, now_ns, stopping=self._stopping > 0))

    def close(self) -> None:
        self._line.clear()

    def _print(self, key: str, mark: str, text: str) -> None:
        self._line.clear()
        self._width = max(self._width, min(len(key), _NAME_WIDTH))
        name = self._screen.paint(f"{key:<{self._width}}", name_colour(key))
        print(f"{name} {mark} {text}", flush=True)


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
