"""From the wish that it stops, or the end of its main process, until nothing of it is left.

A stop that was asked for begins once whoever relies on the instance is gone (Released). It goes
down a ladder: drain, stop command, the unit's signals, then cgroup.kill; each has its time, and
the first moment at which nothing is left ends it (`over`).
"""
from __future__ import annotations

from typing import Any

from supervisor.core.ending import over
from supervisor.core.turn import (
    SIGKILL,
    Turn,
    drop_job,
    end_words,
    launch_job,
    leaves,
    move,
    orderly,
)
from supervisor.core.words import CLD_EXITED
from supervisor.model import action as do
from supervisor.model import event as ev
from supervisor.model.state import Instance, Phase
from supervisor.model.unit import SECOND_NS, Unit, drain_ns

KILL_GRACE_NS = 5 * SECOND_NS  # what is left this long after cgroup.kill is called unkillable
SIGCONT, SIGABRT = 18, 6
COMMAND, DRAIN, ABORT = -1, -2, -3  # rungs before the ladder's own


def go_down(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """From a phase in which something runs. What others may rely on stays until Released."""
    inst.goal, inst.again = "down", False
    _leave(turn, unit, inst, event)


def go_again(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """As go_down, and then up again."""
    inst.goal, inst.again = "up", True
    _leave(turn, unit, inst, event)


def _leave(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    if inst.phase == "launching":
        begin_stop(turn, unit, inst, "stopping", event.cause, event.cause_id)
    else:
        inst.cause, inst.cause_id = event.cause, event.cause_id or inst.cause_id


def stay_up(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """A start while it runs: only a stop that has not begun is called off."""
    if leaves(inst):
        inst.cause = event.cause
    inst.goal, inst.again = "up", False


def released(turn: Turn, unit: Unit, inst: Instance, event: ev.Released) -> None:
    """In starting and up: the dependents are gone, the stop that was asked for begins."""
    if leaves(inst):
        begin_stop(turn, unit, inst, "stopping", inst.cause, inst.cause_id)


def up_after_stop(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """A start while it stops: finish the stop, then start."""
    inst.goal, inst.again, inst.finished, inst.skipped = "up", True, False, False
    if inst.phase != "killing":
        inst.cause, inst.cause_id = event.cause, event.cause_id or inst.cause_id


def down_after_stop(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """A stop while it stops: it will not start again."""
    if inst.again and inst.phase == "stopping":
        inst.cause, inst.cause_id = event.cause, event.cause_id or inst.cause_id
    inst.goal, inst.again = "down", False


def begin_stop(
    turn: Turn, unit: Unit, inst: Instance, phase: Phase, cause: str, cause_id: int = 0,
    *, hung: bool = False,
) -> None:  # fmt: skip
    """To `phase` (stopping or finishing), or over at once if nothing of it runs. `hung`: it does
    not listen."""
    drop_job(turn, inst)
    cause_id = cause_id or inst.cause_id
    inst.watchdog_due_ns = inst.age_due_ns = inst.measure_due_ns = 0
    inst.reloading = False
    if not inst.launch and inst.emptied:  # such as a group
        over(turn, unit, inst, cause, cause_id)
        return
    if inst.frozen:
        turn.actions.append(do.Freeze(inst.key, False))
    serves = inst.phase in ("starting", "up") and phase == "stopping"
    move(turn, inst, phase, cause, cause_id)
    stop = unit.stop
    inst.rung = 0
    if hung and inst.launch:
        inst.rung = ABORT
    elif serves and not hung:
        inst.rung = DRAIN if drain_ns(unit) else COMMAND if stop.command else 0
    if not inst.launch:
        turn.actions.append(do.Watch(inst.key))
    climb(turn, unit, inst)


def climb(turn: Turn, unit: Unit, inst: Instance) -> None:
    """Do the next rung of the ladder and set the time of the one after it."""
    stop = unit.stop
    if inst.rung == ABORT:
        for number in (SIGABRT, SIGCONT):
            turn.actions.append(do.Signal(inst.key, inst.launch, number))
        inst.deadline_ns = turn.now + (stop.ladder[0].wait_ns if stop.ladder else 0)
        inst.rung = 0
    elif inst.rung == DRAIN:
        turn.actions.append(do.Drain(inst.key))
        inst.deadline_ns = turn.now + drain_ns(unit)
        inst.rung = COMMAND if stop.command else 0
    elif inst.rung == COMMAND:
        launch_job(turn, inst, "stop", 0)
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
    move(turn, inst, "killing", cause, inst.cause_id)
    _kill_again(turn, inst)


def _kill_again(turn: Turn, inst: Instance) -> None:
    """As long as something is left: it may not have been possible the last time."""
    inst.deadline_ns = turn.now + KILL_GRACE_NS
    if inst.frozen:  # a frozen cgroup v1 keeps even SIGKILL waiting
        turn.actions.append(do.Freeze(inst.key, False))
    turn.actions.append(do.KillAll(inst.key))
    turn.actions.append(do.Watch(inst.key))


def stop_due(turn: Turn, unit: Unit, inst: Instance, event: ev.Due) -> None:
    """In stopping and finishing: time for the next rung."""
    if inst.deadline_ns and inst.deadline_ns <= turn.now:
        if inst.job:
            drop_job(turn, inst)
        climb(turn, unit, inst)


def kill_due(turn: Turn, unit: Unit, inst: Instance, event: ev.Due) -> None:
    """In killing: it had its time to die."""
    if inst.deadline_ns and inst.deadline_ns <= turn.now:
        if not inst.stuck:
            _give_up(turn, inst)
        _kill_again(turn, inst)


def _give_up(turn: Turn, inst: Instance) -> None:
    """Only the kernel can help now (a hung device, a frozen mount): say so, wait for Empty.
    A transition although the phase stays, because nobody has to wait for it any more."""
    inst.stuck = True
    move(turn, inst, "killing", "it survives SIGKILL", inst.cause_id)


def cut(turn: Turn, unit: Unit, inst: Instance, cause: str) -> None:
    """No event, but the end of a shutdown's time: no ladder any more, and no waiting for others."""
    inst.goal, inst.again = "down", False
    if inst.phase == "killing":
        if not inst.stuck and turn.now - inst.since_ns >= KILL_GRACE_NS:
            _give_up(turn, inst)
        _kill_again(turn, inst)
        return
    drop_job(turn, inst)
    inst.watchdog_due_ns = inst.age_due_ns = inst.measure_due_ns = 0
    if not inst.launch and inst.emptied:
        over(turn, unit, inst, cause)
    else:
        _kill(turn, inst, cause)


def main_exited(turn: Turn, unit: Unit, inst: Instance, event: ev.Exited) -> None:
    """The main process is gone; the instance is over once nothing else of it is left."""
    words = end_words(event)
    if inst.phase == "launching" and inst.result:
        words = inst.result
    inst.last_exit = words
    inst.launch, inst.pid = 0, 0
    if not inst.ended:
        if event.code == CLD_EXITED:
            inst.ended = "clean" if event.status in unit.restart.success_codes else "unclean"
        else:  # a task that was killed, however gently, has not done its work
            inst.ended = "clean" if orderly(event) and unit.kind == "service" else "abnormal"
    if event.empty and inst.role in ("", "ready"):  # else a job may not even be born yet
        inst.emptied = True
        over(turn, unit, inst)
    elif inst.phase in ("stopping", "killing", "finishing"):
        if inst.phase == "killing":  # without a cgroup, it may have forked meanwhile
            turn.actions.append(do.KillAll(inst.key))
        turn.actions.append(do.Watch(inst.key))
    else:
        begin_stop(turn, unit, inst, "finishing", f"main process: {words}")


def stop_empty(turn: Turn, unit: Unit, inst: Instance, event: ev.Empty) -> None:
    """In stopping, killing and finishing. The keeper may still tell of an end that led to it."""
    inst.emptied = True
    if not inst.launch and not inst.job:
        left = inst.phase == "finishing" and not inst.result and inst.last_exit
        over(turn, unit, inst, f"{left}; what it left running was stopped" if left else "")
