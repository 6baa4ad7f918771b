"""`unboxed explain`: the steps of a launch, and what in the kernel stands behind each key."""
from __future__ import annotations

from supervisor.config.render import describe
from supervisor.kernel.plan import Step as PlanStep
from supervisor.kernel.summary import summary
from supervisor.manager.launcher import CannotLaunch, filled, names_of
from supervisor.manager.supervisor import Supervisor
from supervisor.model.report import Explanation, Mechanism, Step
from supervisor.model.sandbox import Sandbox
from supervisor.model.state import Instance
from supervisor.model.unit import BOOT, Unit

# Longest matching key wins. What is not here is decided by the manager, not by the kernel.
MECHANISMS = {
    "command": "execve(2); never a shell",
    "directory": "openat2(2) without magic links, fchdir(2), verified by getcwd(2)",
    "umask": "umask(2)",
    "user": "setgroups(2), setresgid(2), setresuid(2), verified; names from /etc/passwd only",
    "group": "setresgid(2); names from /etc/group only",
    "groups": "setgroups(2)",
    "env": "a new environment at execve(2); nothing of the supervisor's is inherited",
    "env_files": "read by the supervisor at each start",
    "instances": "one cgroup, log stream and process tree each",
    "pin": "sched_setaffinity(2)",
    "attach": "started before these and stopped after them; nobody waits for it",
    "agent.receives": "pipes, sockets and files that are given to it at its start: agents.md",
    "agent.cursor": "a pipe to its feed, which keeps what it has done with in the state directory",
    "listen": "bind(2) and listen(2) by the supervisor; held by the keeper, passed as LISTEN_FDS",
    "start.ready": "see docs/units.md: exec status pipe, sd_notify(3), a pipe, the log, the exit",
    "start.watchdog": "WATCHDOG=1 on NOTIFY_SOCKET; then SIGABRT and the stop ladder",
    "stop": "signals to every process of its cgroup, then cgroup.kill",
    "stop.drain": "shutdown(2) on its own SO_REUSEPORT listeners",
    "reload": "a signal to the main process, or a command in its cgroup",
    "restart.memory_budget": "memory.current, or the sum of its processes' resident memory",
    "limits.oom_score_adjust": "/proc/PID/oom_score_adj",
    "limits.nice": "setpriority(2)",
    "limits.files": "setrlimit(2), for each process",
    "limits.core": "setrlimit(2), for each process",
    "limits.rlimits": "setrlimit(2), for each process",
    "limits.slice": "a group above those of its members, with the limits of that group unit",
    "limits.require": "what cannot be enforced refuses the start (all), or is listed (best)",
    "sandbox.open": "open(2) before its ids and its view change, passed as that descriptor",
    "sandbox.on_violation": "what the system call filter answers",
    "sandbox.require": "what cannot be enforced refuses the start (all), or is listed (best)",
    "logs": "splice(2) from its pipe to segment files by the logger process",
    "logs.keep": "unlink(2) of its oldest files by the logger process",
    "logs.max_age": "unlink(2) of its oldest files by the logger process",
    "logs.stderr": "one pipe(7) as descriptors 1 and 2, or one for each, into the same files",
    "logs.on_full": "write(2) waits for a full pipe, or the logger takes from it what is dropped",
    "logs.rate": "the logger takes from its pipe what is dropped, and counts it",
    "logs.to": "descriptors 1 and 2: pipes, or opened before its ids and view change",
    "conditions": "looked at before each start",
}
_AFTER_BOOT = "boot: as all units of a machine have it that boot itself does not need"
_POLICY = ""  # the supervisor itself
# Sections in which `{unit}` and `{instance}` are filled in.
_FILLED = {"command", "directory", "env", "env_files", "sandbox", "secrets"}


def explain(sup: Supervisor, inst: Instance) -> Explanation:
    """For a stopped unit too: what its next start would do. Nothing is opened or changed, but that
    a controller which [limits] needs is asked for, to see whether it is to be had."""
    unit = sup.world.unit_of(inst)
    names = names_of(unit, inst.key)
    keys = tuple(
        Mechanism(key, _value(key, str(value), names), _mechanism(key))
        for key, value in describe(unit)
    )
    if any(dep.patient for dep in sup.world.graph.deps.get(unit.name, ())):
        keys = tuple(_after_boot(key) if key.key == "needs.requires" else key for key in keys)
    joins: tuple[str, ...] = ()
    if unit.limits is not None:
        try:
            rows, joins = sup.limits().explain(inst, unit)
        except CannotLaunch as exc:
            return Explanation((Step("REFUSED", f"cannot start {inst.key}: {exc}"),), keys)
        keys = _exact(keys, rows, unit)
    if unit.kind == "group":
        return Explanation((Step("GROUP", "no process: up when its members are"),), keys)
    try:
        steps, _, boxed = sup.launcher.plan(unit, inst, "", 0, joins, dry=True)
    except CannotLaunch as exc:
        return Explanation((Step("REFUSED", f"cannot start {inst.key}: {exc}"),), keys)
    rows = [*boxed.mechanisms, *boxed.lacking] if boxed is not None else []
    keys = _exact(keys, [*_base(steps), *rows], unit)
    if sup.tracking_note:
        note = f"no cgroup of its own: {sup.tracking_note}; tracked by session and ancestry"
        first: tuple[Step, ...] = (Step("TRACKING", note),)
    else:
        first = ()
    return Explanation((*first, *(Step(*line) for line in summary(steps))), keys)


def _after_boot(key: Mechanism) -> Mechanism:
    """Of a machine's unit, with the need that its file does not have."""
    own = key.value.removesuffix("]")
    return Mechanism(key.key, f'{own}{", " if own != "[" else ""}"{BOOT}"]', _AFTER_BOOT)


def _value(key: str, value: str, names: dict[str, str]) -> str:
    """Of a key, as the launch will have it: `{unit}` is its name."""
    return filled(value, names) if key.replace("[", ".").split(".")[0] in _FILLED else value


def _base(steps: list[PlanStep]) -> list[tuple[str, str]]:
    """What all levels but `off` do, without a view or a filter."""
    found = {step.name for step in steps}
    words = "no new privileges: prctl(PR_SET_NO_NEW_PRIVS)" if "NO_NEW_PRIVS" in found else ""
    if "CAPSET" in found:
        words += "; no capabilities: capset(2)"
    return [("sandbox.level", words)] if words else []


def _exact(
    keys: tuple[Mechanism, ...], rows: list[tuple[str, str]], unit: Unit
) -> tuple[Mechanism, ...]:
    """Each key once, with all that it is on this host. Those that were not written are at the end:
    limits of its slices and defaults, and what its level or its other keys imply."""
    own: dict[str, list[str]] = {}
    above = []
    for key, words in rows:
        if words.startswith("slice "):
            above.append(Mechanism(key, "", words))
        elif words not in own.setdefault(key, []):
            own[key].append(words)
    exact = [
        Mechanism(key.key, key.value, "; ".join(own.pop(key.key))) if key.key in own else key
        for key in keys
    ]
    implied = [
        Mechanism(key, _implied_by(key, unit), "; ".join(words)) for key, words in own.items()
    ]
    return (*exact, *implied, *above)


def _implied_by(key: str, unit: Unit) -> str:
    """Of a key that was not written, in place of its value."""
    section, level = key.partition(".")[0], (unit.sandbox or Sandbox()).level
    if key == "sandbox.level":
        return level
    if section not in ("sandbox", "network", "user"):
        return ""
    if key == "sandbox.exec" and level != "strict":
        return "(by its promises)"
    if level in ("app", "strict") or key == "sandbox.capabilities":
        return f"(by level {level})"
    return "(by its other keys)"


def _mechanism(key: str) -> str:
    words = key.replace("[", ".").split(".")
    while words:
        found = MECHANISMS.get(".".join(words))
        if found is not None:
            return found
        words.pop()
    return _POLICY


def with_files(sup: Supervisor, inst: Instance) -> Explanation:
    """The same, with a step FILE for each file that the unit is made of, before all others, and a
    step HOOK for each command around its start."""
    from supervisor.config.sources import sources

    unit = sup.world.unit_of(inst)
    found = explain(sup, inst)
    files = [Step("FILE", path) for path in sources(unit.source, sup.paths.units)]
    steps = found.steps
    if steps[0].step not in {"GROUP", "REFUSED"}:
        before = (Step("HOOK", f"start.before: {' '.join(hook)}") for hook in unit.start.before)
        after = (Step("HOOK", f"start.after: {' '.join(hook)}") for hook in unit.start.after)
        steps = (*before, *steps, *after)
    return Explanation((*files, *steps), found.keys)
