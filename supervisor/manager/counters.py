"""What has happened to each instance since this manager began: starts, restarts, how long starts
took, and how runs ended.

Law: fed by what the manager hears anyway, and never asked by it. Nothing is kept of an instance to
which nothing happened. A new manager counts from 0 again, which is what readers of counters expect
of a program that was replaced (a total that falls began anew); it is not worth a journal.
"""
from __future__ import annotations

from msgspec import Struct

from supervisor.core.words import CLD_EXITED, CLEAN_SIGNALS, HUNG, NO_PING, TOO_LATE
from supervisor.core.world import RESTING, World
from supervisor.model.state import Instance, Transition
from supervisor.model.unit import Unit

_MS_NS = 1_000_000
# Upper bounds of the classes of start latencies; the last class is for what is beyond them.
BOUNDS_NS = tuple(
    ms * _MS_NS
    for ms in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000)
)
_BITS = 32  # of one class in `Counts.classes`
_WAS_READY = -1


class Counts(Struct, gc=False):
    """`classes`: starts of each class of latency, 32 bits each, the lowest first: one number takes
    a fifth of a list's memory. `begun_ns`: since when it starts; -1: it has been ready; 0: no run
    goes on, or its end was counted."""

    starts: int = 0
    restarts: int = 0
    seen_restarts: int = 0  # Instance.restarts, which an operator's start sets to 0
    ready: int = 0
    latency_ns: int = 0  # of all that became ready, together
    classes: int = 0
    begun_ns: int = 0
    exits: dict[str, int] | None = None  # by reason


class Counters:
    def __init__(self, world: World) -> None:
        self._world = world
        self.of: dict[str, Counts] = {}

    def inherit(self) -> None:
        """What the manager before us has counted is counted."""
        for key, inst in self._world.instances.items():
            if key not in self.of and (inst.restarts or inst.phase not in RESTING):
                begun = _WAS_READY if inst.phase == "up" else 0
                self.of[key] = Counts(seen_restarts=inst.restarts, begun_ns=begun)

    def moved(self, fresh: list[Transition]) -> None:
        """Transitions, after they were acted upon."""
        for one in fresh:
            target = one.target
            if target == "launching":
                counts = self.of.get(one.key)
                if counts is None:
                    counts = self.of[one.key] = Counts()
                counts.starts += 1
                counts.begun_ns = one.time_ns
            elif target == "up":
                counts = self.of.get(one.key)
                if counts is not None and counts.begun_ns > 0:
                    _ready(counts, one.time_ns - counts.begun_ns)
            elif target in RESTING:
                self._rests(one)

    def _rests(self, moved: Transition) -> None:
        """A run is over; or it never began, as what it needs did not come."""
        counts, inst = self.of.get(moved.key), self._world.instances.get(moved.key)
        if counts is None or inst is None:
            return
        again = inst.restarts - counts.seen_restarts
        counts.seen_restarts = inst.restarts
        if again > 0:
            counts.restarts += again
        begun, counts.begun_ns = counts.begun_ns, 0
        if begun == _WAS_READY:  # a daemon that forked: nobody tells of its end
            _count(counts, "timeout" if moved.source == "killing" else "clean")
        elif begun and (again > 0 or moved.target == "failed"):  # no main process came so far
            _count(counts, "launch")

    def exited(
        self, inst: Instance, unit: Unit, code: int, status: int, *, oom: bool, violation: bool,
        empty: bool,
    ) -> None:
        """Its main process has ended, which `inst` was not told yet. `code` is one of CLD_*,
        `oom` and `violation`: that was the cause; `empty`: nothing else of it is left."""
        counts, ready = self.of.get(inst.key), unit.start.ready
        if counts is None:  # nothing is known of its start
            return
        if (
            inst.phase == "starting" and ready.kind == "exit" and not empty
            and (code, status) == (CLD_EXITED, ready.code)
        ):
            return  # it has forked into the background
        why = "oom" if oom else "violation" if violation else _reason(inst, unit, code, status)
        _count(counts, why)
        counts.begun_ns = 0

    def forget(self, key: str) -> None:
        self.of.pop(key, None)


def classes(counts: Counts) -> tuple[int, ...]:
    """How many starts there were of each class of latency."""
    mask = (1 << _BITS) - 1
    return tuple(counts.classes >> _BITS * i & mask for i in range(len(BOUNDS_NS) + 1))


def _ready(counts: Counts, took_ns: int) -> None:
    index = next((i for i, bound in enumerate(BOUNDS_NS) if took_ns <= bound), len(BOUNDS_NS))
    counts.classes += 1 << _BITS * index
    counts.latency_ns += took_ns
    counts.ready += 1
    counts.begun_ns = _WAS_READY


def _count(counts: Counts, reason: str) -> None:
    if counts.exits is None:
        counts.exits = {}
    counts.exits[reason] = counts.exits.get(reason, 0) + 1


def _reason(inst: Instance, unit: Unit, code: int, status: int) -> str:
    """One word for an end: the first of these that is true."""
    why = inst.result  # of a run that was not to go on
    if why.startswith(TOO_LATE) or (inst.phase == "killing" and not why):
        return "timeout"
    if why.startswith((NO_PING, HUNG)):
        return "watchdog"
    if why:
        return "launch"
    if code == CLD_EXITED:
        return "clean" if status in unit.restart.success_codes else "failure"
    return "clean" if status in CLEAN_SIGNALS and unit.kind == "service" else "signal"
