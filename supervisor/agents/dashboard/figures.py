"""What each instance used over the last ten minutes.

Law: pure. Rings of a fixed size: SAMPLES moments, for each instance four numbers of four bytes at
each. A number that is not known is NaN, and None for a browser.
"""
from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from typing import NamedTuple

INTERVAL_S = 2.0
KEPT_S = 600.0
SAMPLES = int(KEPT_S / INTERVAL_S)
NAMES = ("memory", "cpu", "tasks", "log")  # bytes; percent of one CPU; tasks; bytes a second
_WIDTH = len(NAMES)
_NOTHING = array("f", [math.nan] * _WIDTH)


class Counters(NamedTuple):
    """Of one instance at one moment; None: not known."""

    memory_bytes: int | None
    cpu_ns: int | None
    tasks: int | None
    log_bytes: int | None


class Figures:
    """`taken`: how many samples there were."""

    def __init__(self) -> None:
        self.taken = 0
        self._times = array("d", [0.0] * SAMPLES)
        self._rings: dict[str, array[float]] = {}
        self._last: dict[str, tuple[float, Counters]] = {}

    def sample(self, now_s: float, counters: Mapping[str, Counters]) -> None:
        """Of all instances there are: those that are not in it are forgotten."""
        at = self.taken % SAMPLES
        self._times[at] = now_s
        self.taken += 1
        for key in self._rings.keys() - counters.keys():
            del self._rings[key], self._last[key]
        for key, now in counters.items():
            ring = self._rings.get(key)
            if ring is None:
                ring = self._rings[key] = _NOTHING * SAMPLES
            ring[at * _WIDTH : (at + 1) * _WIDTH] = array("f", [
                _number(now.memory_bytes), _number(self.cpu_percent(key, now_s, now)),
                _number(now.tasks), _number(self._log_rate(key, now_s, now)),
            ])
        self._last = {key: (now_s, now) for key, now in counters.items()}

    def cpu_percent(self, key: str, now_s: float, now: Counters) -> float | None:
        """Of one CPU, since the last sample. None: there was none, or it began anew since."""
        rate = self._rate(key, now_s, now, 1)
        return None if rate is None else rate / 1e7

    def _log_rate(self, key: str, now_s: float, now: Counters) -> float | None:
        return self._rate(key, now_s, now, 3)

    def _rate(self, key: str, now_s: float, now: Counters, field: int) -> float | None:
        then_s, then = self._last.get(key, (now_s, now))
        new, old = now[field], then[field]
        if new is None or old is None or new < old or now_s <= then_s:
            return None
        return (new - old) / (now_s - then_s)

    def latest(self, key: str) -> list[float | None] | None:
        """[time, *NAMES] of the last sample; None: there is none of it."""
        ring = self._rings.get(key)
        if ring is None:
            return None
        return self._moment(ring, (self.taken - 1) % SAMPLES)

    def all(self, key: str) -> list[list[float | None]]:
        """The same of all samples in the last KEPT_S, oldest first."""
        ring = self._rings.get(key)
        if ring is None:
            return []
        order: Iterable[int] = (
            number % SAMPLES for number in range(max(0, self.taken - SAMPLES), self.taken)
        )
        oldest = self._times[(self.taken - 1) % SAMPLES] - KEPT_S
        return [
            self._moment(ring, at) for at in order
            if self._times[at] >= oldest and _known(ring[at * _WIDTH : (at + 1) * _WIDTH])
        ]

    def _moment(self, ring: array[float], at: int) -> list[float | None]:
        values = ring[at * _WIDTH : (at + 1) * _WIDTH]
        return [round(self._times[at], 1), *(None if math.isnan(v) else _short(v) for v in values)]


def _known(values: array[float]) -> bool:
    return not all(map(math.isnan, values))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _short(value: float) -> float:
    return round(value, 1) if value < 1000 else round(value)
