"""What every handler is given, and the few things that all of them do.

A handler changes its instance only through `move` (its phase) and plain assignments, and leaves
what must be done on the turn's lists, in the order in which it must be done.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from supervisor.core.words import CLD_EXITED, CLEAN_SIGNALS, exit_words
from supervisor.model import action as do
from supervisor.model import event as ev
from supervisor.model.state import Instance, Phase, Role, Transition
from supervisor.model.unit import Unit

SIGKILL = 9


class Turn(Struct, gc=False):
    """What one step may use and what it leaves behind. `seed` feeds the jitter, nothing else."""

    now: int
    next_launch: int
    next_transition: int
    seed: int
    actions: list[do.Action]
    transitions: list[Transition]
    wanted: list[tuple[str, str, int]]  # units to start (a restart limit's `then`), cause, its id
    taken: dict[str, int] = {}  # key -> number of a main process that was launched before us

    def launch(self) -> int:
        """The next launch number: they rise, and none is used twice."""
        self.next_launch += 1
        return self.next_launch


Handler = Callable[[Turn, Unit, Instance, Any], None]


def move(turn: Turn, inst: Instance, phase: Phase, cause: str, cause_id: int = 0) -> None:
    """To another phase, which has no deadline yet. `cause_id`: the transition that led to it."""
    turn.next_transition += 1
    turn.transitions.append(
        Transition(turn.next_transition, inst.key, turn.now, inst.phase, phase, cause, cause_id)
    )
    inst.phase = phase
    inst.since_ns = turn.now
    inst.cause = cause
    inst.cause_id = turn.next_transition
    inst.deadline_ns = 0


def launch_main(turn: Turn, inst: Instance) -> None:
    """Have the main process launched."""
    inst.launch, inst.launched_ns = turn.taken.pop(inst.key, 0) or turn.launch(), turn.now
    inst.emptied = False
    turn.actions.append(do.Launch(inst.key, inst.launch))


def launch_job(turn: Turn, inst: Instance, role: Role, hook: int) -> None:
    """Have the `hook`-th command of `role` launched as the one helper process."""
    inst.job = turn.launch()
    inst.role, inst.hook = role, hook
    if role != "ready":  # the watcher lives outside the instance
        inst.emptied = False
    turn.actions.append(do.Launch(inst.key, inst.job, role, hook))


def drop_job(turn: Turn, inst: Instance) -> None:
    """Forget the helper process: not launch it, if that is still to be done, or else kill it."""
    if inst.job:
        launch = do.Launch(inst.key, inst.job, inst.role, inst.hook)
        if launch in turn.actions:
            turn.actions.remove(launch)
        else:
            turn.actions.append(do.Signal(inst.key, inst.job, SIGKILL))
        inst.job, inst.role = 0, ""


def fraction(turn: Turn, inst: Instance) -> float:
    """A number in [0, 1) that differs between instances and restarts (a hash, not a random)."""
    mixed = turn.seed ^ turn.next_transition * 0x9E3779B97F4A7C15
    for char in inst.key:
        mixed = (mixed ^ ord(char)) * 0x100000001B3
    return (mixed >> 20 & 0xFFFFFF) / 0x1000000


def leaves(inst: Instance) -> bool:
    """Its stop was asked for, and is perhaps held back."""
    return inst.goal == "down" or inst.again


def end_words(event: ev.Exited) -> str:
    """How a process ended."""
    return event.words or exit_words(event.code, event.status)


def orderly(event: ev.Exited) -> bool:
    """It exited, whatever the status, or died of a signal by which services are asked to end."""
    return event.code == CLD_EXITED or event.status in CLEAN_SIGNALS
