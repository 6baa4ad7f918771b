"""What is known of the units: the latest status of each, its figures over time, and which rows that
makes, in which order.

Law: pure; the time is a parameter. A status is the dict that the control interface sends. A figure
that is not known is None, is shown as "-", and counts as less than any in the order.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from supervisor.cli.words import BAD, BUSY, GOOD, IDLE, ODD, STATES

HISTORY = 30  # samples of CPU and memory
_ALARM = {BAD: 0, BUSY: 1, ODD: 2, GOOD: 3, IDLE: 4}  # in the order of the column
_RESOURCES = ("cpu", "memory", "io")


class Row:
    """One instance, or all of a unit (`members`). `cpu`: percent of one CPU, since the look before.
    `pressure`: the worst of its resources, as (percent of the last 10 s, its name)."""

    def __init__(self, key: str, status: dict[str, Any]) -> None:
        self.key = key
        self.status = status
        self.cpu: float | None = None
        self.memory: int | None = None
        self.tasks: int | None = None
        self.restarts = 0
        self.pressure: tuple[float, str] | None = None
        self.cpu_history: deque[float] = deque(maxlen=HISTORY)
        self.memory_history: deque[float] = deque(maxlen=HISTORY)
        self.members: tuple[Row, ...] = ()
        self._seen: tuple[float, int] | None = None  # (seconds, cpu_ns) of the look before

    @property
    def name(self) -> str:
        return f"{self.key} ×{len(self.members)}" if self.members else self.key  # noqa: RUF001 - times

    @property
    def state(self) -> str:
        return str(self.status["state"])

    @property
    def since_ns(self) -> int:
        return int(self.status["since_ns"])

    def tell(self, status: dict[str, Any]) -> None:
        """Its state, without figures: those of the look before stay."""
        self.status = status
        self.restarts = status.get("restarts") or 0

    def sample(self, status: dict[str, Any], now_s: float) -> None:
        """The figures of a look at `now_s` (a clock that never goes back)."""
        self.tell(status)
        self.memory = status.get("memory_bytes")
        self.tasks = status.get("tasks")
        self.pressure = worst(status.get("usage") or {})
        used = status.get("cpu_ns")
        before, self._seen = self._seen, None if used is None else (now_s, used)
        self.cpu = None
        if before and used is not None and now_s > before[0]:
            # Less than before: a new run, whose counters began anew.
            self.cpu = max(used - before[1], 0) / (now_s - before[0]) / 1e7
        self.remember()

    def remember(self) -> None:
        """Add the figures to what the bars show."""
        if self.cpu is not None:
            self.cpu_history.append(self.cpu)
        if self.memory is not None:
            self.memory_history.append(self.memory)


def worst(usage: Mapping[str, Any]) -> tuple[float, str] | None:
    """The resource that most of the last 10 s was spent waiting for."""
    found = [(float(stalls["some_percent"]), name) for name in _RESOURCES
             if (stalls := usage.get(f"{name}_pressure"))]  # fmt: skip
    return max(found, key=lambda one: one[0]) if found else None


def _alarm(row: Row) -> int:
    return _ALARM[STATES.get(row.state, BAD)]


def _natural(key: str) -> tuple[str, int]:
    unit, _, number = key.partition("/")
    return unit, int(number) if number.isdigit() else -1


# By its letter: what to sort by, and whether the greatest stands first.
ORDERS: dict[str, tuple[Callable[[Row], Any], bool]] = {
    "U": (lambda row: _natural(row.key), False),
    "S": (_alarm, False),
    "C": (lambda row: -1.0 if row.cpu is None else row.cpu, True),
    "M": (lambda row: -1 if row.memory is None else row.memory, True),
    "T": (lambda row: -1 if row.tasks is None else row.tasks, True),
    "R": (lambda row: row.restarts, True),
    "P": (lambda row: row.pressure[0] if row.pressure else -1.0, True),
    "A": (lambda row: row.since_ns, True),  # the youngest first: it is what has just happened
}


class Units:
    """All of them. `order`, `backwards`, `search` and `collapsed` say which rows there are."""

    def __init__(self) -> None:
        self.all: dict[str, Row] = {}
        self.order = "U"
        self.backwards = False
        self.search = ""
        self.collapsed = False
        self._whole: dict[str, Row] = {}  # of several instances, by unit

    def listed(self, statuses: Iterable[dict[str, Any]]) -> None:
        """Every instance there is, without figures."""
        told = {status["key"]: status for status in statuses}
        self.all = {key: self.all.get(key) or Row(key, status) for key, status in told.items()}
        for key, status in told.items():
            self.all[key].tell(status)

    def told(self, statuses: Iterable[dict[str, Any]]) -> None:
        """The states of some."""
        for status in statuses:
            if row := self.all.get(status["key"]):
                row.tell(status)

    def sampled(self, statuses: Iterable[dict[str, Any]], now_s: float) -> None:
        """The figures of some."""
        for status in statuses:
            if row := self.all.get(status["key"]):
                row.sample(status, now_s)

    def summed(self, *, sampled: bool = False) -> None:
        """Add up units with several instances. `sampled`: all have new figures."""
        groups: dict[str, list[Row]] = {}
        for row in self.all.values():
            groups.setdefault(row.status["unit"], []).append(row)
        before, self._whole = self._whole, {}
        for unit, members in groups.items():
            if len(members) > 1:
                whole = before.get(unit) or Row(unit, members[0].status)
                _sum(whole, tuple(members))
                if sampled:
                    whole.remember()
                self._whole[unit] = whole

    def sort_by(self, letter: str) -> None:
        """By that column; a second time, the other way round."""
        self.backwards = letter == self.order and not self.backwards
        self.order = letter

    def rows(self) -> list[Row]:
        chosen = list(self.all.values())
        if self.collapsed:
            chosen = [row for row in chosen if row.status["unit"] not in self._whole]
            chosen += self._whole.values()
        if self.search:
            wanted = self.search.casefold()
            chosen = [row for row in chosen if wanted in _text(row)]
        by, greatest_first = ORDERS[self.order]
        chosen.sort(key=lambda row: _natural(row.key))
        chosen.sort(key=by, reverse=greatest_first is not self.backwards)
        return chosen

    def statuses(self) -> list[dict[str, Any]]:
        return [row.status for row in self.all.values()]


def _text(row: Row) -> str:
    status = row.status
    return f"{row.key}\n{row.state}\n{status.get('description') or ''}".casefold()


def _sum(whole: Row, members: tuple[Row, ...]) -> None:
    """The state is the most alarming one, the age that of the youngest."""
    worst_one = min(members, key=_alarm)
    whole.members = members
    whole.status = {**worst_one.status, "key": whole.key,
                    "since_ns": max(row.since_ns for row in members)}
    whole.restarts = sum(row.restarts for row in members)
    cpu = [row.cpu for row in members if row.cpu is not None]
    memory = [row.memory for row in members if row.memory is not None]
    tasks = [row.tasks for row in members if row.tasks is not None]
    whole.cpu = sum(cpu) if cpu else None
    whole.memory = sum(memory) if memory else None
    whole.tasks = sum(tasks) if tasks else None
    stalls = [row.pressure for row in members if row.pressure]
    whole.pressure = max(stalls, key=lambda one: one[0]) if stalls else None
