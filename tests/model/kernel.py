"""A kernel and its keeper made of plain data: processes that behave as they were told to.

Time is a number that only `run_until` moves. A process is spawned into a slot, executes or fails
to, says that it is ready, ends or does not, hears SIGTERM or not, leaves others behind. Like the
real keeper it holds a slot until its exit was acknowledged, refuses a key that is in use, and
remembers the highest launch number; like the real kernel it forgets nothing when the manager dies.
"""
from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Literal

from supervisor.core.resume import Child

KILLED, EXITED = 2, 1
ENDING = frozenset({2, 6, 15})  # what these programs take for a wish to end


@dataclass(frozen=True)
class Behaviour:
    """What one process does. Times in ns after its spawn, None for never."""

    exec_ns: int = 5  # until the keeper tells of the exec
    fails: str = ""  # the step that fails instead
    refused: bool = False  # by the keeper: nothing starts at all
    skipped: bool = False  # a condition does not hold
    ready_ns: int | None = 20
    exit_ns: int | None = None
    status: int = 0
    signal: int = 0  # it dies of this instead of exiting
    term_ns: int | None = 10  # from SIGTERM to its end
    leaves: int = 0  # processes that outlive it
    stray_ns: int | None = None  # how long they live by themselves
    stray_term_ns: int | None = 10
    unkillable: bool = False


STEADY = Behaviour()
QUICK = Behaviour(exit_ns=15)  # a hook, a stop command


@dataclass
class Process:
    key: str
    role: str
    pid: int
    behaviour: Behaviour
    launch: int = 0  # 0: nobody's child, left behind by another
    state: Literal["LAUNCHING", "RUNNING", "EXITED_UNACKED"] = "LAUNCHING"
    code: int = 0
    status: int = 0
    failed: str = ""
    ended: int = 0  # order of the ends
    doomed: bool = False  # SIGKILL is on its way: it does nothing any more

    @property
    def alive(self) -> bool:
        return self.state != "EXITED_UNACKED"


@dataclass
class Kernel:
    now: int
    slots: dict[int, Process] = field(default_factory=dict)
    strays: dict[int, Process] = field(default_factory=dict)  # by pid
    highest: int = 0
    frozen: set[str] = field(default_factory=set)
    news: deque[tuple[str, int]] = field(default_factory=deque)  # frames for the manager
    said_ready: deque[tuple[int, str]] = field(default_factory=deque)  # unread: pid, key
    spawned: list[tuple[str, str, int]] = field(default_factory=list)  # key, role, launch
    _events: list[tuple[int, int, str, int]] = field(default_factory=list)
    _held: list[tuple[str, int]] = field(default_factory=list)  # what is frozen would have done
    _serial: int = 0

    # --- time ---------------------------------------------------------------------------------

    def _at(self, delay: int | None, what: str, pid: int) -> None:
        if delay is not None:
            self._serial += 1
            heappush(self._events, (self.now + delay, self._serial, what, pid))

    @property
    def next_ns(self) -> int:
        return self._events[0][0] if self._events else 0

    def run(self, now: int) -> None:
        """Let everything happen that is due by `now`."""
        while self._events and self._events[0][0] <= now:
            when, _, what, pid = heappop(self._events)
            self.now = max(self.now, when)
            process = self._find(pid)
            if process is None or not process.alive or (process.doomed and what != "kill"):
                continue
            if process.key in self.frozen and what != "kill":
                self._held.append((what, pid))
                continue
            self._happen(process, what)
        self.now = max(self.now, now)

    def _find(self, pid: int) -> Process | None:
        return self.strays.get(pid) or next((p for p in self.slots.values() if p.pid == pid), None)

    def _happen(self, process: Process, what: str) -> None:
        how = process.behaviour
        if what == "exec":
            if how.fails:
                process.failed = how.fails
                self.news.append(("FAILED", process.launch))
                self._end(process, EXITED, 127)
            else:
                process.state = "RUNNING"
                self.news.append(("EXECED", process.launch))
        elif what == "ready":
            self.said_ready.append((process.pid, process.key))
        elif what == "exit":
            for _ in range(how.leaves):
                self._leave(process.key, how)
            if how.signal:
                self._end(process, KILLED, how.signal)
            else:
                self._end(process, EXITED, how.status)
        elif what == "term":
            self._end(process, KILLED, 15)
        elif what == "kill":
            self._end(process, KILLED, 9)

    def _leave(self, key: str, how: Behaviour) -> None:
        self._serial += 1
        pid = 1_000_000 + self._serial
        rest = Behaviour(term_ns=how.stray_term_ns, unkillable=how.unkillable)
        self.strays[pid] = Process(key, "stray", pid, rest, state="RUNNING")
        self._at(how.stray_ns, "exit", pid)

    def _end(self, process: Process, code: int, status: int) -> None:
        self._serial += 1
        process.state, process.code, process.status = "EXITED_UNACKED", code, status
        process.ended = self._serial
        if process.launch:
            self.news.append(("EXITED", process.launch))
        else:
            del self.strays[process.pid]

    # --- what the manager asks for ------------------------------------------------------------

    def spawn(self, key: str, role: str, launch: int, behaviour: Behaviour) -> bool:
        """False: refused, nothing was started."""
        assert launch > self.highest, "launch numbers only rise"
        self.highest = launch
        if behaviour.refused:
            return False
        twin = [p for p in self.slots.values() if (p.key, p.role) == (key, role)]
        assert role or not twin, f"{key} was to be started twice"
        assert not any(p.launch == launch for p in twin)
        process = Process(key, role, 10_000 + launch, behaviour, launch)
        self.slots[launch] = process
        self.spawned.append((key, role, launch))
        if not behaviour.fails:
            if not role:
                self._at(behaviour.ready_ns, "ready", process.pid)
            if behaviour.exit_ns is not None:
                self._at(max(behaviour.exit_ns, behaviour.exec_ns), "exit", process.pid)
        self._serial -= 1  # so that the exec comes first of what is due together
        heappush(self._events, (self.now + behaviour.exec_ns, 0, "exec", process.pid))
        return True

    def signal(self, launch: int, number: int) -> None:
        process = self.slots.get(launch)
        if process is not None:
            self._hear(process, number)

    def _hear(self, process: Process, number: int) -> None:
        if number == 9 and not process.behaviour.unkillable:
            process.doomed = True
            self._at(1, "kill", process.pid)
        elif number in ENDING:
            self._at(process.behaviour.term_ns, "term", process.pid)

    def signal_all(self, key: str, number: int) -> None:
        for process in self.members(key):
            self._hear(process, number)

    def freeze(self, key: str, frozen: bool) -> None:
        if frozen:
            self.frozen.add(key)
            return
        self.frozen.discard(key)
        held, self._held = self._held, []
        for what, pid in held:
            process = self._find(pid)
            if process is not None and process.key in self.frozen:
                self._held.append((what, pid))
            else:
                self._at(1, what, pid)

    def ack(self, launch: int) -> None:
        process = self.slots[launch]
        assert not process.alive
        del self.slots[launch]

    # --- what can be seen ---------------------------------------------------------------------

    def members(self, key: str) -> list[Process]:
        """The living processes of an instance; the watcher of its log is none of them."""
        every = [*self.slots.values(), *self.strays.values()]
        return [p for p in every if p.alive and p.key == key and p.role != "ready"]

    def lives(self, pid: int) -> bool:
        process = self._find(pid)
        return process is not None and process.alive

    def empty(self, key: str) -> bool:
        return not self.members(key)

    def facts(self) -> list[Child]:
        return [self._child(p) for p in sorted(self.slots.values(), key=lambda p: p.ended)]

    def _child(self, p: Process) -> Child:
        key = f"{p.key}:{p.role}:{p.launch}" if p.role else p.key
        empty = not p.alive and (p.role == "ready" or self.empty(p.key))
        return Child(p.launch, key, p.pid, p.state, p.code, p.status, p.failed, empty)
