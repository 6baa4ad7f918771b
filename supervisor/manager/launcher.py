"""From a unit to a SPAWN frame: resolves names, has opened what must be open, compiles the plan.

The frame of a plain unit is the same at every start, so it is kept; one that depends on files or
descriptors which may change in between is made anew.
"""
from __future__ import annotations

import os
from collections.abc import Callable
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING

from supervisor.kernel import notify, users
from supervisor.kernel.host import read
from supervisor.kernel.keeper import Keeper
from supervisor.kernel.plan import (
    FIRST_LISTEN_FD,
    Confinement,
    Identity,
    Launch,
    PlanTooLong,
    Step,
    encode,
)
from supervisor.kernel.plan import compile as compile_plan
from supervisor.kernel.plan import names as plan_names
from supervisor.kernel.tracking import MARK, Tracker
from supervisor.manager import streams
from supervisor.manager.descriptors import Descriptors
from supervisor.model.paths import Paths
from supervisor.model.state import Instance, Role
from supervisor.model.unit import Unit, shares_process

if TYPE_CHECKING:
    from supervisor.manager.learning import Session
    from supervisor.manager.sandboxing import Boxed, Sandboxing

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_JOIN = ("after", "stop", "reload", "exec")  # what sees of the host what the main process sees


class CannotLaunch(Exception):
    """Why nothing can be started, in words that follow "cannot start UNIT: "."""


class Launcher:
    def __init__(
        self, keeper: Keeper, tracker: Tracker, paths: Paths, stored: set[str],
        cpus: tuple[int, ...], watcher: tuple[str, ...],
    ) -> None:
        """`stored`: names that the keeper holds. `cpus`: those that `pin` deals out. `watcher`:
        the command that waits for a log line, to which stream and pattern are appended."""
        self._keeper = keeper
        self._tracker = tracker
        self._paths = paths
        self.descriptors = Descriptors(keeper, stored)
        self._cpus = cpus
        self._watcher = watcher
        # Writing what is already there would cost each launch a visit to /proc.
        self._oom_score = None if read("/proc/self/oom_score_adj").strip() == "0" else 0
        self._frames: dict[str, tuple[Unit, tuple[str, ...], bytes, tuple[str, ...]]] = {}
        self._names: dict[int, tuple[str, ...]] = {}  # of steps; by launch, until it has executed
        self.opened: dict[str, int] = {}  # notify sockets just made: the caller watches them
        self._confinement: Confinement | None = None  # of level base
        self._sandboxing: Sandboxing | None = None
        self.missing: dict[str, tuple[str, ...]] = {}  # key -> what is not enforced, in sentences
        self.learning: dict[str, Session] = {}  # key -> who learns it
        # Set by the supervisor: the units that an agent is attached to.
        self.attached: Callable[[str], tuple[str, ...]] = lambda _name: ()
        self.main_of: Callable[[Unit], int] = lambda _unit: 0  # supervisor: whose it shares

    def forget(self, key: str) -> None:
        self._frames.pop(key, None)
        self.missing.pop(key, None)

    def name_steps(self, launch: int, called: tuple[str, ...]) -> None:
        """What `step_name` is to know; nothing where their codes say it."""
        if called:
            self._names[launch] = called

    def step_name(self, launch: int, index: int) -> str:
        """What the step with this number was for: its name, or the words of a system call; "" where
        its code says it."""
        found = self._names.get(launch, ())
        return found[index] if index < len(found) else ""

    def path_of(self, unit: Unit, key: str, role: str, step: str) -> str:
        """What the step of a unit's launch opens or executes, "" for other steps."""
        if step == "DIRECTORY":
            return filled(unit.directory, names_of(unit, key))
        if step == "EXEC" and not role and unit.command:
            word = filled(unit.command[0], names_of(unit, key))
            if unit.root:
                return word
            from supervisor.manager.executed import named

            return named(word, dict(unit.env).get("PATH", PATH))
        return ""

    def over(self, launch: int) -> None:
        """It has executed, or was told of: no step of it will fail any more."""
        self._names.pop(launch, None)

    def frame(
        self, unit: Unit, inst: Instance, role: Role, hook: int, joins: tuple[str, ...] = ()
    ) -> bytes:
        """The payload of the SPAWN frame. `joins`: groups that it writes itself into. Raises
        CannotLaunch."""
        if not role:
            known = self._frames.get(inst.key)
            if known is not None and known[0] is unit and known[1] == joins:
                self.name_steps(inst.launch, known[3])
                return known[2]
        steps, fixed, boxed = self.plan(unit, inst, role, hook, joins)
        if boxed is not None:
            self.missing[inst.key] = boxed.missing
            self._make(boxed)
        # With its number a job's key never meets that of an earlier job which is still dying.
        name = f"{inst.key}:{role}:{inst.job}" if role else inst.key
        try:
            encoded = encode(steps, self._keeper.max_frame)
        except PlanTooLong as exc:
            raise CannotLaunch(str(exc)) from exc
        payload = name.encode() + b"\0" + encoded
        called = plan_names(steps, encoded)
        self.name_steps(inst.job if role else inst.launch, called)
        if fixed and not role:
            self._frames[inst.key] = (unit, joins, payload, called)
        return payload

    def not_enforced(self, unit: Unit, inst: Instance) -> tuple[str, ...]:
        """What of its isolation is not, in sentences. A run that began with an earlier manager is
        looked at once more."""
        if not is_isolated(unit):
            return ()
        if inst.key not in self.missing:
            try:
                boxed = self.plan(unit, inst, "", 0, dry=True)[2]
            except CannotLaunch:
                boxed = None  # it would not start today
            self.missing[inst.key] = boxed.missing if boxed is not None else ()
        return self.missing[inst.key]

    def plan(
        self, unit: Unit, inst: Instance, role: Role, hook: int, joins: tuple[str, ...] = (),
        *, other: tuple[str, ...] = (), dry: bool = False,
    ) -> tuple[list[Step], bool, Boxed | None]:
        """The steps of a launch, whether they will be the same next time, and its sandbox. `other`:
        the command of role "exec", which is taken as it is. `dry`: to look at only, so nothing is
        opened or made. Raises CannotLaunch."""
        if role == "ready":
            return self._watch_plan(unit, inst), False, None
        names = names_of(unit, inst.key)
        policy = self.sandboxing().policy(unit, names) if is_isolated(unit) else None
        learner = self.learning.get(inst.key)
        if learner is not None:
            policy = learner.policy(unit, names)
        if policy is None:
            who = self._identity(unit)
        else:
            who = self.sandboxing().identity(unit, policy, self._identity, dry=dry)
        env = {
            "PATH": PATH, "HOME": who.home, "USER": who.name, "LOGNAME": who.name,
            "SHELL": who.shell or "/bin/sh", "INSTANCE": str(inst.index),
        }  # fmt: skip
        fds: list[tuple[int, str]] = []
        pid_vars: list[str] = []
        notify_path = ""
        if not role:
            passed = self.descriptors.passed(unit, inst, dry=dry)
            if passed:
                fds = [(FIRST_LISTEN_FD + at, stored) for at, (stored, _) in enumerate(passed)]
                env["LISTEN_FDS"] = str(len(passed))
                env["LISTEN_FDNAMES"] = ":".join(name for _, name in passed)
                pid_vars.append("LISTEN_PID")
            notify_path = self._readiness(unit, inst, env, pid_vars)
        elif inst.pid:
            env["MAINPID"] = str(inst.pid)
        for one in unit.listen:
            names["{port:" + one.name + "}"] = self.descriptors.port(unit, inst, one)
        command = other or tuple(filled(word, names) for word in self._command(unit, role, hook))
        if unit.env_files:
            from supervisor.manager.env_files import variables

            for path in unit.env_files:
                env.update(variables(filled(path, names)))
        env.update((name, filled(value, names)) for name, value in unit.env)
        env[MARK] = inst.key
        ready_fd = unit.start.ready.fd if unit.start.ready.kind == "fd" and not role else -1
        close_from = max(FIRST_LISTEN_FD + len(fds), ready_fd + 1)
        sent = [(ready_fd, "readiness pipe")] if ready_fd >= 0 else []
        if unit.attach:
            from supervisor.manager.given import OF_MAIN, given

            opened = policy.open if policy is not None else ()
            close_from = max(close_from, *(one.fd + 1 for one in opened), 0)
            extra = given(unit, self.attached(unit.name), self._paths, close_from)
            env.update((n, v) for n, v in extra.env.items() if not role or n not in OF_MAIN)
            if not role:
                sent += extra.sent
                close_from = max(close_from, *(fd + 1 for fd, _ in extra.sent), 0)
        directory = filled(unit.directory, names)
        root = policy.root if policy is not None else ""
        program = self._program(command[0], env["PATH"], root)
        boxed: Boxed | None = None
        if policy is not None:
            boxed = self.sandboxing().box(
                unit, inst.key, policy, who, program, command, directory, notify_path, names,
                joined=inst.pid if role in _JOIN else 0, main=self.main_of(unit), dry=dry,
            )  # fmt: skip
            who = boxed.identity
            for name, value in boxed.env:
                env.setdefault(name, value)
        if notify_path and not dry:
            owner = boxed.owner if boxed is not None else None
            self._open_notify(inst.key, notify_path, who, owner)
        rlimits, nice, oom_score = self._of_process(unit)
        out = streams.outlet(unit.logs, inst.key) if role != "exec" else streams.Outlet()
        launch = Launch(
            command, program, tuple(env.items()), who,
            cgroup=self._tracker.group(inst.key), joins=joins,
            stream=out.stream, errors=out.errors, log_options=out.options, output=out.path,
            directory=directory, umask=unit.umask,
            oom_score=self._oom_score if oom_score is None else oom_score,
            raises=_raised(rlimits), rlimits=rlimits, nice=nice,
            cpu=self._cpus[inst.index % len(self._cpus)] if unit.pin else -1,
            fds=tuple(fds), pid_vars=tuple(pid_vars), sent=tuple(sent), close_from=close_from,
        )  # fmt: skip
        if boxed is not None and learner is not None and not role:
            boxed = boxed._replace(confinement=learner.asking(boxed.confinement, program))
        if boxed is not None:
            launch = launch._replace(
                owner=boxed.owner, confinement=boxed.confinement, opens=boxed.opens,
                no_new_privs=boxed.no_new_privs,
                close_from=max(launch.close_from, *(fd + 1 for fd, _, _ in boxed.opens), 0),
            )  # fmt: skip
            return compile_plan(launch), False, boxed
        if unit.user not in ("root", "0"):
            launch = launch._replace(confinement=self._level_base())
        # These may have to be opened again, or be others.
        again = unit.start.ready.kind == "notify" or fds or unit.attach
        fixed = not (unit.env_files or unit.user or unit.group or unit.groups or again)
        return compile_plan(launch), bool(fixed) and "/" in command[0], None

    def sandboxing(self) -> Sandboxing:
        """Of units with more isolation than level base: loaded for the first one."""
        if self._sandboxing is None:
            from supervisor.manager.sandboxing import Sandboxing

            base = getattr(self._tracker, "base", "")
            self._sandboxing = Sandboxing(
                self._paths, lambda key: f"{base}/{self._tracker.group(key)}" if base else "", base
            )
        return self._sandboxing

    def is_boxed(self, key: str, unit: Unit) -> bool:
        """Whether there may be something of a sandbox of its; units that are learned have one."""
        return is_isolated(unit) or key in self.missing or key in self.learning

    def release(self, unit: Unit, key: str, *, last: bool) -> None:
        """An instance is down. `last`: no other one of its unit runs, so what they share is of no
        more use. Raises OSError."""
        number = self.sandboxing().release(unit, key, names_of(unit, key), last=last)
        if number is not None:
            for name in [s for s in self.descriptors.stored if s.startswith(f"idmap:{number}:")]:
                self.descriptors.drop(name)

    def _level_base(self) -> Confinement:
        """What level base takes from a unit that says nothing of its isolation: all capabilities,
        root's too. Under no_new_privs execve(2) gives back none that is not permitted, so the
        bounding set, which takes 41 calls, may stay. An ordinary user's supervisor has none."""
        if self._confinement is None:
            steps = (Step("CAPSET", (0,)),) if os.geteuid() == 0 else ()
            self._confinement = Confinement(last=steps)
        return self._confinement

    def _program(self, word: str, path: str, root: str) -> str:
        """Where the program of a command is, as the service will see it. Raises CannotLaunch."""
        look = self.sandboxing().find if root else _find
        found = look(word, path, root)
        if found is None:
            if root:
                raise CannotLaunch(f"{word} is in no directory of PATH ({path}) below {root}")
            from supervisor.manager.executed import missing

            raise CannotLaunch(missing(word, path))
        return found

    def _of_process(
        self, unit: Unit
    ) -> tuple[tuple[tuple[int, int, int], ...], int | None, int | None]:
        """Resource limits, nice and oom_score_adj of its [limits]."""
        if unit.limits is None:
            return (), None, None
        from supervisor.kernel.limits import of_process

        return of_process(unit.limits)

    def _command(self, unit: Unit, role: Role, hook: int) -> tuple[str, ...]:
        if role == "before":
            return unit.start.before[hook]
        if role == "after":
            return unit.start.after[hook]
        if role == "stop":
            return unit.stop.command
        if role == "reload":
            return unit.reload.command
        return unit.command

    def _identity(self, unit: Unit) -> Identity:
        try:
            who = users.identity(unit.user, unit.group, unit.groups)
        except users.UnknownName as exc:
            raise CannotLaunch(f"cannot become {unit.user or unit.group}: {exc}") from exc
        if who.uid is not None and os.geteuid() != 0:
            name = unit.user or unit.group or ", ".join(unit.groups)
            raise CannotLaunch(f"only a supervisor that runs as root can run it as {name}")
        return who

    def _watch_plan(self, unit: Unit, inst: Instance) -> list[Step]:
        """The watcher of ready = {log = ...}: ours, outside the unit's cgroup and log. It reads
        from the launch on: a fast program is ready before we hear that it runs."""
        since = time_ns() - (monotonic_ns() - inst.launched_ns)
        command = (*self._watcher, inst.key, str(since), unit.start.ready.pattern)
        me = users.identity("", "", ())
        env = (("PATH", PATH), ("HOME", me.home))
        return compile_plan(Launch(command, command[0], env, me, directory="/"))

    def _make(self, boxed: Boxed) -> None:
        """What the keeper has to have for this sandbox, and has not yet. Raises CannotLaunch."""
        from supervisor.kernel.sandbox.part import CannotConfine

        for name, make in boxed.stores:
            if name in self.descriptors.stored:
                continue
            try:
                fd = make()
            except CannotConfine as exc:
                raise CannotLaunch(str(exc)) from exc
            self.descriptors.keep(name, fd)
            os.close(fd)

    def _readiness(
        self, unit: Unit, inst: Instance, env: dict[str, str], pid_vars: list[str]
    ) -> str:
        """The path of its notify socket, "" if it has none."""
        if unit.start.ready.kind != "notify":
            return ""
        path = f"{self._paths.runtime}/notify/{inst.key.replace('/', '@')}"
        env["NOTIFY_SOCKET"] = path
        if unit.start.watchdog_ns:
            env["WATCHDOG_USEC"] = str(unit.start.watchdog_ns // 1000)
            pid_vars.append("WATCHDOG_PID")
        return path

    def _open_notify(
        self, key: str, path: str, who: Identity, owner: tuple[int, int] | None
    ) -> None:
        """`owner`: the host's ids of `who`, where those are others."""
        stored = f"notify:{key}"
        if stored not in self.descriptors.stored:
            uid, gid = owner or (-1 if who.uid is None else who.uid, who.gid)
            fd = notify.open_socket(path, uid, gid)
            self.descriptors.keep(stored, fd)
            self.opened[key] = fd


def _find(word: str, path: str, _root: str) -> str | None:
    return users.find_program(word, path)


def names_of(unit: Unit, key: str) -> dict[str, str]:
    """What is filled in at launch of an instance, each with its braces."""
    return {"{instance}": key.partition("/")[2] or "0", "{unit}": unit.name}


def _raised(rlimits: tuple[tuple[int, int, int], ...]) -> tuple[tuple[int, int, int], ...]:
    """What goes beyond the supervisor's own hard limits: the keeper has the same."""
    if not rlimits:
        return ()
    from resource import RLIM_INFINITY, getrlimit

    own = {kind: getrlimit(kind)[1] for kind, _, _ in rlimits}
    return tuple(
        (kind, hard, hard)
        for kind, _, hard in rlimits
        if RLIM_INFINITY != own[kind] < hard
    )


def is_isolated(unit: Unit) -> bool:
    """Whether model.policy is to be asked, which is loaded for that only."""
    return bool(
        unit.sandbox is not None or unit.network is not None or unit.root or unit.secrets
        or unit.user == "dynamic"
        or shares_process(unit)
    )  # fmt: skip


def filled(text: str, names: dict[str, str]) -> str:
    if "{" in text:
        for name, value in names.items():
            text = text.replace(name, value)
    return text
