"""Every (phase, event) pair is answered, and the answers keep the invariants of an instance."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest

from supervisor.core import step as machine
from supervisor.core.turn import Turn
from supervisor.model import event as ev
from supervisor.model.state import PHASES, Instance, Phase
from supervisor.model.unit import Ready, Reload, Start, Stop, Unit

NOW = 7_000_000_000_000_000_000  # a hostile offset: time is only compared and added to
SAMPLES: dict[type, Any] = {
    ev.GoUp: ev.GoUp("asked"), ev.GoDown: ev.GoDown("asked"), ev.GoAgain: ev.GoAgain("asked"),
    ev.Reset: ev.Reset("asked"), ev.NeedsMet: ev.NeedsMet("db is ready", 3),
    ev.NeedFailed: ev.NeedFailed("db failed", 3), ev.Released: ev.Released("free"),
    ev.Execed: ev.Execed(5, 100), ev.LaunchFailed: ev.LaunchFailed(5, "no such file", alive=False),
    ev.Skipped: ev.Skipped(5, "no"), ev.Exited: ev.Exited(5, 1, 0, empty=True),
    ev.Empty: ev.Empty(), ev.Ready: ev.Ready(), ev.Notified: ev.Notified(status="fine"),
    ev.Measured: ev.Measured(1 << 40), ev.Froze: ev.Froze(frozen=True),
    ev.Reloaded: ev.Reloaded("asked"), ev.Due: ev.Due(),
}  # fmt: skip
RUNS = {"launching", "starting", "up", "stopping", "killing"}
UNITS = {
    "plain": Unit("one", command=("/bin/x",)),
    "notify": Unit("one", command=("/bin/x",), start=Start(ready=Ready("notify"))),
    "hooks": Unit(
        "one", command=("/bin/x",), start=Start(before=(("/a",),), after=(("/b",),)),
        stop=Stop(command=("/c",)), reload=Reload("command", 0, ("/d",)),
    ),
    "task": Unit("one", command=("/bin/x",), kind="task"),
}  # fmt: skip
PAIRS = list(itertools.product(PHASES, ev.EVENTS))


def an_instance(phase: Phase) -> Instance:
    """As instances look in that phase: with a process where one runs."""
    inst = Instance("one", "one", goal="up", phase=phase, cause="before", cause_id=1)
    if phase in RUNS:
        inst.launch, inst.pid, inst.emptied = 5, 100, False
    if phase in ("down", "failed"):
        inst.goal = "down"
    if phase == "finishing":
        inst.emptied = False
    if phase not in ("down", "waiting", "up", "failed"):
        inst.deadline_ns = NOW - 1
    return inst


def a_turn() -> Turn:
    return Turn(NOW, 10, 20, 1, [], [], [])


def test_events_and_samples_are_all_there() -> None:
    assert set(SAMPLES) == set(ev.EVENTS)


@pytest.mark.parametrize("phase,kind", PAIRS)
def test_each_pair_has_a_handler_or_a_reason(phase: Phase, kind: type) -> None:
    handler = machine.TABLE[phase, kind]
    reason = machine.IGNORED.get(kind, {}).get(phase, "")
    assert (handler is None) == bool(reason), "a handler, or a reason, and not both"


@pytest.mark.parametrize("phase,kind", [p for p in PAIRS if machine.TABLE[p] is None])
def test_an_ignored_pair_changes_nothing(phase: Phase, kind: type) -> None:
    inst, turn = an_instance(phase), a_turn()
    before = copy.copy(inst)
    machine.step(turn, UNITS["plain"], inst, SAMPLES[kind])
    assert inst == before
    assert not turn.actions + turn.transitions + turn.wanted


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("phase,kind", [p for p in PAIRS if machine.TABLE[p] is not None])
def test_a_handled_pair_leaves_a_sound_instance(phase: Phase, kind: type, name: str) -> None:
    inst, turn = an_instance(phase), a_turn()
    machine.step(turn, UNITS[name], inst, SAMPLES[kind])
    assert inst.phase in PHASES
    path: list[str] = [phase]
    for moved in turn.transitions:
        assert moved.source == path[-1]
        assert moved.cause, "each transition tells its cause"
        assert moved.time_ns == NOW
        path.append(moved.target)
    assert inst.phase == path[-1]
    if inst.phase in ("down", "waiting", "backoff", "failed"):
        assert (inst.launch, inst.job, inst.pid) == (0, 0, 0), "nothing of it may run"
    if inst.phase in ("down", "waiting", "up", "failed"):
        assert inst.deadline_ns == 0
    elif inst.phase in ("stopping", "finishing", "backoff"):
        assert inst.deadline_ns, "something must end this phase"


@pytest.mark.parametrize("phase", sorted(RUNS))
def test_what_an_earlier_launch_did_changes_nothing(phase: Phase) -> None:
    for event in (ev.Execed(4, 99), ev.Exited(4, 2, 9, empty=True), ev.LaunchFailed(4, "x", True)):
        inst, turn = an_instance(phase), a_turn()
        before = copy.copy(inst)
        machine.step(turn, UNITS["plain"], inst, event)
        assert inst == before
        assert not turn.actions
