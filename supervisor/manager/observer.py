"""What the keeper tells, as events for core."""
from __future__ import annotations

import os
from errno import EAGAIN, EINTR, EMFILE, ENOENT, ESRCH

from supervisor.core.words import CLD_EXITED
from supervisor.kernel.keeper import Child, Frame, child
from supervisor.kernel.plan import NAMES
from supervisor.kernel.wire import CHILD_STATES
from supervisor.manager.refusals import Refusals
from supervisor.manager.supervisor import SHORTAGES, Supervisor
from supervisor.model import event as ev
from supervisor.model.values import signal_name

TERM, INT, HUP, QUIT = 15, 2, 1, 3
SIGSYS = 31
MANY = 4  # frames in one datagram that make another one likely
_TOLD_ONCE = frozenset({"EXECED", "LAUNCH_FAILED", "REFUSED", "EXITED", "PING"})
_NO_PROCESS = "no process is left (RLIMIT_NPROC, pids.max and pid_max limit them)"
MAX_BATCH = 64  # datagrams of the keeper before the other descriptors' turn
_STEP_WORDS = {
    "CGROUP": "join its cgroup", "LOG": "open its log stream", "SIGNALS": "reset signals",
    "WRITE": "join a group that limits it", "SESSION": "start a session",
    "OOM_SCORE": "set oom_score_adj", "RLIMIT": "set a limit",
    "NICE": "set its priority", "AFFINITY": "pin it to its CPU", "UMASK": "set umask",
    "GROUPS": "set groups", "GID": "become its group", "UID": "become its user",
    "DIRECTORY": "enter its directory", "ENV": "set its environment", "ENV_PID": "tell its pid",
    "OPEN": "open its standard input", "FD": "pass a descriptor", "SENT_FD": "pass a descriptor",
    "CLOSE_FROM": "close descriptors", "NO_NEW_PRIVS": "forbid new privileges",
    "EXEC": "execute it", "CALL": "make a system call", "HOLD": "have namespaces of its own",
    "FORK": "have a process of its own", "BOUND": "give up capabilities",
    "CAPSET": "give up capabilities",
}  # fmt: skip


class Observer:
    def __init__(self, sup: Supervisor) -> None:
        self._sup = sup
        sup.on_keeper = self.on_keeper
        self._refusals = Refusals(sup)
        sup.adoptions.replay = self._guarded
        self._table = {
            "EXECED": self._execed, "LAUNCH_FAILED": self._launch_failed, "REFUSED": self._refused,
            "EXITED": self._exited, "SIGNALLED": self._signalled, "PING": self._ping,
            "FD": self._descriptor, "RESULT": self._result,
        }  # fmt: skip

    def on_keeper(self, _events: int) -> None:
        for _ in range(MAX_BATCH):
            frames = self._sup.keeper.receive()
            for frame in frames:
                self._guarded(frame)
            if len(frames) < MANY:
                return  # most likely there is no more, and epoll will tell if there is

    def _guarded(self, frame: Frame) -> None:
        """What breaks over one frame costs the others of its datagram nothing. What is told of a
        launch is told only once: so that is tried again after its unit was taken down."""
        guard = self._sup.loop.guard
        self._sup.current = self._sup.launches.get(frame.tag, ("", ""))[0]
        if not guard(lambda: self.handle(frame)) and frame.op in _TOLD_ONCE:
            guard(lambda: self.handle(frame))

    def handle(self, frame: Frame) -> None:
        handler = self._table.get(frame.op)
        if handler is not None:
            handler(frame)
            return
        for fd in frame.fds:
            os.close(fd)

    # --- launches -----------------------------------------------------------------------------

    def _execed(self, frame: Frame) -> None:
        key, role = self._sup.launches.get(frame.tag, ("", ""))
        pid = int.from_bytes(frame.payload[:4], "little")
        self._sup.launcher.over(frame.tag)
        if key and role not in ("ready", "feed"):
            self._sup.pids[pid] = key
            if self._sup.tracker.name == "session":
                self._sup.tracker.started(key, pid)  # type: ignore[attr-defined]
        if role == "exec":
            self._sup.executions().began(frame.tag, pid)
        elif key and role != "feed":
            self._sup.deliver(key, ev.Execed(frame.tag, pid))

    def _launch_failed(self, frame: Frame) -> None:
        key, role = self._sup.launches.get(frame.tag, ("", ""))
        index = int.from_bytes(frame.payload[4:8], "little")
        code = int.from_bytes(frame.payload[8:12], "little")
        err = int.from_bytes(frame.payload[12:16], "little", signed=True)
        step = self._sup.launcher.step_name(frame.tag, index)
        self._sup.launcher.over(frame.tag)
        if err != EINTR:  # else it was killed before its exec: its exit record says by what
            words = failure_words(code, err, step, self._object(key, role, code))
            if role == "exec":
                self._sup.executions().failed(frame.tag, words)
            elif role == "feed":
                self._sup.agents().feeds.failed(frame.tag, words, alive=True)
            else:
                self._sup.deliver(key, ev.LaunchFailed(frame.tag, words, True))

    def _object(self, key: str, role: str, code: int) -> str:
        """The path that a step is about, where there is one to be named."""
        inst = self._sup.world.instances.get(key)
        if inst is None or role in ("exec", "feed"):
            return ""
        unit = self._sup.world.unit_of(inst)
        return self._sup.launcher.path_of(unit, key, role, NAMES.get(code, ""))

    def _refused(self, frame: Frame) -> None:
        key, role = self._sup.launches.pop(frame.tag, ("", ""))
        self._sup.launcher.over(frame.tag)
        err = int.from_bytes(frame.payload[:4], "little", signed=True)
        why = _NO_PROCESS if err == EAGAIN else os.strerror(err)
        words = f"the keeper refused it: {why}"
        if role == "exec":
            self._sup.executions().failed(frame.tag, words)
            return
        if role == "feed":
            self._sup.agents().feeds.failed(frame.tag, words, alive=False)
            return
        inst = self._sup.world.instances.get(key)
        if err == ENOENT and inst is not None and inst.launch == frame.tag:
            words = inst.result or words  # why something that it names is not stored
        self._sup.deliver(key, ev.LaunchFailed(frame.tag, words, False, err in SHORTAGES))

    def _exited(self, frame: Frame) -> None:
        record = child(frame)
        sup = self._sup
        key, role = sup.launches.get(frame.tag, split_key(record.key))
        sup.hear(key)
        if sup.adoptions.holds(frame):
            return
        sup.launches.pop(frame.tag, None)
        sup.pids.pop(record.pid, None)
        if sup.violations is not None:
            sup.violations.ended(key, record.pid)
        sup.acks.append(frame.tag)
        if role == "exec":
            sup.executions().ended(frame.tag, record.code, record.status)
            return
        if role == "feed":
            sup.agents().feeds.ended(frame.tag, record.code, record.status)
            return
        inst = sup.world.instances.get(key)
        words = ""
        if sup.limiting is not None and role != "ready":  # while its groups are still there
            words = sup.limiting.end_words(key, record.code, record.status)
        oom = bool(words)
        if record.status == SIGSYS and record.code != CLD_EXITED and inst is not None:
            unit = sup.launched.get(key) or sup.world.unit_of(inst)
            words = words or sup.violation(unit, record.pid, record.code, record.status)
        if role != "ready" and inst is not None and inst.goal == "down" and not inst.job:
            empty = sup.tracker.remove(key)
            if empty:
                sup.removed.add(key)
        else:
            empty = role == "ready" or sup.tracker.empty(key)
        if inst is not None and inst.launch == frame.tag:
            sup.counters.exited(
                inst, sup.world.unit_of(inst), record.code, record.status, oom=oom,
                violation=bool(words) and not oom, empty=empty)
        sup.deliver(key, ev.Exited(frame.tag, record.code, record.status, empty, words))

    # --- the supervisor itself ----------------------------------------------------------------

    def _signalled(self, frame: Frame) -> None:
        sup = self._sup
        number = int.from_bytes(frame.payload[:4], "little")
        sender = int.from_bytes(frame.payload[4:8], "little", signed=True)
        whence = f"pid {sender}"
        if not sender:  # it has no number here: the kernel (^C, Ctrl-Alt-Del), another namespace
            keys = {INT: "the keyboard", QUIT: "the keyboard", HUP: "the terminal"}
            whence = keys.get(number, "outside its pid namespace")
        cause = f"{signal_name(number)} to the supervisor from {whence}"
        sup.current = ""
        if sup.machine is not None and number != HUP:
            sup.machine.signalled(number, cause)
        elif number in (TERM, INT, QUIT):
            self.stop(cause, number == INT)
        elif number == HUP:
            from supervisor.config.problem import Problem
            from supervisor.manager.reload_units import reload_units
            from supervisor.model.report import InvalidUnits

            answer = reload_units(sup)
            if isinstance(answer, InvalidUnits):
                for found in answer.problems:
                    sup.report(str(Problem(found.file, found.line, found.key, found.message)))
                sup.report(f"{cause}: {answer.message}")
            else:
                sup.report(f"{cause}: unit files were read again")

    def stop(self, cause: str, again_kills: bool) -> None:
        """Stop everything in order; a second request of the impatient kind kills at once."""
        world = self._sup.world
        if self._sup.machine is not None:
            self._sup.machine.down(world.ending or "poweroff", cause)
        elif world.closing_ns and again_kills:
            self._sup.report(f"{cause}: killing what is left")
            world.kill_all(self._sup.now())
        elif not world.closing_ns:
            self._sup.report(f"{cause}: stopping everything in order")
            world.shut_down(cause, self._sup.now())

    def _ping(self, _frame: Frame) -> None:
        self._sup.keeper.send("PONG")
        self._sup.flush()

    def _descriptor(self, frame: Frame) -> None:
        answered = self._sup.answers.pop(frame.tag, None)
        for fd in frame.fds:
            if answered is not None:
                answered(0, fd)
                answered = None
            else:
                os.close(fd)
        if answered is not None:  # we had no descriptor left to take it with
            answered(EMFILE, -1)

    def _result(self, frame: Frame) -> None:
        sup, err = self._sup, int.from_bytes(frame.payload[:4], "little", signed=True)
        answered = sup.answers.pop(frame.tag, None)
        stored = sup.keeper.puts.pop(frame.tag, "")
        if answered is not None:
            answered(err, -1)
        elif stored:
            if err:
                self._refusals.put(stored, err)
        elif sup.adoptions.result(frame.tag, err):
            pass  # it was the answer to an ADOPT
        elif err and err != ESRCH:  # a signal that came too late needs no word
            sup.report(f"cannot have the keeper do it: {os.strerror(err)}; going on")
            if not frame.tag and err != ENOENT:  # no DROP of what is not there
                self._refusals.lost(err)


def split_key(key: str) -> tuple[str, str]:
    """Instance key and role of a keeper key ("KEY", or "KEY:ROLE:LAUNCH")."""
    name, _, rest = key.partition(":")
    return name, rest.partition(":")[0]


def failure_words(code: int, err: int, step: str = "", path: str = "") -> str:
    """"cannot execute it: No such file or directory: /srv/web (step EXEC, errno 2)". `step`: what
    the launcher knows of it, a name or words of its own."""
    if err == EINTR:
        return "it was killed before it was executed"
    name = step if step in _STEP_WORDS else NAMES.get(code, str(code))
    doing = step if step and step != name else _STEP_WORDS.get(name, "launch it")
    what = f": {path}" if path else ""
    return f"cannot {doing}: {os.strerror(err)}{what} (step {name}, errno {err})"


def ended_words(record: Child) -> str:
    return failure_words(record.step, record.error) if record.step else ""


STATE_NAMES = {number: name for name, number in CHILD_STATES.items()}
