"""The state machine of one instance: (phase, event) -> what changes and what to do.

A state is goal x phase (model.state). A restart is no state of its own: it is a stop with goal up
(or `again`). `step` looks the handler up in TABLE, which has an entry for every pair; a pair that
changes nothing names the reason in IGNORED, so no combination is left to chance. Handlers change
the instance only through `_to` and plain assignments, and put actions on the turn's list.

What this module does not know: other units (world.py turns relations into NeedsMet, NeedFailed,
Released), the clock (the turn carries `now`), and whether an action succeeds.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from supervisor.core.words import CLD_EXITED, CLEAN_SIGNALS, TOO_LATE, exit_words
from supervisor.model import action as do
from supervisor.model import event as ev
from supervisor.model.state import PHASES, Instance, Phase, Role, Transition
from supervisor.model.unit import SECOND_NS, Unit

KILL_GRACE_NS = 5 * SECOND_NS  # what is left this long after cgroup.kill is called unkillable
NOT_BEGUN_NS = SECOND_NS // 10  # least pause after a start that never got to its main process
MEASURE_NS = 10 * SECOND_NS  # how often a unit with a memory budget is looked at
SIGKILL, SIGCONT, SIGABRT = 9, 18, 6
COMMAND, DRAIN, ABORT = -1, -2, -3  # rungs before the ladder's own


class Turn(Struct, gc=False):
    """What one step may use and what it leaves behind. `seed` feeds the jitter, nothing else."""

    now: int
    next_launch: int
    next_transition: int
    seed: int
    actions: list[do.Action]
    transitions: list[Transition]
    wanted: list[tuple[str, str, int]]  # units to start (a restart limit's `then`), cause, its id

    def launch(self) -> int:
        self.next_launch += 1
        return self.next_launch


Handler = Callable[[Turn, Unit, Instance, Any], None]


def step(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """Let `event` happen to `inst`. Events of earlier launches change nothing."""
    launch = getattr(event, "launch", None)
    if launch is not None and launch not in (inst.launch, inst.job):
        return  # stale: that process is not ours any more
    handler = TABLE[inst.phase, type(event)]
    if handler is not None:
        handler(turn, unit, inst, event)


def _to(turn: Turn, inst: Instance, phase: Phase, cause: str, cause_id: int = 0) -> None:
    turn.next_transition += 1
    turn.transitions.append(
        Transition(turn.next_transition, inst.key, turn.now, inst.phase, phase, cause, cause_id)
    )
    inst.phase = phase
    inst.since_ns = turn.now
    inst.cause = cause
    inst.cause_id = turn.next_transition
    inst.deadline_ns = 0


# --- starting ---------------------------------------------------------------------------------


def _go_up(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """A start that somebody asked for: old failures count no more."""
    inst.goal, inst.again, inst.finished, inst.skipped = "up", False, False, False
    inst.failures, inst.restarts, inst.recent_ns, inst.stuck = 0, 0, (), False
    _to(turn, inst, "waiting", event.cause, event.cause_id)


def _launch(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """From waiting: all needs are met."""
    if unit.kind == "group":
        inst.emptied = True
        _to(turn, inst, "up", event.cause or "all members are there", event.cause_id)
        return
    inst.result, inst.ended, inst.hook, inst.emptied, inst.short = "", "", 0, True, False
    inst.started_ns = 0
    cause = event.cause or inst.cause
    _to(turn, inst, "launching", cause, event.cause_id or inst.cause_id)
    if unit.start.timeout_ns:
        inst.deadline_ns = turn.now + unit.start.timeout_ns
    if unit.start.before:
        _job(turn, inst, "before", 0)
    else:
        _main(turn, inst)


def _main(turn: Turn, inst: Instance) -> None:
    inst.launch = turn.launch()
    inst.emptied = False
    turn.actions.append(do.Launch(inst.key, inst.launch))


def _job(turn: Turn, inst: Instance, role: Role, hook: int) -> None:
    inst.job = turn.launch()
    inst.role, inst.hook = role, hook
    if role != "ready":  # the watcher lives outside the instance
        inst.emptied = False
    turn.actions.append(do.Launch(inst.key, inst.job, role, hook))


def _drop_job(turn: Turn, inst: Instance) -> None:
    """Forget the helper process: not launch it, if that is still to be done, or else kill it."""
    if inst.job:
        launch = do.Launch(inst.key, inst.job, inst.role, inst.hook)
        if launch in turn.actions:
            turn.actions.remove(launch)
        else:
            turn.actions.append(do.Signal(inst.key, inst.job, SIGKILL))
        inst.job, inst.role = 0, ""


def _execed(turn: Turn, unit: Unit, inst: Instance, event: ev.Execed) -> None:
    """In launching. A hook's exec is no news; the main process's is the start."""
    if event.launch == inst.job:
        return
    inst.pid, inst.started_ns = event.pid or inst.pid, turn.now
    inst.watchdog_ns = unit.start.watchdog_ns
    ready = unit.start.ready
    if ready.kind == "exec" and not unit.start.after:
        _up(turn, unit, inst, "started")
        return
    deadline = inst.deadline_ns
    _to(turn, inst, "starting", "started", inst.cause_id)
    inst.deadline_ns = deadline
    if ready.kind == "exec":
        _job(turn, inst, "after", 0)
    elif ready.kind == "log":
        _job(turn, inst, "ready", 0)


def _pid(turn: Turn, unit: Unit, inst: Instance, event: ev.Execed) -> None:
    """After launching: a job's exec is no news, that of a main process overtaken by its READY=1
    (or by a stop) still tells its pid."""
    if event.launch == inst.launch:
        inst.pid = inst.pid or event.pid


def _early_ready(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """In launching: READY=1 reaches us by another way than the keeper's word of the exec, and can
    be faster. Only what was executed can say it."""
    if inst.launch and unit.start.ready.kind in ("notify", "fd"):
        _execed(turn, unit, inst, ev.Execed(inst.launch, 0))
        _ready(turn, unit, inst, event)


def _ready(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """In starting. While an after-hook runs it has been ready before."""
    if inst.role == "after":
        return
    _drop_job(turn, inst)
    if unit.start.after:
        _job(turn, inst, "after", 0)
    else:
        _up(turn, unit, inst, "ready")


def _up(turn: Turn, unit: Unit, inst: Instance, cause: str) -> None:
    _to(turn, inst, "up", cause, inst.cause_id)
    inst.result, inst.ended = "", ""
    if not inst.launch:
        turn.actions.append(do.Watch(inst.key))
    if inst.watchdog_ns and not inst.frozen:
        inst.watchdog_due_ns = turn.now + inst.watchdog_ns
    restart = unit.restart
    if restart.max_age_ns:
        spread = int(restart.max_age_jitter_ns * _fraction(turn, inst))
        inst.age_due_ns = turn.now + restart.max_age_ns + spread
    if restart.memory_budget_bytes:
        inst.measure_due_ns = turn.now + MEASURE_NS


def adopt(turn: Turn, unit: Unit, inst: Instance, launch: int, pid: int, cause: str) -> None:
    """No event, but what a manager without memory finds: a main process, which counts as ready."""
    inst.goal, inst.again, inst.emptied = "up", False, False
    inst.launch, inst.pid, inst.started_ns = launch, pid, turn.now
    inst.watchdog_ns = unit.start.watchdog_ns
    _up(turn, unit, inst, cause)


def _skipped(turn: Turn, unit: Unit, inst: Instance, event: ev.Skipped) -> None:
    inst.launch, inst.job, inst.role = 0, 0, ""
    inst.goal, inst.skipped = "down", True
    inst.emptied = not inst.hook  # no hook ran before
    _begin_stop(turn, unit, inst, "stopping", event.words)


def _need_failed(turn: Turn, unit: Unit, inst: Instance, event: ev.NeedFailed) -> None:
    inst.ended = "abnormal"
    _to(turn, inst, "failed", event.cause, event.cause_id)
    turn.actions.append(do.Release(inst.key))


def _job_exited(turn: Turn, unit: Unit, inst: Instance, event: ev.Exited) -> bool:
    """True when this exit was the job's, and is dealt with."""
    if event.launch != inst.job:
        return False
    role, hook = inst.role, inst.hook
    inst.job, inst.role = 0, ""
    good = event.code == CLD_EXITED and event.status == 0
    words = inst.result or event.words or exit_words(event.code, event.status)
    if role == "before" and inst.phase == "launching":
        if not good:
            _fail_start(turn, unit, inst, f"hook start.before[{hook}]: {words}", event.empty)
        elif hook + 1 < len(unit.start.before):
            _job(turn, inst, "before", hook + 1)
        else:
            inst.hook = hook + 1
            _main(turn, inst)
    elif role == "after" and inst.phase == "starting":
        if not good:
            _fail_start(turn, unit, inst, f"hook start.after[{hook}]: {words}", event.empty)
        elif hook + 1 < len(unit.start.after):
            _job(turn, inst, "after", hook + 1)
        elif inst.launch or not event.empty:
            _up(turn, unit, inst, "ready")
        else:  # a daemon that forked, and died while the hook ran
            _fail_start(turn, unit, inst, "it ended before it was ready", event.empty)
    elif role == "ready" and inst.phase == "starting":
        if good:
            _ready(turn, unit, inst, event)
        else:
            _fail_start(turn, unit, inst, f"its log watcher: {words}", event.empty)
    elif role == "stop" and inst.phase == "stopping":
        if not inst.launch and (event.empty or inst.emptied):
            _over(turn, unit, inst)
        elif not good:  # it asked for nothing; else what it asked for gets the first rung's time
            inst.rung = 0
            _rung(turn, unit, inst)
    return True


def _fail_start(turn: Turn, unit: Unit, inst: Instance, why: str, empty: bool) -> None:
    """A start that cannot succeed: stop what runs of it, then do what restart.when says."""
    inst.result, inst.ended = why, "abnormal"
    if inst.launch or not empty:
        _begin_stop(turn, unit, inst, "stopping", why)
    else:
        inst.emptied = True
        _over(turn, unit, inst)


def _launch_failed(turn: Turn, unit: Unit, inst: Instance, event: ev.LaunchFailed) -> None:
    """In launching, and (for jobs) wherever one may be launched."""
    if event.launch == inst.job and inst.role in ("stop", "reload"):
        if not event.alive:
            exited = ev.Exited(event.launch, CLD_EXITED, 127, False, event.words)
            _job_exited(turn, unit, inst, exited)
        return
    inst.result, inst.ended, inst.short = event.words, "abnormal", event.short
    if event.alive:
        return  # its exit record follows at once
    if event.launch == inst.job:
        inst.job, inst.role = 0, ""
    else:
        inst.launch = 0
    if inst.phase in ("launching", "starting"):
        inst.emptied = inst.phase == "launching" and not inst.hook  # no hook ran before
        _begin_stop(turn, unit, inst, "stopping", event.words)
    else:
        turn.actions.append(do.Watch(inst.key))


def _launch_exited(turn: Turn, unit: Unit, inst: Instance, event: ev.Exited) -> None:
    """In launching: a hook, or a main process that never got to its exec."""
    if inst.result and event.launch == inst.job:
        inst.job, inst.role = 0, ""
        _fail_start(turn, unit, inst, inst.result, event.empty)
    elif not _job_exited(turn, unit, inst, event):
        _main_exited(turn, unit, inst, event)


def _start_exited(turn: Turn, unit: Unit, inst: Instance, event: ev.Exited) -> None:
    """In starting. With ready = {exit = N} that exit is the readiness: what it left behind is the
    service (a daemon that forks), or nothing is (a task)."""
    if _job_exited(turn, unit, inst, event):
        return
    ready = unit.start.ready
    if ready.kind == "exit" and event.code == CLD_EXITED and event.status == ready.code:
        if not event.empty:
            inst.launch, inst.pid = 0, 0
            _ready(turn, unit, inst, event)
            return
        inst.ended = "clean"
    elif unit.kind == "service" and not inst.result:
        inst.result = f"it ended before it was ready: {_end_words(event)}"
        inst.ended = "unclean" if _orderly(event) else "abnormal"
    _main_exited(turn, unit, inst, event)


# --- while it is up ---------------------------------------------------------------------------


def _notified(turn: Turn, unit: Unit, inst: Instance, event: ev.Notified) -> None:
    """In launching, starting, up, stopping, finishing."""
    if event.status is not None:
        inst.status_text = event.status
    if event.pid is not None:
        inst.pid = event.pid
    if event.watchdog_ns is not None:
        inst.watchdog_ns = event.watchdog_ns
        inst.watchdog_due_ns = 0
    if event.watchdog == "trigger" and inst.phase in ("starting", "up"):
        _fail_watchdog(turn, unit, inst, "it reported itself hung (WATCHDOG=trigger)")
        return
    if (
        inst.watchdog_ns
        and inst.phase == "up"
        and not inst.frozen
        and (event.watchdog or not inst.watchdog_due_ns)
    ):
        inst.watchdog_due_ns = turn.now + inst.watchdog_ns
    if event.reloading and inst.phase == "up":
        inst.reloading = True
    if event.extend_ns is not None and inst.deadline_ns:
        inst.deadline_ns = max(inst.deadline_ns, turn.now + event.extend_ns)
    if event.stopping and inst.phase == "up":
        inst.status_text = inst.status_text or "stopping by itself"


def _up_ready(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """READY=1 after RELOADING=1: the reload is done."""
    inst.reloading = False


def _up_exited(turn: Turn, unit: Unit, inst: Instance, event: ev.Exited) -> None:
    if not _job_exited(turn, unit, inst, event):
        _main_exited(turn, unit, inst, event)


def _up_empty(turn: Turn, unit: Unit, inst: Instance, event: ev.Empty) -> None:
    """Only a forking daemon (no main process of ours) ends by its cgroup running empty."""
    if not inst.launch and not inst.emptied:
        inst.emptied = True
        inst.last_exit = "all its processes ended"
        inst.ended = "clean"
        _over(turn, unit, inst)


def _up_due(turn: Turn, unit: Unit, inst: Instance, event: ev.Due) -> None:
    now = turn.now
    if inst.watchdog_due_ns and inst.watchdog_due_ns <= now:
        words = f"no watchdog ping for {inst.watchdog_ns / SECOND_NS:g} s"
        _fail_watchdog(turn, unit, inst, words)
    elif inst.age_due_ns and inst.age_due_ns <= now:
        inst.age_due_ns = 0
        if _leaves(inst):
            return
        inst.again = True
        _begin_stop(turn, unit, inst, "stopping", "it reached restart.max_age")
    elif inst.measure_due_ns and inst.measure_due_ns <= now:
        inst.measure_due_ns = now + MEASURE_NS
        turn.actions.append(do.Measure(inst.key))


def _measured(turn: Turn, unit: Unit, inst: Instance, event: ev.Measured) -> None:
    budget = unit.restart.memory_budget_bytes
    if budget and event.memory_bytes > budget and not _leaves(inst):
        inst.again = True
        words = f"it uses {event.memory_bytes >> 20} MiB, over restart.memory_budget"
        _begin_stop(turn, unit, inst, "stopping", words)


def _fail_watchdog(turn: Turn, unit: Unit, inst: Instance, words: str) -> None:
    """No drain and no stop command for what does not listen: SIGABRT, so that a core may tell where
    it hung, and then the ladder."""
    inst.result, inst.ended = words, "abnormal"
    _begin_stop(turn, unit, inst, "stopping", words, hung=True)


def _reloaded(turn: Turn, unit: Unit, inst: Instance, event: ev.Reloaded) -> None:
    reload = unit.reload
    if _leaves(inst):
        return
    if reload.kind == "restart":
        inst.again = True
        _begin_stop(turn, unit, inst, "stopping", event.cause)
    elif reload.kind == "command":
        if not inst.job:
            _job(turn, inst, "reload", 0)
    elif inst.launch:
        turn.actions.append(do.Signal(inst.key, inst.launch, reload.signal))


def _froze(turn: Turn, unit: Unit, inst: Instance, event: ev.Froze) -> None:
    """What is frozen cannot ping its watchdog: that one waits, and starts anew after."""
    inst.frozen = event.frozen
    if inst.phase == "up" and inst.watchdog_ns:
        inst.watchdog_due_ns = 0 if event.frozen else turn.now + inst.watchdog_ns


# --- stopping ---------------------------------------------------------------------------------


def _go_down(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """From a phase in which something runs. What others may rely on stays until Released."""
    inst.goal, inst.again = "down", False
    _leave(turn, unit, inst, event)


def _go_again(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    inst.goal, inst.again = "up", True
    _leave(turn, unit, inst, event)


def _leave(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    if inst.phase == "launching":
        _begin_stop(turn, unit, inst, "stopping", event.cause, event.cause_id)
    else:
        inst.cause, inst.cause_id = event.cause, event.cause_id or inst.cause_id


def _leaves(inst: Instance) -> bool:
    """Its stop was asked for, and is perhaps held back."""
    return inst.goal == "down" or inst.again


def _stay_up(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """A start while it runs: only a stop that has not begun is called off."""
    if _leaves(inst):
        inst.cause = event.cause
    inst.goal, inst.again = "up", False


def _up_after_stop(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """A start while it stops: finish the stop, then start."""
    inst.goal, inst.again, inst.finished = "up", True, False


def _down_after_stop(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    inst.goal, inst.again = "down", False


def _released(turn: Turn, unit: Unit, inst: Instance, event: ev.Released) -> None:
    """In starting and up: the dependents are gone, the stop that was asked for begins."""
    if _leaves(inst):
        _begin_stop(turn, unit, inst, "stopping", inst.cause, inst.cause_id)


def _begin_stop(
    turn: Turn, unit: Unit, inst: Instance, phase: Phase, cause: str, cause_id: int = 0,
    *, hung: bool = False,
) -> None:  # fmt: skip
    _drop_job(turn, inst)
    inst.watchdog_due_ns = inst.age_due_ns = inst.measure_due_ns = 0
    inst.reloading = False
    if not inst.launch and inst.emptied:  # such as a group
        _over(turn, unit, inst, cause, cause_id)
        return
    if inst.frozen:
        turn.actions.append(do.Freeze(inst.key, False))
    serves = inst.phase in ("starting", "up") and phase == "stopping"
    _to(turn, inst, phase, cause, cause_id)
    stop = unit.stop
    inst.rung = 0
    if hung and inst.launch:
        inst.rung = ABORT
    elif serves:
        inst.rung = DRAIN if stop.drain_ns else COMMAND if stop.command else 0
    if not inst.launch:
        turn.actions.append(do.Watch(inst.key))
    _rung(turn, unit, inst)


def _rung(turn: Turn, unit: Unit, inst: Instance) -> None:
    """Do the next rung of the ladder and set the time of the one after it."""
    stop = unit.stop
    if inst.rung == ABORT:
        for number in (SIGABRT, SIGCONT):
            turn.actions.append(do.Signal(inst.key, inst.launch, number))
        inst.deadline_ns = turn.now + (stop.ladder[0].wait_ns if stop.ladder else 0)
        inst.rung = 0
    elif inst.rung == DRAIN:
        turn.actions.append(do.Drain(inst.key))
        inst.deadline_ns = turn.now + stop.drain_ns
        inst.rung = COMMAND if stop.command else 0
    elif inst.rung == COMMAND:
        _job(turn, inst, "stop", 0)
        inst.deadline_ns = turn.now + (stop.ladder[0].wait_ns if stop.ladder else 0)
        inst.rung = 0
    elif inst.rung < len(stop.ladder):
        rung = stop.ladder[inst.rung]
        scope = stop.scope if inst.rung == 0 and inst.launch else "all"
        turn.actions.append(do.Signal(inst.key, inst.launch, rung.signal, scope))
        if rung.signal != SIGKILL:  # what is stopped (SIGSTOP) could not hear it
            turn.actions.append(do.Signal(inst.key, inst.launch, SIGCONT, scope))
        inst.deadline_ns = turn.now + rung.wait_ns
        inst.rung += 1
    else:
        _kill(turn, inst, "the stop ladder is at its end")


def _kill(turn: Turn, inst: Instance, cause: str) -> None:
    _to(turn, inst, "killing", cause, inst.cause_id)
    _kill_again(turn, inst)


def _kill_again(turn: Turn, inst: Instance) -> None:
    """As long as something is left: it may not have been possible the last time."""
    inst.deadline_ns = turn.now + KILL_GRACE_NS
    if inst.frozen:  # a frozen cgroup v1 keeps even SIGKILL waiting
        turn.actions.append(do.Freeze(inst.key, False))
    turn.actions.append(do.KillAll(inst.key))
    turn.actions.append(do.Watch(inst.key))


def cut(turn: Turn, unit: Unit, inst: Instance, cause: str) -> None:
    """No event, but the end of a shutdown's time: no ladder any more, and no waiting for others."""
    inst.goal, inst.again = "down", False
    if inst.phase == "killing":
        if not inst.stuck:
            _give_up(turn, inst)
        _kill_again(turn, inst)
        return
    _drop_job(turn, inst)
    inst.watchdog_due_ns = inst.age_due_ns = inst.measure_due_ns = 0
    if not inst.launch and inst.emptied:
        _over(turn, unit, inst, cause)
    else:
        _kill(turn, inst, cause)


def _stop_due(turn: Turn, unit: Unit, inst: Instance, event: ev.Due) -> None:
    if inst.deadline_ns and inst.deadline_ns <= turn.now:
        if inst.job:
            _drop_job(turn, inst)
        _rung(turn, unit, inst)


def _kill_due(turn: Turn, unit: Unit, inst: Instance, event: ev.Due) -> None:
    if inst.deadline_ns and inst.deadline_ns <= turn.now:
        if not inst.stuck:
            _give_up(turn, inst)
        _kill_again(turn, inst)


def _give_up(turn: Turn, inst: Instance) -> None:
    """Only the kernel can help now (a hung device, a frozen mount): say so, wait for Empty.
    A transition although the phase stays, because nobody has to wait for it any more."""
    inst.stuck = True
    _to(turn, inst, "killing", "it survives SIGKILL", inst.cause_id)


def _start_due(turn: Turn, unit: Unit, inst: Instance, event: ev.Due) -> None:
    """In launching and starting: start.timeout."""
    if inst.deadline_ns and inst.deadline_ns <= turn.now:
        inst.result = f"{TOO_LATE} ({unit.start.timeout_ns / SECOND_NS:g} s)"
        inst.ended = "abnormal"
        _begin_stop(turn, unit, inst, "stopping", inst.result)


def _end_words(event: ev.Exited) -> str:
    return event.words or exit_words(event.code, event.status)


def _orderly(event: ev.Exited) -> bool:
    """It exited, whatever the status, or died of a signal by which services are asked to end."""
    return event.code == CLD_EXITED or event.status in CLEAN_SIGNALS


def _main_exited(turn: Turn, unit: Unit, inst: Instance, event: ev.Exited) -> None:
    """The main process is gone; the instance is over once nothing else of it is left."""
    words = _end_words(event)
    if inst.phase == "launching" and inst.result:
        words = inst.result
    inst.last_exit = words
    inst.launch, inst.pid = 0, 0
    if not inst.ended:
        if event.code == CLD_EXITED:
            inst.ended = "clean" if event.status in unit.restart.success_codes else "unclean"
        else:
            inst.ended = "clean" if _orderly(event) else "abnormal"
    if event.empty and inst.role in ("", "ready"):  # else a job may not even be born yet
        inst.emptied = True
        _over(turn, unit, inst)
    elif inst.phase in ("stopping", "killing", "finishing"):
        if inst.phase == "killing":  # without a cgroup, it may have forked meanwhile
            turn.actions.append(do.KillAll(inst.key))
        turn.actions.append(do.Watch(inst.key))
    else:
        _begin_stop(turn, unit, inst, "finishing", f"main process: {words}")


def _stop_exited(turn: Turn, unit: Unit, inst: Instance, event: ev.Exited) -> None:
    if not _job_exited(turn, unit, inst, event):
        _main_exited(turn, unit, inst, event)


def _stop_empty(turn: Turn, unit: Unit, inst: Instance, event: ev.Empty) -> None:
    inst.emptied = True
    if not inst.launch and not inst.job:
        _over(turn, unit, inst)


# --- what comes after an end ------------------------------------------------------------------


def _over(turn: Turn, unit: Unit, inst: Instance, cause: str = "", cause_id: int = 0) -> None:
    """Nothing of the run is left. Decide: start again, wait, be down, or fail."""
    _drop_job(turn, inst)
    inst.pid, inst.stuck, inst.frozen, inst.rung = 0, False, False, 0
    inst.watchdog_due_ns = inst.age_due_ns = inst.measure_due_ns = 0
    why = inst.result or cause or (inst.last_exit if inst.ended else "") or inst.cause
    cause_id = cause_id or inst.cause_id
    if inst.goal == "down":
        asked = inst.cause if inst.phase == "stopping" and not inst.result else why
        _to(turn, inst, "down", asked, cause_id)
        turn.actions.append(do.Release(inst.key))
    elif inst.again:
        inst.again = False
        _to(turn, inst, "waiting", cause or inst.cause, cause_id)
    elif unit.kind == "task" and inst.ended == "clean":
        inst.goal, inst.finished = "down", True
        _to(turn, inst, "down", why, cause_id)
        turn.actions.append(do.Release(inst.key))
    elif _restarts(unit, inst):
        _again(turn, unit, inst, why)
    else:
        inst.goal = "down" if inst.ended == "clean" else inst.goal
        _to(turn, inst, "down" if inst.ended == "clean" else "failed", why, cause_id)
        turn.actions.append(do.Release(inst.key))


def _restarts(unit: Unit, inst: Instance) -> bool:
    when = unit.restart.when
    if when == "always":
        return True
    if when == "on-failure":
        return inst.ended != "clean"
    return when == "on-abnormal" and inst.ended == "abnormal"


def _again(turn: Turn, unit: Unit, inst: Instance, why: str) -> None:
    restart, now = unit.restart, turn.now
    limit = None if inst.short else restart.limit  # that is no failure of the unit's
    if limit is not None:
        recent = tuple(t for t in inst.recent_ns if now - t < limit.within_ns)
        if len(recent) >= limit.count:
            words = f"{why}; {len(recent)} restarts within {limit.within_ns / SECOND_NS:g} s"
            _to(turn, inst, "failed", f"{words} are its limit", inst.cause_id)
            turn.actions.append(do.Release(inst.key))
            if limit.then != "fail":
                words = f"{inst.key} reached its restart limit"
                turn.wanted.append((limit.then, words, inst.cause_id))
            return
        inst.recent_ns = (*recent, now)
    if inst.started_ns and now - inst.started_ns >= restart.reset_after_ns:
        inst.failures = 0
    inst.restarts += 1
    delay = _delay_ns(turn, unit, inst)
    inst.failures += 1
    inst.started_ns = 0
    if delay:
        _to(turn, inst, "backoff", why, inst.cause_id)
        inst.deadline_ns = now + delay
    else:
        _to(turn, inst, "waiting", why, inst.cause_id)


def _delay_ns(turn: Turn, unit: Unit, inst: Instance) -> int:
    """min(max_delay, delay * factor^n) and up to `jitter` of it more, after n failures in a row.
    A start that failed before anything was executed failed in no time, and would again: so even
    without a delay it has one."""
    restart = unit.restart
    first, longest = restart.delay_ns, restart.max_delay_ns
    if inst.result and not inst.started_ns:
        first, longest = max(first, NOT_BEGUN_NS), max(longest, NOT_BEGUN_NS)
    if not first:
        return 0
    power = min(inst.failures, 64)
    delay = min(first * restart.factor**power, float(longest))
    return int(delay * (1 + restart.jitter * _fraction(turn, inst)))


def _fraction(turn: Turn, inst: Instance) -> float:
    """A number in [0, 1) that differs between instances and restarts (a hash, not a random)."""
    mixed = turn.seed ^ turn.next_transition * 0x9E3779B97F4A7C15
    for char in inst.key:
        mixed = (mixed ^ ord(char)) * 0x100000001B3
    return (mixed >> 20 & 0xFFFFFF) / 0x1000000


def _retry(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """From backoff: the delay is over, or somebody does not want to wait for it."""
    if isinstance(event, ev.Due):
        if inst.deadline_ns and inst.deadline_ns <= turn.now:
            _to(turn, inst, "waiting", inst.cause, inst.cause_id)
    else:
        _go_up(turn, unit, inst, event)


def _rest(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """From waiting and backoff: nothing runs, so down at once."""
    inst.goal, inst.again = "down", False
    _to(turn, inst, "down", event.cause, event.cause_id)
    turn.actions.append(do.Release(inst.key))


def _give_in(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """A stop of what failed: it stays failed, so that the reason is still there to read."""
    inst.goal = "down"


def _reset(turn: Turn, unit: Unit, inst: Instance, event: ev.Reset) -> None:
    inst.failures, inst.restarts, inst.recent_ns = 0, 0, ()
    if inst.phase == "failed":
        inst.goal = "down"
        _to(turn, inst, "down", event.cause)


# --- the table --------------------------------------------------------------------------------

_RUNNING: dict[type, Handler] = {ev.Reset: _reset, ev.Froze: _froze, ev.Notified: _notified}
_STOPPING: dict[type, Handler] = {
    **_RUNNING, ev.GoUp: _up_after_stop, ev.GoAgain: _up_after_stop, ev.GoDown: _down_after_stop,
    ev.Execed: _pid, ev.Exited: _stop_exited, ev.Empty: _stop_empty, ev.Due: _stop_due,
    ev.LaunchFailed: _launch_failed,
}  # fmt: skip
_HANDLED: dict[Phase, dict[type, Handler]] = {
    "down": {ev.GoUp: _go_up, ev.GoAgain: _go_up, ev.Reset: _reset},
    "waiting": {
        ev.NeedsMet: _launch, ev.NeedFailed: _need_failed, ev.GoDown: _rest, ev.Reset: _reset,
    },
    "launching": {
        **_RUNNING, ev.Execed: _execed, ev.LaunchFailed: _launch_failed, ev.Skipped: _skipped,
        ev.Ready: _early_ready, ev.Exited: _launch_exited, ev.GoDown: _go_down,
        ev.GoAgain: _go_again, ev.GoUp: _stay_up, ev.Due: _start_due,
    },
    "starting": {
        **_RUNNING, ev.Execed: _pid, ev.LaunchFailed: _launch_failed, ev.Ready: _ready,
        ev.Exited: _start_exited, ev.GoDown: _go_down, ev.GoAgain: _go_again, ev.GoUp: _stay_up,
        ev.Released: _released, ev.Due: _start_due,
    },
    "up": {
        **_RUNNING, ev.Execed: _pid, ev.LaunchFailed: _launch_failed, ev.Ready: _up_ready,
        ev.Exited: _up_exited, ev.Empty: _up_empty, ev.GoDown: _go_down, ev.GoAgain: _go_again,
        ev.GoUp: _stay_up, ev.Released: _released, ev.Due: _up_due, ev.Measured: _measured,
        ev.Reloaded: _reloaded,
    },
    "stopping": _STOPPING,
    "killing": {**_STOPPING, ev.Due: _kill_due},
    "finishing": _STOPPING,
    "backoff": {
        ev.Due: _retry, ev.GoUp: _retry, ev.GoAgain: _retry, ev.GoDown: _rest, ev.Reset: _reset,
    },
    "failed": {
        ev.GoUp: _go_up, ev.GoAgain: _go_up, ev.GoDown: _give_in, ev.Reset: _reset,
    },
}  # fmt: skip

_NOTHING_RUNS = "nothing of it runs"
_NO_WAIT = "it waits for nothing"
IGNORED: dict[type, dict[Phase, str]] = {
    ev.GoUp: {"waiting": "it is about to start"},
    ev.GoDown: {"down": "it is down"},
    ev.GoAgain: {"waiting": "it is about to start"},
    ev.NeedsMet: dict.fromkeys((p for p in PHASES if p != "waiting"), _NO_WAIT),
    ev.NeedFailed: dict.fromkeys((p for p in PHASES if p != "waiting"), _NO_WAIT),
    ev.Released: dict.fromkeys(
        (p for p in PHASES if p not in ("starting", "up")), "no stop is being held back"
    ),
    ev.Execed: dict.fromkeys(("down", "waiting", "backoff", "failed"), _NOTHING_RUNS),
    ev.LaunchFailed: dict.fromkeys(("down", "waiting", "backoff", "failed"), _NOTHING_RUNS),
    ev.Skipped: dict.fromkeys((p for p in PHASES if p != "launching"), "it is past its conditions"),
    ev.Exited: dict.fromkeys(("down", "waiting", "backoff", "failed"), _NOTHING_RUNS),
    ev.Empty: dict.fromkeys(
        ("down", "waiting", "launching", "starting", "backoff", "failed"),
        "its emptiness decides nothing now",
    ),
    ev.Ready: dict.fromkeys(
        (p for p in PHASES if p not in ("launching", "starting", "up")),
        "its readiness decides nothing now",
    ),
    ev.Notified: dict.fromkeys(("down", "waiting", "backoff", "failed"), _NOTHING_RUNS),
    ev.Measured: dict.fromkeys((p for p in PHASES if p != "up"), "only what is up is recycled"),
    ev.Froze: dict.fromkeys(("down", "waiting", "backoff", "failed"), _NOTHING_RUNS),
    ev.Reloaded: dict.fromkeys((p for p in PHASES if p != "up"), "only what is up reloads"),
    ev.Due: dict.fromkeys(("down", "waiting", "failed"), "no deadline runs in it"),
}
TABLE: dict[tuple[Phase, type], Handler | None] = {
    (phase, kind): _HANDLED[phase].get(kind) for phase in PHASES for kind in ev.EVENTS
}
