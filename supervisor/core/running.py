"""While it is up: what it says of itself, its watchdog, age and memory, reloads, and its end."""
from __future__ import annotations

from typing import Any

from supervisor.core.ending import over
from supervisor.core.starting import MEASURE_NS, job_exited
from supervisor.core.stopping import begin_stop, main_exited
from supervisor.core.turn import Turn, launch_job, leaves, move
from supervisor.core.words import HUNG, NO_PING
from supervisor.model import action as do
from supervisor.model import event as ev
from supervisor.model.state import Instance
from supervisor.model.unit import Unit
from supervisor.model.values import duration_text


def notified(turn: Turn, unit: Unit, inst: Instance, event: ev.Notified) -> None:
    """In every phase in which something runs."""
    if event.status is not None:
        inst.status_text = event.status
    if event.pid is not None:
        inst.pid = event.pid
    if event.watchdog_ns is not None:
        inst.watchdog_ns = event.watchdog_ns
        inst.watchdog_due_ns = 0
    if event.watchdog == "trigger" and inst.phase in ("starting", "up"):
        _fail_watchdog(turn, unit, inst, f"{HUNG} (WATCHDOG=trigger)")
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


def reload_done(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """READY=1 after RELOADING=1: the reload is done."""
    inst.reloading = False


def froze(turn: Turn, unit: Unit, inst: Instance, event: ev.Froze) -> None:
    """What is frozen cannot ping its watchdog: that one waits, and starts anew after. What somebody
    asked for is a transition, although the phase stays."""
    if event.cause and inst.frozen != event.frozen:
        asked, deadline = inst.cause, inst.deadline_ns
        move(turn, inst, inst.phase, event.cause, inst.cause_id)
        inst.deadline_ns = deadline
        if leaves(inst):  # that is why it will stop
            inst.cause = asked
    inst.frozen = event.frozen
    if inst.phase == "up" and inst.watchdog_ns:
        inst.watchdog_due_ns = 0 if event.frozen else turn.now + inst.watchdog_ns


def exited(turn: Turn, unit: Unit, inst: Instance, event: ev.Exited) -> None:
    """In up, stopping, killing and finishing: a helper process, or the main one."""
    if not job_exited(turn, unit, inst, event):
        main_exited(turn, unit, inst, event)


def up_empty(turn: Turn, unit: Unit, inst: Instance, event: ev.Empty) -> None:
    """Only a forking daemon (no main process of ours) ends by its cgroup running empty."""
    if not inst.launch and not inst.emptied:
        inst.emptied = True
        inst.last_exit = "all its processes ended"
        inst.ended = "clean"
        over(turn, unit, inst)


def up_due(turn: Turn, unit: Unit, inst: Instance, event: ev.Due) -> None:
    """One thing at a time: what is due besides comes next, unless this was its end."""
    now = turn.now
    if inst.watchdog_due_ns and inst.watchdog_due_ns <= now:
        words = f"{NO_PING} for {duration_text(inst.watchdog_ns)}"
        _fail_watchdog(turn, unit, inst, words)
    elif inst.age_due_ns and inst.age_due_ns <= now:
        inst.age_due_ns = 0
        if leaves(inst):
            return
        inst.again = True
        begin_stop(turn, unit, inst, "stopping", "it reached restart.max_age")
    elif inst.measure_due_ns and inst.measure_due_ns <= now:
        inst.measure_due_ns = now + MEASURE_NS
        turn.actions.append(do.Measure(inst.key))


def measured(turn: Turn, unit: Unit, inst: Instance, event: ev.Measured) -> None:
    """Over its memory budget, it is recycled."""
    budget = unit.restart.memory_budget_bytes
    if budget and event.memory_bytes > budget and not leaves(inst):
        inst.again = True
        words = f"it uses {event.memory_bytes >> 20} MiB, over restart.memory_budget"
        begin_stop(turn, unit, inst, "stopping", words)


def _fail_watchdog(turn: Turn, unit: Unit, inst: Instance, words: str) -> None:
    """No drain and no stop command for what does not listen: SIGABRT, so that a core may tell where
    it hung, and then the ladder."""
    inst.result, inst.ended = words, "abnormal"
    begin_stop(turn, unit, inst, "stopping", words, hung=True)


def reloaded(turn: Turn, unit: Unit, inst: Instance, event: ev.Reloaded) -> None:
    """In up: as its unit says, by a signal, a command or a restart."""
    reload = unit.reload
    if leaves(inst):
        return
    if reload.kind == "restart":
        inst.again = True
        begin_stop(turn, unit, inst, "stopping", event.cause)
    elif reload.kind == "command":
        if not inst.job:
            launch_job(turn, inst, "reload", 0)
    elif inst.launch:
        turn.actions.append(do.Signal(inst.key, inst.launch, reload.signal))
