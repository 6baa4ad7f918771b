"""The manager as an object: one turn is hear -> step -> write down -> acknowledge -> do -> tell.

That order is the crash contract (core/resume.py relies on it): what is done was written down
before, and an exit is forgotten by the keeper only after its consequences are in the journal.
"""
from __future__ import annotations

import os
from collections.abc import Callable
from errno import EAGAIN, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING

from supervisor.core.world import World
from supervisor.kernel import spare
from supervisor.kernel.keeper import Keeper, KeeperGone
from supervisor.kernel.tracking import Tracker
from supervisor.manager import streams
from supervisor.manager.counters import Counters
from supervisor.manager.journal import Header, Journal
from supervisor.manager.launcher import Launcher, is_isolated
from supervisor.manager.loop import READ, WRITE, Callback, Loop
from supervisor.model import action as do
from supervisor.model import event as ev
from supervisor.model.paths import Paths
from supervisor.model.state import Transition
from supervisor.model.unit import Unit

if TYPE_CHECKING:
    from supervisor.control.server import Server
    from supervisor.manager.adoption import Adoptions
    from supervisor.manager.agents import Agents
    from supervisor.manager.boot_plan import BootPlan
    from supervisor.manager.execution import Executions
    from supervisor.manager.limiting import Limiting
    from supervisor.manager.machine import Machine
    from supervisor.manager.violations import Violations

_BATCH = 64  # actions that are sent together
_RETRY_NS = 100_000_000
SHORTAGES = frozenset((EAGAIN, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC))  # may be over soon
STREAM = "unboxed"  # the supervisor's own log stream
Listener = Callable[[list[Transition]], None]


class Supervisor:
    """What the parts of the manager share. Each attribute has one writer, named beside it."""

    def __init__(
        self, paths: Paths, keeper: Keeper, tracker: Tracker, world: World, journal: Journal,
        launcher: Launcher, header: Header, stored: set[str],
    ) -> None:
        self.paths = paths
        self.keeper = keeper
        self.tracker = tracker
        self.world = world  # its own methods
        self.journal = journal  # commit
        self.launcher = launcher
        launcher.main_of = self._main_of
        launcher.attached = lambda name: world.graph.agents.get(name, ())
        self.header = header  # main, commit
        self.stored = stored  # launcher, performer: names that the keeper holds
        self.loop = Loop(self.failed)
        self.launches: dict[int, tuple[str, str]] = {}  # performer, observer: number -> key, role
        self.pids: dict[int, str] = {}  # observer: pid of what the keeper started -> instance key
        self.launched: dict[str, Unit] = {}  # performer: definition of the present run
        self.acks: list[int] = []  # observer
        self.removed: set[str] = set()  # observer: instances whose group is gone before Release
        self.gone: list[str] = []  # names of units whose definition went away, to be written down
        self.defined: list[Unit] = []  # definitions to be written down
        self.counters = Counters(world)  # observer, recover, commit
        # Told of every transition, after it was acted upon.
        self.listeners: list[Listener] = [self.counters.moved]
        self.settled: list[Callable[[], None]] = []  # called at the end of every turn
        self.answers: dict[int, Callable[[int, int], None]] = {}  # ask_*: tag -> who waits
        self.adoptions: Adoptions  # notices
        self.turns = 0  # turn
        self.unkept: Callable[[str], None] = lambda _name: None  # notices
        self.forget_ns = 0  # tried: when the next tried unit is to be forgotten, 0 for never
        self.look_ns = 0  # waiters, tried: when who waits is to be looked at again, 0 for never
        self.put_state_ns = 0  # refusals: when to try again to store the journal, 0 if it is
        self.limiting: Limiting | None = None  # limits, recover
        self.executing: Executions | None = None  # executions
        self.violations: Violations | None = None  # noted
        self.limits_ns = 0  # limiting: when to look again, 0 for never
        self.attending: Agents | None = None  # agents
        self.feeds_ns = self.doors_ns = self.endpoints_ns = 0  # attending: the same
        self.machine: Machine | None = None  # main
        self.machine_ns = 0  # machine: as limits_ns
        self.boot_plan: BootPlan | None = None  # main, until the machine is up
        self.leave_soon = False  # machine, requests: end this manager, so that a new one begins
        self.started_early: set[str] = set()  # boot
        self.current = ""  # key of the instance that is being worked for
        self.perform: Callable[[object], None] = lambda _action: None
        self.rest_deadline: Callable[[], int] = lambda: 0  # performer, as the next
        self.signal_rest: Callable[[int], None] = lambda _now: None
        self.log_due_ns = 0  # event log: when it wants to write; 0: nothing waits
        self.flush_log: Callable[[], None] = lambda: None  # event log
        self.retry_ns = 0  # commit: when to try again to write the journal, 0 if it is written
        self.early_words: list[str] = []  # reports from before there was an event log
        self.report: Callable[[str], None] = self._keep_report
        self.hear: Callable[[str], None] = lambda _key: None  # notices
        self.server: Server | None = None  # service
        self.reload_access: Callable[[], None] = lambda: None  # service
        self.on_keeper: Callback = lambda _events: None  # observer
        self._wants = 0  # what the keeper's socket is watched for
        self.keeper_pid = os.getppid()
        self.tracking_note = ""  # main: why there are no cgroups, "" if there are
        self.marks: dict[str, int] = {}  # main, boot: the start's own steps, until they are written
        self.inherited = 0  # recover: the last transition that the manager before us wrote down
        self._offset_ns = time_ns() - monotonic_ns()

    def realtime_ns(self, monotonic: int) -> int:
        """A monotonic time as today's wall clock tells it."""
        return monotonic + self._offset_ns

    def now(self) -> int:
        return monotonic_ns()

    def deadline(self) -> int:
        """When the next turn is due (monotonic ns), 0 for never."""
        soonest = self.world.deadline()
        due = self.server.next_deadline_ns() if self.server is not None else None
        times = (
            soonest, due, self.rest_deadline(), self.log_due_ns, self.retry_ns, self.put_state_ns,
            self.forget_ns, self.look_ns, self.limits_ns, self.feeds_ns, self.doors_ns,
            self.endpoints_ns, self.machine_ns,
        )  # fmt: skip
        return min((t for t in times if t), default=0)

    def agents(self) -> Agents:
        """What is done for agents: loaded for the first one."""
        if self.attending is None:
            from supervisor.manager.agents import Agents

            self.attending = Agents(self)
        return self.attending

    def executions(self) -> Executions:
        """Commands among a unit's processes: loaded for the first one."""
        if self.executing is None:
            from supervisor.manager.execution import Executions

            self.executing = Executions(self)
        return self.executing

    def limits(self) -> Limiting:
        """Of units with [limits]: loaded for the first one."""
        if self.limiting is None:
            from supervisor.manager.limiting import Limiting

            self.limiting = Limiting(self)
            self.header.limited = True
        return self.limiting

    def noted(self, key: str, unit: Unit) -> None:
        """A run begins, or goes on under this manager. If it may do what it did not promise, that
        is told, and if it is killed for it, by which call: loaded for the first such unit."""
        if unit.sandbox is None or unit.sandbox.on_violation == "errno":
            return
        if self.violations is None:
            from supervisor.manager.violations import Violations

            self.violations = Violations(self)
        self.violations.begin(key, allows=unit.sandbox.on_violation == "log")

    def violation(self, unit: Unit, pid: int, code: int, status: int) -> str:
        """Why a process of it was ended by SIGSYS, "" if that was not its sandbox."""
        if not is_isolated(unit):
            return ""
        from supervisor.manager.sandboxing import violation

        return violation(unit, pid, code, status, self.violations)

    def _main_of(self, unit: Unit) -> int:
        """The process whose namespaces an agent shares; 0 for others, and while that does not
        run."""
        if unit.agent is None or not unit.agent.share:
            return 0
        keys = [key for main in self.world.graph.agents[unit.name] for key in self.world.keys[main]]
        return max((self.world.instances[key].pid for key in keys), default=0)

    def number(self) -> int:
        """For a launch that core knows nothing of; written down before anything can have it."""
        self.world.turn.next_launch += 1
        self.header.next_launch = self.world.turn.next_launch
        self.journal.append([(b"H", self.header)])
        return self.header.next_launch

    def deliver(self, key: str, event: object) -> None:
        self.current = key
        self.world.deliver(key, event, monotonic_ns())

    # --- one turn -----------------------------------------------------------------------------

    def turn(self) -> None:
        """End a round of the loop: overdue deadlines, then everything that follows from it."""
        self.current = ""
        self.turns += 1
        now = monotonic_ns()
        deadline = self.world.deadline()
        if deadline and deadline <= now:
            self.world.expire(now)
        rest = self.rest_deadline()
        if rest and rest <= now:
            self.signal_rest(now)
        if self.server is not None:
            due = self.server.next_deadline_ns()
            if due is not None and due <= now:
                self.server.expire(now)
        if 0 < self.put_state_ns <= now:
            self.put_state_ns = 0
            self._put_state()
        if 0 < self.limits_ns <= now and self.limiting is not None:
            self.limiting.look(now)
        if self.attending is not None:
            self.attending.look(now)
        if 0 < self.machine_ns <= now and self.machine is not None:
            self.machine.look(now)
        self.commit()
        self.current = ""
        for settle in self.settled:
            settle()
        if self.world.closed or self.leave_soon:
            self.loop.running = False
        spare.keep(self.keeper.fileno())
        if self.log_due_ns and (self.log_due_ns <= now or not self.loop.running):
            self.flush_log()

    def commit(self) -> None:
        """Write down, acknowledge, do and tell what has been decided, until nothing follows."""
        while True:
            actions, fresh, dirty = self.world.take()
            if not (actions or fresh or dirty or self.defined or self.gone):
                break
            try:
                self._write(fresh, dirty)
            except OSError as exc:
                self.world.untake(actions, fresh, dirty)
                self._unwritten(exc)
                return
            self._acknowledge()
            done = 0
            try:
                for action in actions:
                    done += 1
                    self.perform(action)
                    if not done % _BATCH:
                        self.flush()  # the keeper works on these while the next are prepared
                self.flush()
                for key in dirty:
                    if key not in self.world.instances:
                        self._forget(key)
            finally:  # what breaks one unit costs the others nothing: theirs is still to be done
                self.world.turn.actions[:0] = actions[done:]
                self._tell(fresh)
        self._acknowledge()
        self.flush()

    def _forget(self, key: str) -> None:
        """The instance is no more: neither is what was kept for its next run, nor its log streams,
        once the logger has written what is left in them. The files of its log stay."""
        self.launcher.forget(key)
        self.counters.forget(key)
        self.launched.pop(key, None)
        for name in streams.names(key):
            self.stored.discard(name)
            self.ask_keeper("DROP", name, lambda _err: None)  # it may never have had one

    def _tell(self, fresh: list[Transition]) -> None:
        """Whoever listens works for no unit: what breaks there stops none."""
        key, self.current = self.current, ""
        for listener in self.listeners if fresh else ():
            self.loop.guard(lambda listener=listener: listener(fresh))  # type: ignore[misc]
        self.current = key

    def _write(self, fresh: list[Transition], dirty: set[str]) -> None:
        world, header = self.world, self.header
        header.next_launch = world.turn.next_launch
        header.next_transition = world.turn.next_transition
        header.closing_ns, header.ending = world.closing_ns, world.ending
        records: list[tuple[bytes, object]] = [(b"H", header)]
        records += [(b"U", unit) for unit in self.defined]
        records += [(b"R", name) for name in self.gone]
        for key in dirty:
            inst = world.instances.get(key)
            records.append((b"X", key) if inst is None else (b"I", inst))
            if key in world.old:
                records.append((b"O", (key, world.old[key])))
        for unit in self.defined:  # in one batch: nobody else knows by what its run began
            for key in (*world.keys.get(unit.name, ()), *world.left.get(unit.name, ())):
                began = self.launched.get(key, unit)
                if began is not unit and began != unit:
                    records.append((b"L", (key, began)))
        if fresh:
            records.append((b"T", fresh))
        self.journal.append(records)
        self.defined, self.gone = [], []
        self.retry_ns = 0
        if self.journal.bloated:
            try:
                self.rewrite()
            except OSError as exc:
                self.report(f"cannot write the journal anew: {exc.strerror}; it grows on")

    def _unwritten(self, exc: OSError) -> None:
        """What is not written down is not done: it waits, with all that follows."""
        if not self.retry_ns:
            words = f"cannot write the journal: {exc.strerror}; nothing is begun until that works"
            self.report(words)
        self.retry_ns = monotonic_ns() + _RETRY_NS

    def rewrite(self) -> None:
        """Write the whole state anew into a fresh memfd and give that to the keeper instead."""
        from supervisor.manager.boot_times import read

        world, times = self.world, read(self.journal)
        fresh = Journal.create()
        records: list[tuple[bytes, object]] = [(b"H", self.header)]
        records += [(b"U", unit) for unit in world.graph.units.values()]
        records += [(b"I", inst) for inst in world.instances.values()]
        records += [(b"O", pair) for pair in world.old.items()]
        records += [
            (b"L", (key, unit))
            for key, unit in self.launched.items()
            if key in world.instances and world.graph.units.get(world.instances[key].unit) != unit
        ]
        records.append((b"B", times))
        records.append((b"T", list(world.history)))
        try:
            fresh.append(records)
        except OSError:
            os.close(fresh.fd)
            raise
        fresh.settle()
        os.close(self.journal.fd)
        self.journal = fresh
        self._put_state()

    def _put_state(self) -> None:
        self.keeper.put("state", self.journal.fd)
        self.stored.add("state")

    def booted(self) -> None:
        """All that was to start is in the journal: the next manager need not see to it."""
        self.header.booted = True
        self.mark("begun")
        times = {"marks": self.marks, "begun": True}
        self.journal.append([(b"H", self.header), (b"B", times)])

    def mark(self, step: str) -> None:
        """A step of the start is done now."""
        self.marks[step] = monotonic_ns()

    def _acknowledge(self) -> None:
        for launch in self.acks:
            self.keeper.send("ACK", launch)
        self.acks.clear()

    def flush(self) -> None:
        """Send what is queued for the keeper; come back when it can take more."""
        wants = READ if self.keeper.flush() else READ | WRITE
        if wants != self._wants:
            self.loop.add(self.keeper.fileno(), wants, self.on_keeper)
            self._wants = wants

    def _keep_report(self, text: str) -> None:
        self.early_words.append(text)
        say(f"unboxed: {text}\n")

    def ask_descriptor(self, op: str, text: str, answered: Callable[[int], None]) -> None:
        """A request that is answered with a descriptor, which is then `answered`'s to close; if it
        is refused, with the errno's negative."""
        self._ask(op, text, lambda err, fd: answered(-err if err else fd))

    def ask_keeper(self, op: str, text: str, answered: Callable[[int], None]) -> None:
        """A request with a text; `answered` gets the errno of its RESULT, 0 for done."""
        self._ask(op, text, lambda err, _fd: answered(err))

    def _ask(self, op: str, text: str, answered: Callable[[int, int], None]) -> None:
        tag = self.keeper.tag()
        self.answers[tag] = answered
        self.keeper.named(op, text, tag=tag)
        self.flush()

    def drop(self, name: str) -> None:
        """Let the keeper forget a stored descriptor."""
        self.launcher.descriptors.drop(name)

    # --- when something breaks ----------------------------------------------------------------

    def failed(self, exc: BaseException) -> None:
        """The broad except's consequence: one unit is taken down, the manager goes on. Not without
        memory: what broke off for want of it would do so again at once, and without end."""
        if isinstance(exc, KeeperGone):
            os._exit(0)  # nobody is left to manage for; the keeper's end ended everything
        if isinstance(exc, MemoryError):
            try:
                self.report("cannot go on: no memory is left; the keeper starts another manager")
            finally:
                os._exit(1)
        where = _place(exc)
        key, self.current, self.world.stepping = self.world.stepping or self.current, "", ""
        words = f"internal error in {where}: {type(exc).__name__}: {exc}"
        if key in self.world.instances:
            self.report(f"cannot go on with {key}: {words}; it is stopped")
            self.world.force_down(key, words, monotonic_ns())
            self._unlaunched(key, words)
        else:
            self.report(f"cannot handle an event: {words}; it is dropped")

    def _unlaunched(self, key: str, words: str) -> None:
        """Nobody will tell of the end of what never began: launches that were not sent."""
        actions, inst = self.world.turn.actions, self.world.instances.get(key)
        actions[:] = [a for a in actions if not (isinstance(a, do.Launch) and a.key == key)]
        for launch in (inst.job, inst.launch) if inst is not None else ():
            if launch and launch not in self.launches:
                self.world.deliver(key, ev.LaunchFailed(launch, words, False), monotonic_ns())


def say(text: str) -> None:
    """On standard error; a console that takes no more loses it, the event log has it."""
    try:
        os.write(2, text.encode(errors="replace"))
    except BlockingIOError:
        pass


def _place(exc: BaseException) -> str:
    """"FILE:LINE" of what raised it. Opens nothing: there may be no descriptor to open it with."""
    at = exc.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    if at is None:
        return "nowhere"
    return f"{at.tb_frame.f_code.co_filename.rpartition('/')[2]}:{at.tb_lineno}"
