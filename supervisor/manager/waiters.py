"""Calls that are answered when something has become true."""
from __future__ import annotations

from collections.abc import Callable

from supervisor.core.turn import leaves
from supervisor.core.words import TOO_LATE
from supervisor.core.world import World
from supervisor.manager.reports import Reports, state
from supervisor.manager.supervisor import Supervisor
from supervisor.model.report import Outcome, Progress, Result
from supervisor.model.request import Call
from supervisor.model.state import Instance, Transition

FAILED, NOT_RUNNING, TIMED_OUT = 1, 3, 5
SOON_NS = 200_000_000  # how long a process runs that was not wrong from the beginning
# Of an instance, and whether it came up since it was waited for (it may have ended again, all in
# one turn); None: not yet.
Test = Callable[[Instance, bool], Result | None]


def started(sup: Supervisor, verb: str) -> Test:
    """Came up, or ended as it should; a start that failed fails now, even if it is tried again."""

    def test(inst: Instance, came_up: bool) -> Result | None:
        if inst.phase == "up" and inst.goal == "up" and not inst.again:
            # Of what does not say when it is ready, only the exec is known: it may end at once.
            silent = sup.world.unit_of(inst).start.ready.kind == "exec"
            fresh = silent and sup.now() < inst.started_ns + SOON_NS
            return Result(inst.key, True, "started" if fresh else "running")
        if inst.phase == "down" and (inst.finished or inst.skipped):
            return Result(inst.key, True, state(inst) + (f": {inst.cause}" if inst.skipped else ""))
        if came_up:  # how it ended since is no matter of its start, however soon that was
            return Result(inst.key, True, "started")
        code = TIMED_OUT if inst.result.startswith(TOO_LATE) else FAILED
        if inst.phase == "failed":
            words = f"cannot {verb} {inst.key}: {inst.cause}; it stays failed until it is started"
            return Result(inst.key, False, words, code)
        if inst.phase == "backoff":
            words = f"cannot {verb} {inst.key}: {inst.cause}; it is tried again"
            return Result(inst.key, False, words, code)
        if inst.phase == "down" and inst.goal == "down":
            words = f"cannot {verb} {inst.key}: {inst.cause}; it is down"
            return Result(inst.key, False, words, FAILED)
        return None

    return test


def stopped(inst: Instance, _came_up: bool) -> Result | None:
    if inst.phase in ("down", "failed"):
        return Result(inst.key, True, state(inst))
    if inst.stuck:
        words = f"cannot stop {inst.key}: it survived SIGKILL, the kernel holds on to a process"
        return Result(inst.key, False, words + "; it is watched", FAILED)
    if inst.goal == "up" and not inst.again and inst.phase != "up":
        words = f"cannot stop {inst.key}: it was started again meanwhile; it runs"
        return Result(inst.key, False, words, FAILED)
    return None


def reloaded(inst: Instance, _came_up: bool) -> Result | None:
    if inst.phase == "up" and not inst.reloading and inst.role != "reload" and not inst.again:
        return Result(inst.key, True, "reloaded")
    if inst.phase in ("failed", "down", "backoff"):
        words = f"cannot reload {inst.key}: it ended ({inst.cause})"
        return Result(inst.key, False, words, FAILED)
    return None


def _gone(world: World, key: str, test: Test) -> Result:
    """Of what was forgotten while it was waited for."""
    name = key.partition("/")[0]
    if name in world.keys:
        return Result(key, True, f"gone: {world.number(name)}")
    if test is stopped:
        return Result(key, True, "gone: it has no unit file any more")
    words = f"cannot wait for {key}: it has no unit file any more; it is down and forgotten"
    return Result(key, False, words, NOT_RUNNING)


class Waiters:
    def __init__(
        self, sup: Supervisor, reports: Reports, told: Callable[[list[str]], None]
    ) -> None:
        """`told`: called with the keys of which somebody was told the result."""
        self._sup = sup
        self._told = told
        self._reports = reports
        self._open: list[_Waiter] = []
        sup.listeners.append(self._on_transitions)

    def add(self, call: Call, keys: list[str], test: Test, ready: list[Result]) -> None:
        """Answer `call` once `test` has a result for each key; `ready`: results known already."""
        waiter = _Waiter(call, dict.fromkeys(keys), test, ready)
        found = self._sup.world.instances
        waiter.begun = {key for key in keys if key in found and not leaves(found[key])}
        self._open.append(waiter)
        call.closed = lambda: self._open.remove(waiter) if waiter in self._open else None
        self.look(waiter)

    def _on_transitions(self, fresh: list[Transition]) -> None:
        moved = {t.key for t in fresh}
        for waiter in list(self._open):
            if moved & waiter.left.keys():
                waiter.follow(fresh)
                self.look(waiter)

    def look_all(self) -> None:
        """After something changed that is no transition (a reload is done, a stop is stuck, or
        `look_ns` is there: whoever needs it another time sets it again)."""
        self._sup.look_ns = 0
        for waiter in list(self._open):
            self.look(waiter)

    def look(self, waiter: _Waiter) -> None:
        instances = self._sup.world.instances
        for key in list(waiter.left):
            inst = instances.get(key)
            if inst is None:
                result: Result | None = _gone(self._sup.world, key, waiter.test)
            else:
                result = waiter.test(inst, key in waiter.came_up)
            if result is not None:
                waiter.results.append(result)
                del waiter.left[key]
        if not waiter.left:
            self._open.remove(waiter)
            waiter.call.closed = None
            waiter.call.reply(Outcome(results=tuple(waiter.results)))
            self._told([result.key for result in waiter.results])
        elif waiter.call.more:
            rows = tuple(self._reports.progress(instances[k]) for k in list(waiter.left)[:100])
            if rows != waiter.shown:
                waiter.shown = rows
                waiter.call.progress(Outcome(progress=rows))

    @property
    def waiting(self) -> bool:
        return bool(self._open)


class _Waiter:
    def __init__(
        self, call: Call, left: dict[str, None], test: Test, results: list[Result]
    ) -> None:
        self.call = call
        self.left = left
        self.test = test
        self.results = results
        self.shown: tuple[Progress, ...] = ()  # what the client was told last
        self.begun: set[str] = set()  # whose run is not one that a restart ends first
        self.came_up: set[str] = set()

    def follow(self, fresh: list[Transition]) -> None:
        for one in fresh:
            if one.target == "launching" and one.key in self.left:
                self.begun.add(one.key)
            elif one.target == "up" and one.key in self.begun:
                self.came_up.add(one.key)
