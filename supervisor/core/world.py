"""All instances together: relations turned into events, requests into goals, deadlines into Due.

`World` is the one writer of every Instance. It is told events and requests with the time they
happened (`now`, monotonic ns), changes its instances in place, and leaves what must be done in
`turn.actions`, what changed in `turn.transitions` and `dirty`. It holds no descriptor, reads no
clock and blocks nowhere: the same calls give the same world again.

An edge is looked at when either end moves: a unit's dependents may now start (NeedsMet,
NeedFailed), or what it needs may now stop (Released). Whoever stops waits, still up, until all
that were ordered after it and are leaving too are gone; so a stop runs in reverse by level,
in parallel within one. An agent has such an edge from each unit that it is attached to, but nobody
ever waits for it to start.
"""
from __future__ import annotations

from _heapq import heapify, heappop, heappush
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from supervisor.core import graph as graphs
from supervisor.core.sent import attributed
from supervisor.core.starting import adopt
from supervisor.core.step import step
from supervisor.core.stopping import KILL_GRACE_NS, cut
from supervisor.core.turn import Turn
from supervisor.core.words import CAME, COMES, SKIPPED
from supervisor.model import action as do
from supervisor.model import event as ev
from supervisor.model.state import Instance, Power, Transition
from supervisor.model.unit import BOOT, RESCUE, SECOND_NS, Unit

RESTING = frozenset({"down", "failed", "waiting", "backoff"})  # nothing of it runs
ENDED = frozenset({"down", "failed"})
COMING = frozenset({"waiting", "launching", "starting"})
SERVING = frozenset({"starting", "up"})  # others may rely on it
HISTORY = 4096  # transitions kept for `why`
STALE = 1024  # timers that mean nothing any more are kept until there are so many
NO_FILE = "it has no unit file any more"
CLOSE_NS = 90 * SECOND_NS  # how long a shutdown may take in all

Edge = Literal["met", "pending", "failed", "absent"]
Verb = Literal["start", "stop", "restart", "reload", "reset"]


def keys_of(unit: Unit, cores: int) -> tuple[str, ...]:
    """The instance keys of a unit: its name, or NAME/0, NAME/1, ... if it has several."""
    count = unit.instances or cores
    return (unit.name,) if count == 1 else tuple(f"{unit.name}/{i}" for i in range(count))


def wanted(inst: Instance) -> bool:
    """Whether it runs, or will again without anybody's help."""
    return inst.goal == "up" and inst.phase not in ENDED


class World:
    def __init__(self, seed: int, cores: int, *, machine: bool = False) -> None:
        """`machine`: its units are those of a whole machine, which boots and is powered off."""
        self.machine = machine
        self.graph = graphs.build({})
        self.cores = cores
        self.instances: dict[str, Instance] = {}
        self.keys: dict[str, tuple[str, ...]] = {}  # unit -> its instances
        self.turn = Turn(0, 0, 0, seed, [], [], [])
        self.dirty: set[str] = set()
        self.fresh: list[Transition] = []
        self.stepping = ""  # key of the instance that is being stepped, or whose step raised
        self._unsettled: deque[Transition] = deque()
        self.history: deque[Transition] = deque(maxlen=HISTORY)
        self.closing_ns = 0  # deadline of the shutdown that is going on
        self.close_ns = CLOSE_NS
        self.ending: Power | Literal[""] = ""  # what becomes of the machine then
        self._timers: list[tuple[int, str]] = []
        self._due: dict[str, int] = {}  # key -> its only valid entry in _timers
        self.old: dict[str, Unit] = {}  # key -> definition, of what runs without a unit file
        self.left: dict[str, tuple[str, ...]] = {}  # unit -> what runs beyond its definition
        self._grown: dict[str, tuple[str, ...]] = {}  # unit that runs -> what it got more of

    # --- definitions --------------------------------------------------------------------------

    def define(self, units: dict[str, Unit], now: int = 0) -> None:
        """Replace all definitions; `recheck` when there were others before. What runs goes on, also
        what the new definitions have no more: that is forgotten once nothing of it runs. But of a
        unit that has other instances now, `recheck` starts those and stops the surplus ones. `now`
        0: what is new is as old as the supervisor."""
        old = self.graph.units
        self.graph = graphs.build(units, machine=self.machine)
        for unit in units.values():
            self._define(unit, now)
        for name in old:
            if name not in units:
                self._retire(name, old[name])

    def add(self, unit: Unit) -> None:
        """One more unit that has no relation to any other (no look at the whole graph)."""
        self.graph.units[unit.name] = unit
        self._define(unit, 0)

    def _define(self, unit: Unit, now: int) -> None:
        keys = keys_of(unit, self.cores)
        was = self.keys.get(unit.name, ())
        if was == keys:
            return
        if any(wanted(self.instances[key]) for key in was):
            self._grown[unit.name] = tuple(key for key in keys if key not in was)
        self.keys[unit.name] = keys
        for index, key in enumerate(keys):
            self._unleave(unit.name, key)
            if key not in self.instances:
                self.instances[key] = Instance(key, unit.name, index, defined_ns=now)
                self.dirty.add(key)
        for key in was:
            if key not in keys:
                self._leave(key)

    def _retire(self, name: str, unit: Unit) -> None:
        for key in self.all_of(name):
            self.old[key] = unit
            self.dirty.add(key)
        for key in self.keys.pop(name, ()):
            self._leave(key)

    def _leave(self, key: str) -> None:
        """An instance without definition: forget it, at once or when it has ended."""
        inst = self.instances[key]
        if inst.phase in ENDED:
            self._forget(key)
        else:
            self.left[inst.unit] = (*self.left.get(inst.unit, ()), key)

    def _unleave(self, name: str, key: str) -> None:
        self.old.pop(key, None)
        if name in self.left:
            rest = tuple(k for k in self.left.pop(name) if k != key)
            if rest:
                self.left[name] = rest

    def _forget(self, key: str) -> None:
        self._unleave(self.instances.pop(key).unit, key)
        self._due.pop(key, None)
        self.dirty.add(key)

    def all_of(self, name: str) -> tuple[str, ...]:
        """The keys of a unit's instances, with those that are only still there."""
        keys = self.keys.get(name, ())
        return (*keys, *self.left[name]) if name in self.left else keys

    def is_surplus(self, key: str) -> bool:
        """Whether it is an instance beyond the number that its unit has now."""
        name = self.instances[key].unit
        return name in self.left and name in self.keys and key in self.left[name]

    def number(self, name: str) -> str:
        """How many instances a unit has now, in words: why one begins, or has no definition."""
        count = len(self.keys.get(name, ()))
        return f"{name} now has {count} instance{'s' * (count > 1)}" if count else NO_FILE

    def _grow(self) -> None:
        """Start what units that run got more of."""
        grown, self._grown = self._grown, {}
        for key in [key for keys in grown.values() for key in keys if key in self.instances]:
            self.start_key(key, self.number(self.instances[key].unit), self.turn.now)

    def _trim(self, name: str) -> None:
        """Stop the surplus instances of a unit. Those that others replace (one instance has
        another key than one of several) serve until these do, if all share the listeners."""
        unit = self.graph.units.get(name)
        if unit is None:
            return
        phases = {self.instances[key].phase for key in self.keys[name]}
        replaced = "up" in phases and not phases & COMING
        for key in self.left.get(name, ()):
            inst = self.instances[key]
            leaves_now = replaced or not unit.listen or name not in (key, *self.keys[name])
            if leaves_now and (inst.goal == "up" or inst.again):
                self._step(inst, ev.GoDown(self.number(name)))
                self._release(inst)

    def _makes_way(self, inst: Instance) -> list[str]:
        """The surplus instances that must be gone before `inst`, which replaces them, starts."""
        name = inst.unit
        if name not in self.left or self.unit_of(inst).listen:
            return []
        return [
            key
            for key in self.left[name]
            if name in (key, inst.key) and self.instances[key].phase not in RESTING
        ]

    def unit_of(self, inst: Instance) -> Unit:
        unit = self.graph.units.get(inst.unit)
        return unit if unit is not None else self.old[inst.key]

    # --- requests -----------------------------------------------------------------------------

    def start(self, names: Iterable[str], cause: str, now: int) -> None:
        """Start units (groups: their members) and all that they pull in; in a shutdown, nothing."""
        asked = dict.fromkeys(names)
        keys = [key for name in asked for key in self.keys.get(name, ())]
        self._start(self._pulled(asked), keys, cause, now)

    def _pulled(self, names: Iterable[str]) -> list[str]:
        """`names` and what starting them starts. A boot that is done is not done again, nor
        one that failed for the sake of who repairs it (agents of `rescue` need it)."""
        mine = [self.instances[key] for key in self.keys.get(BOOT, ())] if self.machine else []
        done = mine and all(i.phase == "up" and i.goal == "up" and not i.again for i in mine)
        names = list(names)
        return graphs.closure(self.graph, names, BOOT if done or RESCUE in names else "")

    def start_key(self, key: str, cause: str, now: int) -> None:
        """Start one instance, and what its unit needs."""
        name = self.instances[key].unit
        pulled = [n for n in self._pulled([name]) if n != name]
        self._start(pulled, [key], cause, now)

    def _start(
        self, names: Iterable[str], keys: Iterable[str], cause: str, now: int, cause_id: int = 0
    ) -> None:
        """`keys` whatever they do now, and of `names` what does not run, has not failed to be kept
        running, nor has done its work (a finished task)."""
        self.turn.now = now
        if self.closing_ns:
            return
        asked = dict.fromkeys(key for key in keys if not self.is_surplus(key))
        fresh = [self.instances[key] for key in asked]
        pulled = [self.instances[key] for name in names for key in self.keys.get(name, ())]
        fresh += [
            inst
            for inst in pulled
            if inst.key not in asked
            and not inst.finished
            and (inst.goal == "down" or inst.phase in ENDED)
        ]
        losers = self._losers({*names, *(inst.unit for inst in fresh)})
        for name in dict.fromkeys(inst.unit for inst in fresh if inst.unit not in losers):
            for other in self.graph.conflicts.get(name, ()):
                self.stop([other], f"it conflicts with {name}, which starts", now)
        if self.graph.agents:
            from supervisor.core.agents import agents_first

            place = agents_first(dict.fromkeys(inst.unit for inst in fresh), self.graph.deps)
            fresh.sort(key=lambda inst: place[inst.unit])
        for inst in fresh:
            pulled_by = "an agent of" if inst.unit in self.graph.agents else "needed by"
            words = cause if inst.key in asked else f"{pulled_by} what was asked for ({cause})"
            winner = losers.get(inst.unit)
            if winner is None:
                self._step(inst, ev.GoUp(words, cause_id))
            elif inst.phase in ENDED:
                self._step(inst, ev.GoUp(words, cause_id))
                self._step(inst, ev.NeedFailed(f"it conflicts with {winner}, also asked for"))
        for inst in fresh:  # whose stop is called off holds nobody back any more
            for dep in self.graph.deps.get(inst.unit, ()):
                for key in self.all_of(dep.unit):
                    self._release(self.instances[key])
        self._settle()

    def _losers(self, wanted: set[str]) -> dict[str, str]:
        """Of units asked for at once that conflict, the first by name wins. Loser -> winner."""
        losers: dict[str, str] = {}
        if self.graph.conflicts:
            for name in sorted(wanted):
                for other in self.graph.conflicts.get(name, ()):
                    if other in wanted and other < name and other not in losers:
                        losers[name] = other
                        break
        return losers

    def stop(self, names: Iterable[str], cause: str, now: int) -> None:
        """Stop units (groups: their members) and all that cannot be without them."""
        self.turn.now = now
        keys: list[str] = []
        causes: dict[str, str] = {}  # of those that only follow
        seen = dict.fromkeys(m for n in names for m in graphs.members(self.graph, n))
        todo = list(seen)
        while todo:
            name = todo.pop()
            keys += self.all_of(name)
            for other in self.graph.dependents.get(name, ()):
                # What had to be finished once is not needed any more.
                hard = any(
                    d.unit == name and d.hard and d.until != "finished"
                    for d in self.graph.deps[other]
                )
                if hard and other not in seen:
                    seen[other] = None
                    todo.append(other)
                    for key in self.all_of(other):
                        causes[key] = f"it requires {name}: {cause}"
        self._leave_all(keys, ev.GoDown(cause), causes)

    def stop_key(self, key: str, cause: str, now: int) -> None:
        self.turn.now = now
        if self.all_of(self.instances[key].unit) == (key,):
            self.stop([self.instances[key].unit], cause, now)
        else:
            self._leave_all([key], ev.GoDown(cause))

    def restart(self, keys: Iterable[str], cause: str, now: int) -> None:
        """Stop and start instances; what is bound to them comes along. What is down starts."""
        self.turn.now = now
        if self.closing_ns:
            return
        seen = dict.fromkeys(keys)
        todo = list(seen)
        while todo:
            name = self.instances[todo.pop()].unit
            for other in self.graph.dependents.get(name, ()):
                if any(d.unit == name and d.bound for d in self.graph.deps[other]):
                    for key in self.all_of(other):
                        if key not in seen and self.instances[key].phase not in ENDED:
                            seen[key] = None
                            todo.append(key)
        down = [key for key in seen if self.instances[key].phase in ENDED]
        self._leave_all([key for key in seen if key not in down], ev.GoAgain(cause))
        for key in down:
            self.start_key(key, cause, now)

    def _leave_all(
        self, keys: Iterable[str], event: ev.GoDown | ev.GoAgain,
        causes: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """First everybody learns that it leaves, then those for whom nobody waits begin. `causes`:
        of whoever has another one than the event's."""
        leaving = [self.instances[key] for key in keys]
        for inst in leaving:
            own = (causes or {}).get(inst.key)
            self._step(inst, event if own is None else type(event)(own))
        for inst in leaving:
            self._release(inst)
        self._settle()

    def shut_down(self, cause: str, now: int, within_ns: int = 0) -> None:
        """Stop everything, in order, within that time (0: `close_ns`). Nothing is started any more.
        While that goes on it may be asked for again: the first deadline counts."""
        due = now + (within_ns or self.close_ns)
        self.closing_ns = min(due, self.closing_ns or due)
        self.turn.now = now
        self._leave_all(list(self.instances), ev.GoDown(cause))

    def end(self, power: Power, cause: str, now: int, within_ns: int = 0) -> None:
        """Shut a machine down; what is asked for last becomes of it."""
        self.ending = power
        self.shut_down(cause, now, within_ns)

    def kill_all(self, now: int) -> None:
        """Whatever still runs is killed now, order or not."""
        self.closing_ns = now
        self._close(now)

    @property
    def closed(self) -> bool:
        """A shutdown was asked for and nothing is left that could still be waited for."""
        return bool(self.closing_ns) and all(
            i.phase in ENDED or i.stuck for i in self.instances.values()
        )

    # --- events -------------------------------------------------------------------------------

    def deliver(self, key: str, event: object, now: int) -> None:
        """Let an event happen to one instance; unknown keys are of units long gone."""
        inst = self.instances.get(key)
        if inst is not None:
            self.turn.now = now
            self._step(inst, event)
            self._settle()

    def signalled(self, key: str, number: int, who: str, now: int) -> None:
        """An operator is about to send a signal to all of an instance: why it ends, if it does.
        `who`: words such as "uid 0 with `unboxed kill`"."""
        inst = self.instances[key]
        inst.sent, inst.sent_ns, inst.sent_by = number, now, who
        self.dirty.add(key)

    def deadline(self) -> int:
        """When `expire` must be called next, or 0 for never."""
        timers, due = self._timers, self._due
        while timers and due.get(timers[0][1]) != timers[0][0]:
            heappop(timers)
        soonest = timers[0][0] if timers else 0
        if self.closing_ns and (not soonest or self.closing_ns < soonest):
            return self.closing_ns
        return soonest

    def expire(self, now: int) -> None:
        """Deliver Due for every deadline up to `now`, those that only arise from it included."""
        timers, due = self._timers, self._due
        self.turn.now = now
        while timers and timers[0][0] <= now:
            when, key = heappop(timers)
            if due.get(key) == when:
                del due[key]
                self._step(self.instances[key], ev.Due())
                self._settle()
        if self.closing_ns and self.closing_ns <= now:
            self._close(now)

    def _close(self, now: int) -> None:
        """The shutdown's time is over: kill what is left, then wait for it no longer than that."""
        self.closing_ns = now + KILL_GRACE_NS
        self.turn.now = now
        for inst in list(self.instances.values()):
            self._cut(inst, "the time of the shutdown is over")
        self._settle()

    def force_down(self, key: str, words: str, now: int) -> None:
        """Give an instance up after an internal error: kill what runs of it, leave the reason."""
        inst = self.instances[key]
        self.turn.now = now
        if inst.phase not in RESTING:
            inst.result = words
        if inst.phase == "killing":
            inst.goal, inst.again = "down", False
        self._cut(inst, words)
        self._settle()
        self.recheck(now)  # what broke may have been on its way to others

    def _cut(self, inst: Instance, cause: str) -> None:
        """Go to the end of the stop ladder at once, from any phase."""
        if inst.phase in RESTING:
            self._step(inst, ev.GoDown(cause))
        else:
            cut(self.turn, self.unit_of(inst), inst, cause)
            self._arm(inst)

    def _step(self, inst: Instance, event: object) -> None:
        self.stepping = inst.key
        if inst.sent and isinstance(event, ev.Exited) and event.launch == inst.launch:
            event = attributed(inst, event, self.turn.now)
        step(self.turn, self.unit_of(inst), inst, event)
        self._arm(inst)
        self.stepping = ""

    def _arm(self, inst: Instance) -> None:
        """After any change of an instance: note it, and when it must be looked at next."""
        self.dirty.add(inst.key)
        due = 0
        for when in (inst.deadline_ns, inst.watchdog_due_ns, inst.age_due_ns, inst.measure_due_ns):
            if when and (not due or when < due):
                due = when
        if not due:
            self._due.pop(inst.key, None)
        elif self._due.get(inst.key) != due:
            self._due[inst.key] = due
            heappush(self._timers, (due, inst.key))
            if len(self._timers) > STALE + 4 * len(self._due):
                # A service may ping its watchdog as often as it likes; each moves its deadline.
                self._timers[:] = [(when, key) for key, when in self._due.items()]
                heapify(self._timers)

    def _settle(self) -> None:
        """Follow each transition to the units at the other ends of its edges, until none is new."""
        turn = self.turn
        while turn.transitions or turn.wanted or self._unsettled:
            fresh, turn.transitions = turn.transitions, []
            self.history.extend(fresh)
            self.fresh.extend(fresh)
            self._unsettled.extend(fresh)
            while self._unsettled:
                moved = self._unsettled.popleft()
                inst = self.instances.get(moved.key)
                if inst is not None:
                    self._moved(inst, moved)
            wanted, turn.wanted = turn.wanted, []
            for name, cause, cause_id in wanted:
                if name in graphs.ENDS:
                    if not self.closing_ns:
                        self.end(graphs.ENDS[name], cause, turn.now)
                    continue
                names = [n for n in self._pulled([name]) if not self._spent(n)]
                keys = self.keys.get(name, ()) if name in names else ()
                self._start(names, keys, cause, turn.now, cause_id)

    def _spent(self, name: str) -> bool:
        """Has it reached its own restart limit? Then nobody's `then` starts it again, or two units
        that name (or need) each other would never end."""
        for key in self.keys.get(name, ()):
            inst, limit = self.instances[key], self.graph.units[name].restart.limit
            if inst.phase == "failed" and limit is not None:
                since = self.turn.now - limit.within_ns
                if len([when for when in inst.recent_ns if when > since]) >= limit.count:
                    return True
        return False

    def _moved(self, inst: Instance, moved: Transition) -> None:
        graph, unit = self.graph, inst.unit
        if moved.target in RESTING or inst.stuck:  # before it may start again
            for dep in graph.deps.get(unit, ()):
                for key in self.all_of(dep.unit):
                    self._release(self.instances[key])
        defined = inst.key in self.keys.get(unit, ())
        if defined:
            self._check(inst)
        if unit in self.left and unit in graph.units:
            self._trim(unit)
            for key in self.keys[unit]:
                self._check(self.instances[key])
        for name in graph.dependents.get(unit, ()):
            self._look(name, inst, moved)
        for name in graph.conflicts.get(unit, ()):
            for key in self.all_of(name):
                self._check(self.instances[key])
        if not defined and inst.phase in RESTING and inst.key in self.instances:
            if inst.phase in ENDED:
                self._forget(inst.key)
            else:  # its next run would be by a definition that is gone
                self._step(inst, ev.GoDown(self.number(inst.unit), moved.id))

    def _look(self, name: str, inst: Instance, moved: Transition) -> None:
        """What `name`, which looks at `inst`'s unit, makes of its move."""
        if inst.unit in self.graph.agents and all(
            d.agent for d in self.graph.deps[name] if d.unit == inst.unit
        ):
            return  # nobody waits for an agent
        gone = moved.target not in SERVING and moved.source in SERVING
        gone = gone and not self.is_surplus(inst.key)  # the others are still there
        bound = gone and any(d.bound and d.unit == inst.unit for d in self.graph.deps[name])
        for key in self.all_of(name):
            other = self.instances[key]
            if other.phase == "waiting":
                self._check(other)
            elif bound and other.phase not in RESTING and other.goal == "up" and not other.again:
                cause = f"it is bound to {inst.unit}, which left"
                kind = ev.GoAgain if inst.goal == "up" else ev.GoDown
                self._step(other, kind(cause, moved.id))
                self._release(other)

    def _check(self, inst: Instance) -> None:
        """For an instance in waiting: are its needs met, or can they be no more."""
        if inst.phase != "waiting":
            return
        broken = self.graph.broken.get(inst.unit)
        if broken:
            self._step(inst, ev.NeedFailed(broken))
            return
        cause, cause_id, pending = "", 0, False
        for dep in self.graph.deps.get(inst.unit, ()):
            if dep.agent:
                continue
            state = self._status(dep.unit, dep.until)
            if dep.patient and state != "met":
                pending = True
            elif dep.hard and state in ("failed", "absent"):
                word = "failed" if state == "failed" else "is not running"
                last = self._last(dep.unit)
                self._step(inst, ev.NeedFailed(f"it needs {dep.unit}, which {word}", last))
                return
            if dep.order and state == "pending":
                pending = True
            elif state == "met" and self._last(dep.unit) > max(cause_id, inst.cause_id):
                # It became so after the wait began, so this is what ends it.
                came = SKIPPED if self._skipped(dep.unit) else CAME[dep.until]
                cause, cause_id = f"{dep.unit} {came}", self._last(dep.unit)
        for name in self.graph.conflicts.get(inst.unit, ()):
            pending = pending or not self._rests(name)
        if not pending and not self._makes_way(inst):
            self._step(inst, ev.NeedsMet(cause, cause_id))

    def _skipped(self, name: str) -> bool:
        return all(self.instances[key].skipped for key in self.keys.get(name, ()))

    def _last(self, name: str) -> int:
        return max((self.instances[k].cause_id for k in self.keys.get(name, ())), default=0)

    def _status(self, name: str, until: str) -> Edge:
        """Whether a unit, all its instances, has come as far as `until`."""
        if name in self.graph.broken:
            return "failed"
        worst: Edge = "met"
        for key in self.keys.get(name, ()):
            inst = self.instances[key]
            phase = inst.phase
            if inst.finished or inst.skipped:
                continue
            if phase == "failed":
                return "failed"
            if phase == "down" or (phase in SERVING and inst.goal == "down"):
                over = until == "finished" and inst.ended == "clean"
                worst = worst if over else "absent"
            elif phase == "up" and not inst.again:
                worst = "pending" if until == "finished" and worst == "met" else worst
            elif (phase != "starting" or until != "started") and worst == "met":
                worst = "pending"
        return worst

    def _waits(self, dep: graphs.Dep) -> bool:
        """Whether who has this edge waits for its other end."""
        state = self._status(dep.unit, dep.until)
        return state == "pending" or (dep.patient and state != "met")

    def _rests(self, name: str) -> bool:
        return all(self.instances[key].phase in RESTING for key in self.all_of(name))

    def _release(self, inst: Instance) -> None:
        """Begin a stop that is held back, if nobody is in its way any more."""
        if inst.phase not in SERVING or (inst.goal == "up" and not inst.again):
            return
        if not next(self.blockers(inst), ""):
            self._step(inst, ev.Released())

    def blockers(self, inst: Instance) -> Iterator[str]:
        """The instances that must be gone before this one may stop."""
        for name in self.graph.dependents.get(inst.unit, ()):
            if name in self.graph.broken:  # it may be part of a cycle: then nobody could begin
                continue
            if not any(d.order and d.unit == inst.unit for d in self.graph.deps[name]):
                continue
            for key in self.all_of(name):
                other = self.instances[key]
                leaves = other.goal == "down" or other.again
                if other.phase not in RESTING and not other.stuck and leaves:
                    yield key

    def waiting_for(self, inst: Instance) -> list[str]:
        """What an instance in waiting, or one whose stop is held back, waits for, in words."""
        if inst.phase in SERVING and (inst.goal == "down" or inst.again):
            return [f"{key} to stop" for key in self.blockers(inst)]
        if inst.phase != "waiting":
            return []
        found = [
            f"{dep.unit} to {COMES[dep.until]}"
            for dep in self.graph.deps.get(inst.unit, ())
            if dep.order and not dep.agent and self._waits(dep)
        ]
        rivals = self.graph.conflicts.get(inst.unit, ())
        rivals = (*self._makes_way(inst), *(name for name in rivals if not self._rests(name)))
        return found + [f"{name} to stop" for name in rivals]

    # --- after the death of an earlier manager (resume.py) ------------------------------------

    def put(self, inst: Instance, old: Unit | None) -> bool:
        """Take over what an earlier manager knew of an instance; `old`: its definition, if it has
        no unit file any more. False: it is of no use, being ended or without any definition."""
        if inst.unit not in self.graph.units:
            if old is None:
                self.dirty.add(inst.key)
                return False
            self.old[inst.key] = old
        if inst.key not in self.keys.get(inst.unit, ()):
            if inst.phase in ENDED:
                self.old.pop(inst.key, None)
                self.dirty.add(inst.key)
                return False
            self.left[inst.unit] = (*self.left.get(inst.unit, ()), inst.key)
        self.instances[inst.key] = inst
        self._arm(inst)
        return True

    def adopt(self, inst: Instance, launch: int, pid: int, cause: str) -> None:
        """Something of `inst` is found running that it does not know: it counts as ready."""
        adopt(self.turn, self.unit_of(inst), inst, launch, pid, cause)
        self._arm(inst)

    def recheck(self, now: int) -> None:
        """Look at everything that waits, for its needs or for others to stop before it. What waits,
        if only for its next try, and has no definition any more is over."""
        self.turn.now = now
        for name in list(self.left):
            self._trim(name)
        self._grow()
        for inst in list(self.instances.values()):
            if inst.phase in RESTING and inst.key not in self.keys.get(inst.unit, ()):
                self._step(inst, ev.GoDown(self.number(inst.unit)))
            else:
                self._check(inst)
            self._release(inst)
        self._settle()

    # --- what a turn leaves -------------------------------------------------------------------

    def take(self) -> tuple[list[do.Action], list[Transition], set[str]]:
        """Actions to perform, transitions to tell, instances to write down; each once."""
        actions, self.turn.actions = self.turn.actions, []
        fresh, self.fresh = self.fresh, []
        dirty, self.dirty = self.dirty, set()
        return actions, fresh, dirty

    def untake(
        self, actions: list[do.Action], fresh: list[Transition], dirty: set[str]
    ) -> None:
        """What was taken could not be written down: it is still to be taken."""
        self.turn.actions[:0] = actions
        self.fresh[:0] = fresh
        self.dirty |= dirty

    def why(self, key: str) -> list[Transition]:
        """The chain of transitions that led to the present state, the latest first."""
        chain: list[Transition] = []
        by_id = {t.id: t for t in self.history}
        current = by_id.get(self.instances[key].cause_id)
        while current is not None:  # a cause is older than what it led to, so this ends
            chain.append(current)
            current = by_id.get(current.cause_id)
        return chain
