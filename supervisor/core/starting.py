"""From the wish that it runs until it is ready, and the helper processes on the way.

The before-hooks run one by one, then the main process is launched, then it becomes ready in the
way its unit says, then the after-hooks run. One deadline (start.timeout) holds for all of it.
"""
from __future__ import annotations

from typing import Any

from supervisor.core.ending import over
from supervisor.core.stopping import begin_stop, climb, main_exited
from supervisor.core.turn import (
    Turn,
    drop_job,
    end_words,
    fraction,
    launch_job,
    launch_main,
    leaves,
    move,
    orderly,
)
from supervisor.core.words import CLD_EXITED, TOO_LATE, exit_words
from supervisor.model import action as do
from supervisor.model import event as ev
from supervisor.model.state import Instance
from supervisor.model.unit import SECOND_NS, Unit

MEASURE_NS = 10 * SECOND_NS  # how often a unit with a memory budget is looked at


def go_up(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """A start that somebody asked for: old failures count no more."""
    inst.goal, inst.again, inst.finished, inst.skipped = "up", False, False, False
    inst.failures, inst.restarts, inst.recent_ns, inst.stuck = 0, 0, (), False
    move(turn, inst, "waiting", event.cause, event.cause_id)


def retry(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """From backoff: the delay is over, or somebody does not want to wait for it."""
    if isinstance(event, ev.Due):
        if inst.deadline_ns and inst.deadline_ns <= turn.now:
            move(turn, inst, "waiting", inst.cause, inst.cause_id)
    else:
        go_up(turn, unit, inst, event)


def need_failed(turn: Turn, unit: Unit, inst: Instance, event: ev.NeedFailed) -> None:
    """From waiting: what it needs will not come."""
    inst.ended = "abnormal"
    move(turn, inst, "failed", event.cause, event.cause_id)
    turn.actions.append(do.Release(inst.key))


def begin_launch(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """From waiting: all needs are met."""
    if unit.kind == "group":
        inst.emptied = True
        move(turn, inst, "up", event.cause or "all members are there", event.cause_id)
        return
    inst.result, inst.ended, inst.hook, inst.emptied, inst.short = "", "", 0, True, False
    inst.started_ns, inst.status_text = 0, ""
    inst.watchdog_ns = unit.start.watchdog_ns
    cause = event.cause or inst.cause
    move(turn, inst, "launching", cause, event.cause_id or inst.cause_id)
    if unit.start.timeout_ns:
        inst.deadline_ns = turn.now + unit.start.timeout_ns
    if unit.start.before:
        launch_job(turn, inst, "before", 0)
    else:
        launch_main(turn, inst)


def skipped(turn: Turn, unit: Unit, inst: Instance, event: ev.Skipped) -> None:
    """In launching: a condition does not hold, which is no failure."""
    inst.launch, inst.job, inst.role = 0, 0, ""
    inst.goal, inst.skipped = "down", True
    inst.emptied = not inst.hook  # no hook ran before
    begin_stop(turn, unit, inst, "stopping", event.words)


def execed(turn: Turn, unit: Unit, inst: Instance, event: ev.Execed) -> None:
    """In launching. A hook's exec is no news; the main process's is the start."""
    if event.launch == inst.job:
        return
    inst.pid, inst.started_ns = inst.pid or event.pid, turn.now  # its MAINPID may be faster
    ready = unit.start.ready
    if ready.kind == "exec" and not unit.start.after:
        _up(turn, unit, inst, "started")
        return
    deadline = inst.deadline_ns
    move(turn, inst, "starting", "started", inst.cause_id)
    inst.deadline_ns = deadline
    if ready.kind == "exec":
        launch_job(turn, inst, "after", 0)
    elif ready.kind == "log":
        launch_job(turn, inst, "ready", 0)


def late_exec(turn: Turn, unit: Unit, inst: Instance, event: ev.Execed) -> None:
    """After launching: a job's exec is no news, that of a main process overtaken by its READY=1
    (or by a stop) still tells its pid."""
    if event.launch == inst.launch:
        inst.pid = inst.pid or event.pid


def early_ready(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """In launching: READY=1 reaches us by another way than the keeper's word of the exec, and can
    be faster. Only what was executed can say it."""
    if inst.launch and unit.start.ready.kind in ("notify", "fd"):
        execed(turn, unit, inst, ev.Execed(inst.launch, 0))
        got_ready(turn, unit, inst, event)


def got_ready(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """In starting. While an after-hook runs it has been ready before."""
    if inst.role == "after":
        return
    drop_job(turn, inst)
    if unit.start.after:
        launch_job(turn, inst, "after", 0)
    else:
        _up(turn, unit, inst, "ready")


def _up(turn: Turn, unit: Unit, inst: Instance, cause: str) -> None:
    asked = inst.cause
    move(turn, inst, "up", cause, inst.cause_id)
    if leaves(inst):  # it became ready while its stop is held back: that begins for the same cause
        inst.cause = asked
    inst.result, inst.ended = "", ""
    if not inst.launch:
        turn.actions.append(do.Watch(inst.key))
    if inst.watchdog_ns and not inst.frozen:
        inst.watchdog_due_ns = turn.now + inst.watchdog_ns
    restart = unit.restart
    if restart.max_age_ns:
        spread = int(restart.max_age_jitter_ns * fraction(turn, inst))
        inst.age_due_ns = turn.now + restart.max_age_ns + spread
    if restart.memory_budget_bytes:
        inst.measure_due_ns = turn.now + MEASURE_NS


def adopt(turn: Turn, unit: Unit, inst: Instance, launch: int, pid: int, cause: str) -> None:
    """No event, but what a manager without memory finds: a main process, which counts as ready."""
    inst.goal, inst.again, inst.emptied = "up", False, False
    inst.finished, inst.skipped = False, False
    inst.launch, inst.pid, inst.started_ns = launch, pid, turn.now
    inst.watchdog_ns = unit.start.watchdog_ns
    _up(turn, unit, inst, cause)


def start_due(turn: Turn, unit: Unit, inst: Instance, event: ev.Due) -> None:
    """In launching and starting: start.timeout."""
    if inst.deadline_ns and inst.deadline_ns <= turn.now:
        inst.result = f"{TOO_LATE} ({unit.start.timeout_ns / SECOND_NS:g} s)"
        inst.ended = "abnormal"
        begin_stop(turn, unit, inst, "stopping", inst.result)


def launch_failed(turn: Turn, unit: Unit, inst: Instance, event: ev.LaunchFailed) -> None:
    """In launching, and (for jobs) wherever one may be launched."""
    if event.launch == inst.job and inst.role in ("stop", "reload"):
        if not event.alive:
            exited = ev.Exited(event.launch, CLD_EXITED, 127, False, event.words)
            job_exited(turn, unit, inst, exited)
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
        begin_stop(turn, unit, inst, "stopping", event.words)
    else:
        turn.actions.append(do.Watch(inst.key))


def launch_exited(turn: Turn, unit: Unit, inst: Instance, event: ev.Exited) -> None:
    """In launching: a hook, or a main process that never got to its exec."""
    if inst.result and event.launch == inst.job:
        inst.job, inst.role = 0, ""
        _fail_start(turn, unit, inst, inst.result, event.empty)
    elif not job_exited(turn, unit, inst, event):
        main_exited(turn, unit, inst, event)


def start_exited(turn: Turn, unit: Unit, inst: Instance, event: ev.Exited) -> None:
    """In starting. With ready = {exit = N} that exit is the readiness: what it left behind is the
    service (a daemon that forks), or nothing is (a task)."""
    if job_exited(turn, unit, inst, event):
        return
    ready = unit.start.ready
    if ready.kind == "exit" and event.code == CLD_EXITED and event.status == ready.code:
        if not event.empty:
            inst.launch, inst.pid = 0, 0
            got_ready(turn, unit, inst, event)
            return
        inst.ended = "clean"
    elif unit.kind == "service" and not inst.result:
        inst.result = f"it ended before it was ready: {end_words(event)}"
        inst.ended = "unclean" if orderly(event) else "abnormal"
    main_exited(turn, unit, inst, event)


def job_exited(turn: Turn, unit: Unit, inst: Instance, event: ev.Exited) -> bool:
    """An exit in any phase. True when it was the job's, and is dealt with."""
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
            launch_job(turn, inst, "before", hook + 1)
        else:
            inst.hook = hook + 1
            launch_main(turn, inst)
    elif role == "after" and inst.phase == "starting":
        if not good:
            _fail_start(turn, unit, inst, f"hook start.after[{hook}]: {words}", event.empty)
        elif hook + 1 < len(unit.start.after):
            launch_job(turn, inst, "after", hook + 1)
        elif inst.launch or not event.empty:
            _up(turn, unit, inst, "ready")
        else:  # a daemon that forked, and died while the hook ran
            _fail_start(turn, unit, inst, "it ended before it was ready", event.empty)
    elif role == "ready" and inst.phase == "starting":
        if good:
            got_ready(turn, unit, inst, event)
        else:
            _fail_start(turn, unit, inst, f"its log watcher: {words}", event.empty)
    elif role == "stop" and inst.phase == "stopping":
        if not inst.launch and (event.empty or inst.emptied):
            over(turn, unit, inst)
        elif not good:  # it asked for nothing; else what it asked for gets the first rung's time
            inst.rung = 0
            climb(turn, unit, inst)
    return True


def _fail_start(turn: Turn, unit: Unit, inst: Instance, why: str, empty: bool) -> None:
    """A start that cannot succeed: stop what runs of it, then do what restart.when says."""
    inst.result, inst.ended = why, "abnormal"
    if inst.launch or not empty:
        begin_stop(turn, unit, inst, "stopping", why)
    else:
        inst.emptied = True
        over(turn, unit, inst)
