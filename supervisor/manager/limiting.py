"""Units with [limits]: their groups, from before a launch until the instance is down.

Law: nothing here decides what a unit does. A limit is applied, told as missing, or refuses the
launch; an end for want of memory is put in words. Loaded when the first such unit is there.
"""
from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from supervisor.core.graph import Graph
from supervisor.core.slices import NoSlice, chain, shared
from supervisor.core.words import CLD_KILLED, exit_words
from supervisor.kernel import usage
from supervisor.kernel.cgroup import CgroupTracker
from supervisor.kernel.limit_groups import Slices, above, group_of
from supervisor.kernel.limiter import CannotLimit, Limiter
from supervisor.kernel.limits import Missing
from supervisor.kernel.retune import retune
from supervisor.kernel.tracking import Figures, added_bytes, private_bytes
from supervisor.kernel.usage import Oom, Usage
from supervisor.manager.launcher import CannotLaunch
from supervisor.manager.loop import READ
from supervisor.manager.runtime import group_name
from supervisor.model import action as do
from supervisor.model.state import Instance, Role
from supervisor.model.unit import Limits, Unit

if TYPE_CHECKING:
    from supervisor.manager.supervisor import Supervisor

_SIGKILL = 9
_SOON_NS = 5_000_000  # the kernel tells that memory ran out just before it kills for it
_LOOKS = 40
_LATER_NS = 100_000_000
_UNWATCHED = "limits.oom cannot be enforced here: nobody is told when memory runs out"
_HELD = "what is there already holds"


class _Run:
    """One instance's present run: its limits, and the counters from before it."""

    def __init__(self, limits: Limits, slices: Slices, before: Oom, shared: list[Oom]) -> None:
        self.limits = limits
        self.slices = slices
        self.before = before
        self.shared = shared  # of each slice
        self.missing: tuple[str, ...] = ()  # what is not enforced, as sentences
        self.late = False  # its memory was charged elsewhere first, and most of it still is
        self.fd = -1  # tells that memory ran out, where the kernel leaves the rest to us


class Limiting:
    def __init__(self, sup: Supervisor, *, adopt: bool = False) -> None:
        """`adopt`: an earlier manager of this supervisor made groups; else they are leftovers of
        another supervisor that had our name, and what is empty of them goes."""
        self._sup = sup
        name, base = group_name(sup.paths), getattr(sup.tracker, "base", "")
        if not adopt:
            old = Limiter(name, base)
            old.adopt()
            old.close()
        self._limiter = Limiter(name, base)
        if adopt:
            self._limiter.adopt()
        self._graph: Graph | None = None  # of which `_budgets` are
        self._budgets: frozenset[str] = frozenset()  # of units that others count into
        self._runs: dict[str, _Run] = {}
        self._short: dict[str, int] = {}  # key -> looks left for the kill that was announced
        self._left: set[str] = set()  # keys whose groups could not be removed yet

    # --- before a launch ----------------------------------------------------------------------

    def prepare(self, inst: Instance, unit: Unit, role: Role, hook: int) -> tuple[str, ...]:
        """Make its limits hold; the groups that the new process joins. Raises CannotLaunch."""
        key, run = inst.key, self._runs.get(inst.key)
        anew = role in ("", "before")
        if anew and unit.limits is None:
            self._without(key)
            return ()
        if not anew and run is None:  # its run began without limits
            return ()
        if anew or run is None:
            limits = unit.limits or Limits()
            try:
                slices = self._chain(unit)
            except NoSlice as exc:
                raise CannotLaunch(str(exc)) from exc
            self._place(key, slices)
        else:  # a command of a run goes by what that run began with
            limits, slices = run.limits, run.slices
        try:
            prepared = self._limiter.prepare(key, limits, slices)
        except CannotLimit as exc:  # some of its groups may be there: `release` takes them away
            self._runs.setdefault(key, _Run(limits, slices, Oom(0, 0), []))
            raise CannotLaunch(str(exc)) from exc
        first = hook == 0 and (role == "before" or not unit.start.before)
        if run is None or (anew and first):
            if run is not None:
                self._unwatch(key, run)
            run = self._runs[key] = _Run(limits, slices, prepared.before, self._shared(slices))
            self._left.discard(key)
        run.limits, run.slices = limits, slices
        run.missing = tuple(map(str, prepared.missing))
        self._watch(key, run)
        if self._must_watch(run):
            raise CannotLaunch(run.missing[-1])
        return prepared.joins

    def _must_watch(self, run: _Run) -> bool:
        """Whether a watch that could not be had is more than a default that cannot be kept."""
        lost = run.missing != () and run.missing[-1] == _UNWATCHED
        return lost and run.limits.oom == "unit" and run.limits.require == "all"

    def _chain(self, unit: Unit) -> Slices:
        graph = self._sup.world.graph
        if graph is not self._graph:
            self._graph, self._budgets = graph, shared(graph.units)
        return chain(unit, graph.units, self._budgets)

    def _shared(self, slices: Slices) -> list[Oom]:
        return [usage.oom(places) for places in self._limiter.shared(slices)]

    def _place(self, key: str, slices: Slices) -> None:
        """Its groups are below those of its slices. Of another place than before, the old go."""
        tracker, group = self._sup.tracker, group_of(key, slices)
        unified = tracker if isinstance(tracker, CgroupTracker) else None
        if self._limiter.group(key) == group and (unified is None or unified.group(key) == group):
            return
        tracker.remove(key)
        self._limiter.remove(key)
        self._sup.launcher.forget(key)  # its frame names the group
        if unified is not None:
            unified.slices.pop(key, None)
            if slices:
                unified.slices[key] = above(slices)

    def _without(self, key: str) -> None:
        """The run that begins has no limits; an earlier one may have had some."""
        if key in self._runs:
            self._sup.tracker.remove(key)  # on v2 they are gone with the group
            self._sup.launcher.forget(key)
            self.release(key)

    # --- while it runs ------------------------------------------------------------------------

    def _watch(self, key: str, run: _Run) -> None:
        wanted = self._limiter.watches(key, run.limits)
        if not wanted:
            self._unwatch(key, run)
        elif run.fd < 0:
            run.fd = self._limiter.watch_oom(key)
            if run.fd >= 0:
                self._sup.loop.add(run.fd, READ, lambda _events: self._ran_out(key))
            else:
                run.missing += (_UNWATCHED,)

    def _unwatch(self, key: str, run: _Run) -> None:
        self._short.pop(key, None)
        if run.fd >= 0:
            self._sup.loop.remove(run.fd)
            os.close(run.fd)
            run.fd = -1

    def _ran_out(self, key: str) -> None:
        """What the kernel kills next may be one process; with oom = "unit" the rest goes too."""
        self._sup.current = key
        run = self._runs[key]
        try:
            os.read(run.fd, 8)
        except BlockingIOError:
            return
        self._short[key] = _LOOKS
        self._look(key, run)

    def _look(self, key: str, run: _Run) -> None:
        if usage.oom(self._limiter.places(key)).kills > run.before.kills:
            del self._short[key]
            if self._sup.world.instances[key].phase not in ("down", "failed", "backoff"):
                self._sup.perform(do.KillAll(key))
            return
        self._short[key] -= 1
        if self._short[key]:
            self._wake(self._sup.now() + _SOON_NS)
        else:  # memory was found after all
            del self._short[key]

    def look(self, now: int) -> None:
        """At what was to be looked at again by now."""
        self._sup.limits_ns = 0
        for key in list(self._short):
            self._look(key, self._runs[key])
        for key in list(self._left):
            if self._limiter.remove(key):
                self._left.discard(key)
        if self._left:
            self._wake(now + _LATER_NS)

    def _wake(self, when_ns: int) -> None:
        self._sup.limits_ns = min(self._sup.limits_ns or when_ns, when_ns)

    def change(self, key: str, unit: Unit) -> list[str]:
        """Make the limits of `unit` hold for a running instance; what could not be, as sentences.
        Raises NoSlice."""
        run, limits, slices = self._runs.get(key), unit.limits or Limits(), self._chain(unit)
        old = run.limits if run is not None else None

        def pids() -> Sequence[int]:
            return self._sup.tracker.pids(key)

        if self._limiter.group(key) != group_of(key, slices):
            words = ["limits.slice, and what limits its group, holds from the next start on"]
        else:
            words = self._limiter.live(key, old, limits, slices, pids)
            if unit.name in self._budgets:
                words += self._limiter.live_slice(slices)
        words += retune(old, limits, pids)
        if run is None:
            before = usage.oom(self._limiter.places(key))
            run = self._runs[key] = _Run(limits, slices, before, self._shared(slices))
        run.late = run.late or self._is_late(key)
        run.limits, run.missing = limits, tuple(words)
        self._watch(key, run)
        return words

    def change_group(self, name: str) -> list[str]:
        """The same for what the members of a slice share, which is by its definition of today."""
        unit = self._sup.world.graph.units[name]
        if unit.limits is None:
            return []
        words = self._limiter.live_slice((*self._chain(unit), (name, unit.limits)))
        for run in self._runs.values():
            run.slices = tuple(
                (slice_, unit.limits if slice_ == name else limits) for slice_, limits in run.slices
            )
        return words

    # --- looking ------------------------------------------------------------------------------

    def missing(self, key: str) -> tuple[str, ...]:
        run = self._runs.get(key)
        return run.missing if run is not None else ()

    def usage(self, key: str) -> Usage | None:
        """None: it has no limits now. Of memory that is charged in part only nothing is told."""
        run = self._runs.get(key)
        if run is None:
            return None
        found = usage.read_usage(self._limiter.places(key))
        if not run.late:
            return found
        added = added_bytes(self._sup.tracker.pids(key))
        return found._replace(memory_bytes=added, memory_peak_bytes=None)

    def figures(self, key: str, found: Figures) -> Figures:
        """`found` by its processes, but memory as the kernel charges it, where it does."""
        run = self._runs.get(key)
        if run is None:
            return found
        if run.late:
            return found._replace(memory_bytes=added_bytes(self._sup.tracker.pids(key)))
        charged = usage.memory_bytes(self._limiter.places(key))
        return found if charged is None else found._replace(memory_bytes=charged)

    def explain(self, inst: Instance, unit: Unit) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
        """Key and mechanism of each limit, and the groups that a launch would join. A controller
        that it needs is asked for. Raises CannotLaunch."""
        try:
            limits, slices = unit.limits or Limits(), self._chain(unit)
        except NoSlice as exc:
            raise CannotLaunch(str(exc)) from exc
        if unit.kind == "group":  # it has what a slice has, and no process of its own
            mine = f"slice {unit.name}: "
            rows = self._limiter.explain(Limits(), (*slices, (unit.name, limits)))
            own = [(key, words.removeprefix(mine)) for key, words in rows if mine in words]
            return own, ()
        rows = self._limiter.explain(limits, slices)
        return rows, self._limiter.joins(inst.key, limits, slices)

    def unenforceable(self, unit: Unit) -> list[Missing]:
        """Keys that it would not start with."""
        if unit.limits is None or unit.limits.require != "all":
            return []
        return self._limiter.missing(unit.limits, group=unit.kind == "group")

    # --- the end ------------------------------------------------------------------------------

    def end_words(self, key: str, code: int, status: int) -> str:
        """Of a process that ended, if memory was the cause; "" if it was not."""
        run = self._runs.get(key)
        return self._ended(key, run, code, status) if run is not None else ""

    def _ended(self, key: str, run: _Run, code: int, status: int) -> str:
        after = usage.oom(self._limiter.places(key))
        rows = [
            (name, limits, was, now)
            for (name, limits), was, now in zip(
                run.slices, run.shared, self._shared(run.slices), strict=False
            )
        ]
        words = usage.why_killed(run.before, after, run.limits, rows)
        if not words or (code == CLD_KILLED and status == _SIGKILL):
            return words
        return f"{exit_words(code, status)}; one of its processes was {words}"

    def release(self, key: str) -> None:
        """It is down, and tracking has removed its group."""
        run = self._runs.pop(key, None)
        if run is None:
            return
        self._unwatch(key, run)
        if isinstance(self._sup.tracker, CgroupTracker):
            self._sup.tracker.slices.pop(key, None)
        if not self._limiter.remove(key):
            self._left.add(key)
            self._wake(self._sup.now() + _LATER_NS)

    def close(self) -> None:
        """Everything is down: nothing of ours is left in any hierarchy."""
        for key in self._left:
            self._limiter.remove(key)
        self._limiter.close()

    # --- another manager ----------------------------------------------------------------------

    def ended_meanwhile(
        self, inst: Instance, units: dict[str, Unit], code: int, status: int
    ) -> str:
        """As `end_words`, of what ended when there was no manager. What the counters were before
        is known of a first run only: they began with it."""
        unit = units.get(inst.unit)
        if inst.restarts or unit is None or unit.limits is None:
            return ""
        try:
            slices: Slices = chain(unit, units)
        except NoSlice:
            slices = ()
        nothing = Oom(0, 0)
        run = _Run(unit.limits, slices, nothing, [nothing for _ in slices])
        return self._ended(inst.key, run, code, status)

    def resume(self) -> None:
        """Go on with what runs: the same limits, watched again."""
        world = self._sup.world
        for key, inst in world.instances.items():
            unit = self._sup.launched.get(key) or world.unit_of(inst)
            if unit.limits is None or key in self._runs or inst.phase in ("down", "failed"):
                continue
            if inst.phase in ("waiting", "backoff"):  # its groups are there for the next run
                self._runs[key] = _Run(unit.limits, (), Oom(0, 0), [])
            else:
                self._resume(key, unit, unit.limits)

    def _resume(self, key: str, unit: Unit, limits: Limits) -> None:
        missing: Sequence[object] = ()
        slices = self._present(key)  # which may be those of an earlier definition
        try:
            if group_of(key, self._chain(unit)) == self._limiter.group(key):
                missing = self._limiter.prepare(key, limits, slices).missing
        except (NoSlice, CannotLimit) as exc:
            self._sup.report(f"cannot look after the limits of {key}: {exc}; {_HELD}")
        before = usage.oom(self._limiter.places(key))
        run = self._runs[key] = _Run(limits, slices, before, self._shared(slices))
        run.missing = tuple(map(str, missing))
        run.late = self._is_late(key)
        self._watch(key, run)

    def _is_late(self, key: str) -> bool:
        """Whether its group is charged with less than its main process alone has to itself."""
        charged = usage.memory_bytes(self._limiter.places(key))
        return charged is not None and charged < private_bytes(self._sup.world.instances[key].pid)

    def _present(self, key: str) -> Slices:
        """The slices that it is in by its groups, with their limits of today."""
        units = self._sup.world.graph.units
        names = [part[1:] for part in self._limiter.group(key).split("/")[:-1]]
        found = [(name, units[name].limits if name in units else None) for name in names]
        return tuple((name, limits or Limits()) for name, limits in found)
