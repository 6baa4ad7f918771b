"""A manager around the real core on the simulated kernel, that can be killed at any point.

It keeps the crash contract of core/resume.py: hear, step, write down, acknowledge, perform. Each
place where a real manager can be killed is a call of `_point`. `Watched` is the real World with
every single step looked at: that is where most of the invariants are.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import msgpack
from msgspec.structs import replace

from supervisor.core.resume import Saved, resume
from supervisor.core.stopping import KILL_GRACE_NS
from supervisor.core.world import CLOSE_NS, ENDED, RESTING, SERVING, World
from supervisor.model import action as do
from supervisor.model import event as ev
from supervisor.model.state import Instance, Transition
from supervisor.model.unit import BOOT, Unit
from tests.model.kernel import QUICK, STEADY, Behaviour, Kernel

Plans = Mapping[str, Sequence[Behaviour]]  # "UNIT" or "UNIT:ROLE" -> its runs; the last repeats


class Killed(Exception):
    """SIGKILL to the manager."""


class Watched(World):
    """World, with an eye on every step."""

    def __init__(self, seed: int, cores: int, *, machine: bool = False) -> None:
        super().__init__(seed, cores, machine=machine)
        self.restart_times: dict[str, list[int]] = {}
        self.told: dict[str, Transition] = {}

    def _step(self, inst: Instance, event: object) -> None:
        before, known = replace(inst), len(self.turn.transitions)
        super()._step(inst, event)
        launch = getattr(event, "launch", None)
        if launch is not None and launch not in (before.launch, before.job):
            assert inst == before, "an event of another launch changed something"
        for moved in self.turn.transitions[known:]:
            self._check_transition(inst, before, moved)
        if inst.restarts > before.restarts:
            self._check_limit(inst)

    def _forget(self, key: str) -> None:
        super()._forget(key)
        self.told.pop(key, None)
        self.restart_times.pop(key, None)

    def _check_transition(self, inst: Instance, before: Instance, moved: Transition) -> None:
        assert moved.cause, f"no cause: {moved}"
        assert moved.cause_id < moved.id
        assert moved.time_ns == self.turn.now
        last = self.told.get(inst.key)
        assert last is None or (last.target, True) == (moved.source, last.id < moved.id)
        self.told[inst.key] = moved
        if moved.target == "launching":
            for dep in self.graph.deps.get(inst.unit, ()):
                if dep.hard and dep.order:
                    assert self.has_come(dep.unit, dep.until), f"{inst.key} needs {dep.unit}"
        asked = (before.goal == "down" or before.again) and not inst.result
        if asked and moved.source in SERVING and moved.target == "stopping":
            assert not self.in_the_way(inst), f"{inst.key} stops before {self.in_the_way(inst)}"

    def has_come(self, name: str, until: str) -> bool:
        """A statement of what a need means, apart from the code under test."""
        for key in self.keys[name]:
            inst = self.instances[key]
            done = inst.finished or inst.skipped or (inst.phase == "down" and inst.ended == "clean")
            if until == "finished" or done:
                if not done:
                    return False
            elif inst.phase != "up" and not (until == "started" and inst.phase == "starting"):
                return False
        return True

    def in_the_way(self, inst: Instance) -> list[str]:
        """Who is ordered after `inst`, leaves too, and still runs."""
        late = [
            name
            for name, unit in self.graph.units.items()
            if name not in self.graph.broken and self._ordered_after(unit, inst.unit)
        ]
        return [
            other.key
            for other in self.instances.values()
            if other.unit in late and other.phase not in RESTING and not other.stuck
            and (other.goal == "down" or other.again)
        ]  # fmt: skip

    def _ordered_after(self, unit: Unit, name: str) -> bool:
        needs = unit.needs
        edges = (*needs.requires, *needs.wants, *needs.binds_to, *needs.after)
        before = self.graph.units[name].needs.before if name in self.graph.units else ()
        return (
            any(e.unit == name and e.order for e in edges)
            or any(e.unit == unit.name for e in before)
            or self._is_agent_of(name, unit.name)
            or (name == BOOT and self._waits_for_boot(unit.name))
        )

    def _waits_for_boot(self, name: str) -> bool:
        """Whether it does although its file does not say so: a machine's, and `boot` does not look
        at it."""
        units = self.graph.units
        early = {BOOT, "rescue"}
        todo = early & units.keys()
        while todo:
            needs = units[todo.pop()].needs
            edges = (*needs.requires, *needs.wants, *needs.binds_to, *needs.after)
            ahead = {e.unit for e in edges if e.unit in units}
            ahead |= {n for n, u in units.items() if early & {e.unit for e in u.needs.before}}
            todo |= ahead - early
            early |= ahead
        return self.machine and BOOT in units and name not in early

    def _is_agent_of(self, name: str, main: str) -> bool:
        """Whether that agent goes first: unless it is refused, or its needs say otherwise."""
        units = self.graph.units
        if name not in units or name in self.graph.broken or main not in units[name].attach:
            return False
        first: set[str] = set()
        todo = {name}
        while todo:
            one = units[todo.pop()]
            needs = one.needs
            edges = (*needs.requires, *needs.wants, *needs.binds_to, *needs.after)
            ahead = {e.unit for e in edges if e.order and e.unit in units}
            ahead |= {n for n, u in units.items() if one.name in {e.unit for e in u.needs.before}}
            ahead |= {BOOT} if self._waits_for_boot(one.name) else set()
            todo |= ahead - first
            first |= ahead
        return main not in first

    def _check_limit(self, inst: Instance) -> None:
        limit = self.unit_of(inst).restart.limit
        times = self.restart_times.setdefault(inst.key, [])
        if inst.restarts == 1:
            times.clear()
        times.append(self.turn.now)
        if limit is not None:
            recent = [t for t in times if self.turn.now - t < limit.within_ns]
            assert len(recent) <= limit.count, f"{inst.key} restarts without end"


class Host:
    def __init__(
        self, units: Mapping[str, Unit], plans: Plans, now: int, kill_in: Sequence[int] = (),
        *, machine: bool = False,
    ) -> None:  # fmt: skip
        """`kill_in`: after so many points the manager is killed, then after so many more, ..."""
        self.plans = plans
        self.kernel = Kernel(now)
        self.now = now
        self.points = 0
        self.writes = 0
        self.kills = 0
        self.dead_ns = 0  # how long it takes until there is a new manager
        self._kill_in = list(kill_in)
        self._machine = machine
        self._runs: dict[tuple[str, str], int] = {}
        self._written: dict[str, bytes] = {}
        self._old: dict[str, bytes] = {}
        self._units = msgpack.encode({})
        self._known: dict[str, Unit] = {}
        self._counters = (0, 0, 0)
        self._watching: set[str] = set()
        self.acks: list[int] = []
        self.log: list[Transition] = []
        self.released: set[str] = set()
        self.world = Watched(7, 2, machine=self._machine)
        self.define(units)

    # --- life and death of the manager --------------------------------------------------------

    def _point(self) -> None:
        self.points += 1
        if self._kill_in:
            self._kill_in[0] -= 1
            if self._kill_in[0] < 0:
                self._kill_in.pop(0)
                raise Killed

    def survive(self, work: Callable[[], None]) -> bool:
        """Do `work`; if the manager is killed in it, start new ones until one lives. False then."""
        try:
            work()
        except Killed:
            while True:
                try:
                    self._recover()
                except Killed:
                    continue
                return False
        return True

    def kill_in(self, points: int) -> None:
        self._kill_in.append(points)

    def play_fair(self) -> None:
        """From now on every process that is started does what it should, and no manager dies."""
        self.plans = {}
        self._kill_in.clear()
        for key in sorted(self.kernel.frozen):
            self.kernel.freeze(key, False)
            self.request(lambda world, now, key=key: world.deliver(key, ev.Froze(False), now))  # type: ignore[misc]

    def kill(self) -> None:
        """Kill it between two turns."""
        self.survive(self._die)

    def _die(self) -> None:
        raise Killed

    def _recover(self) -> None:
        self.kills += 1
        times = self.world.restart_times
        self.world = Watched(7, 2, machine=self._machine)
        self.world.restart_times = times
        self._watching.clear()
        self.acks.clear()
        self.now += self.dead_ns
        self.kernel.run(self.now)
        self.kernel.news.clear()
        self.world.define(msgpack.decode(self._units, type=dict[str, Unit]))
        instances = [msgpack.decode(b, type=Instance) for b in self._written.values()]
        for inst in instances:
            if inst.key in times:  # restarts that were never written down did not happen
                times[inst.key] = list(inst.recent_ns)
        launch, transition, closing = self._counters
        old = {key: msgpack.decode(b, type=Unit) for key, b in self._old.items()}
        saved = Saved(instances, launch, transition, closing, old)
        facts = self.kernel.facts()
        strays = resume(self.world, saved, facts, self.kernel.highest, self.now)
        self.acks += [child.launch for child in facts if child.state == "EXITED_UNACKED"]
        self._point()
        for stray in strays:
            self.kernel.signal(stray.launch, 9)
            if ":" not in stray.key:
                self.kernel.signal_all(stray.key, 9)
        self.commit()

    def lose_journal(self, units: Mapping[str, Unit]) -> None:
        """The manager and its journal are gone."""
        self._written.clear()
        self._old.clear()
        self._counters = (0, 0, 0)
        self._units = msgpack.encode(dict(units))
        self.kill()

    # --- one turn -----------------------------------------------------------------------------

    def commit(self) -> None:
        while True:
            self._point()
            actions, fresh, dirty = self.world.take()
            if not (actions or fresh or dirty or self.acks):
                return
            self._write(dirty)
            self.log += fresh
            self._point()
            while self.acks:
                self.kernel.ack(self.acks.pop(0))
                self._point()
            for action in actions:
                self._perform(action)
                self._point()

    def _write(self, dirty: set[str]) -> None:
        world = self.world
        self.writes += 1
        for key in dirty:
            inst = world.instances.get(key)
            if inst is None:
                self._written.pop(key, None)
            else:
                self._written[key] = msgpack.encode(inst)
            if key in world.old:
                self._old[key] = msgpack.encode(world.old[key])
        if self._known is not world.graph.units:
            self._known = world.graph.units
            self._units = msgpack.encode(self._known)
        turn = world.turn
        self._counters = (turn.next_launch, turn.next_transition, world.closing_ns)

    def turn(self) -> None:
        """Hear everything that there is to hear at this time, one batch for each source."""
        kernel, world = self.kernel, self.world
        while kernel.news:
            self._hear(*kernel.news.popleft())
        self._point()
        self.commit()
        while kernel.said_ready:
            pid, key = kernel.said_ready[0]
            if kernel.lives(pid):  # else it is a message of an earlier run
                world.deliver(key, ev.Ready(), self.now)
                self._point()
                self.commit()
            kernel.said_ready.popleft()  # only now is it taken from the socket
        for key in sorted(self._watching):
            self._look(key)
            self.commit()
        if world.deadline() and world.deadline() <= self.now:
            world.expire(self.now)
            assert not 0 < world.deadline() <= self.now, "an overdue deadline was left"
        self.commit()

    def _hear(self, what: str, launch: int) -> None:
        process = self.kernel.slots[launch]
        key = process.key
        if what == "EXECED":
            self.world.deliver(key, ev.Execed(launch, process.pid), self.now)
        elif what == "FAILED":
            self.world.deliver(key, ev.LaunchFailed(launch, process.failed, True), self.now)
        else:
            self.acks.append(launch)
            empty = process.role == "ready" or self.kernel.empty(key)
            exited = ev.Exited(launch, process.code, process.status, empty)
            self.world.deliver(key, exited, self.now)

    # --- actions ------------------------------------------------------------------------------

    def behaviour(self, unit: str, key: str, role: str) -> Behaviour:
        plan = self.plans.get(f"{unit}:{role}" if role else unit, (QUICK if role else STEADY,))
        run = self._runs.get((key, role), 0)
        return plan[min(run, len(plan) - 1)]

    def _perform(self, action: do.Action) -> None:
        kernel, key = self.kernel, action.key
        if isinstance(action, do.Launch):
            self._launch(action)
        elif isinstance(action, do.Signal):
            if action.launch:
                kernel.signal(action.launch, action.signal)
            if action.scope == "all":
                kernel.signal_all(key, action.signal)
        elif isinstance(action, do.KillAll):
            kernel.signal_all(key, 9)
        elif isinstance(action, do.Watch):
            self._watching.add(key)
            self._look(key)
        elif isinstance(action, do.Freeze):
            kernel.freeze(key, action.frozen)
            self.world.deliver(key, ev.Froze(action.frozen), self.now)
        elif isinstance(action, do.Measure):
            self.world.deliver(key, ev.Measured(100 << 20), self.now)
        elif isinstance(action, do.Release):
            assert kernel.empty(key), f"{key} is released while it has processes"
            self._watching.discard(key)
            self.released.add(key)

    def _launch(self, action: do.Launch) -> None:
        inst = self.world.instances[action.key]
        how = self.behaviour(inst.unit, action.key, action.role)
        if action.role == "" and not self.kernel.empty(action.key):
            there = {p.role for p in self.kernel.members(action.key)}
            assert there == {"stray"}, f"{action.key} is not empty at its start: {there}"
        hooks = self.world.unit_of(inst).start.before
        first = action.role == ("before" if hooks else "") and not action.hook
        if how.skipped and first and inst.phase == "launching":
            self.world.deliver(action.key, ev.Skipped(action.launch, "a condition"), self.now)
        elif self.kernel.spawn(action.key, action.role, action.launch, how):
            run = (action.key, action.role)
            self._runs[run] = self._runs.get(run, 0) + 1
        else:
            refused = ev.LaunchFailed(action.launch, "refused", False)
            self.world.deliver(action.key, refused, self.now)

    def _look(self, key: str) -> None:
        if self.kernel.empty(key):
            self._watching.discard(key)
            self.world.deliver(key, ev.Empty(), self.now)

    # --- requests and time --------------------------------------------------------------------

    def define(self, units: Mapping[str, Unit]) -> None:
        def work(world: World, now: int) -> None:
            world.define(dict(units))
            world.recheck(now)

        self.request(work)

    def request(self, work: Callable[[World, int], None]) -> None:
        """Something that a client asks for, and asks for again if the manager dies over it."""

        done = False

        def ask() -> None:
            nonlocal done
            writes = self.writes
            try:
                work(self.world, self.now)
                self.commit()
            finally:
                done = self.writes > writes

        while not self.survive(ask) and not done:
            pass

    def run(self, until: int) -> None:
        """Let time pass, with everything that happens in it."""
        self._turn()
        while True:
            times = [t for t in (self.kernel.next_ns, self.world.deadline()) if t]
            if not times or min(times) > until:
                break
            self.now = max(self.now, min(times))
            self.kernel.run(self.now)
            self._turn()
        self.now = max(self.now, until)
        self.kernel.run(self.now)

    def _turn(self) -> None:
        while not self.survive(self.turn):
            pass  # the new manager finds what is still to be read

    def close(self) -> None:
        """Shut down; it must be over by its deadline."""
        if not self.world.closing_ns:
            self.request(lambda world, now: world.shut_down("the end of the test", now))
        end = self.now + CLOSE_NS + KILL_GRACE_NS + 1
        self.run(end)
        assert self.world.closed, [i for i in self.world.instances.values() if i.phase not in ENDED]
