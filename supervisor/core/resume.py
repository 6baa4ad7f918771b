"""Go on after a manager that was killed: its journal against the facts that the keeper has.

The journal is a batch behind at most. The manager handles what it hears in batches, and for each:
steps, writes the changed instances down (whole or not at all), acknowledges the exits that it
stepped on, performs the actions in order. Killed before the writing, it has heard nothing, and the
keeper says all of it again. Killed after it, what is written may not have been done. Launch numbers
tell: they rise, and are sent in order, so one that the keeper has not seen was not sent.

What is done again, and what is not:
- a launch that never reached the keeper is asked for once more. It cannot run twice, because the
  keeper refuses a key that it has;
- Watch, KillAll, Drain, Release and thawing: to do them twice does no harm;
- the signals of the stop ladder are not repeated. To many programs a second SIGTERM means "at
  once", and costs the requests in flight; one that was never sent costs the wait for the next rung;
- deadlines are monotonic times and stay valid. Those that passed fire at the first `expire`.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct

from supervisor.core.words import CLD_KILLED
from supervisor.core.world import ENDED, RESTING, World
from supervisor.model import action as do
from supervisor.model import event as ev
from supervisor.model.state import Instance
from supervisor.model.unit import Unit, drain_ns

FOUND = "found running after the journal was lost"
UNSEEN = "its end was not seen"
UNBORN = "its stop came before its start"
SIGKILL = 9


class Child(Struct, frozen=True, gc=False):
    """A child slot of the keeper. `key`: that of the instance, with ":ROLE" (and whatever follows
    it) for a job. `code`, `status`, `empty` (nothing of the instance is left) mean something once
    it has ended; `failed_words`: the step that failed before exec, "" for none; `words`: a better
    explanation of its end than code and status."""

    launch: int
    key: str
    pid: int
    state: Literal["LAUNCHING", "RUNNING", "EXITED_UNACKED"]
    code: int = 0
    status: int = 0
    failed_words: str = ""
    empty: bool = False
    words: str = ""


class Saved(Struct, gc=False):
    """What the journal keeps beside the units (`define` them first) and the transitions.

    `old`: instance key -> definition, of what runs without a unit file (World.old)."""

    instances: list[Instance]
    next_launch: int = 0
    next_transition: int = 0
    closing_ns: int = 0
    old: Mapping[str, Unit] = {}


def resume(
    world: World, saved: Saved, facts: Iterable[Child], highest: int, now: int
) -> list[Child]:
    """Make `world`, new and with the journal's units defined, what the killed manager's would be.

    `facts` in the order of the ends; `highest` launch number that the keeper ever saw. As after
    any turn, `world.take()` then says what to write down (everything) and to do; after that, every
    exit in `facts` can be acknowledged. Returns the living children that nobody knows, to be
    killed: a job's process, or, if `key` has no ":", all of that instance.
    """
    children = list(facts)
    turn = world.turn
    turn.now = now
    turn.next_launch = max(saved.next_launch, highest)
    turn.next_transition = saved.next_transition
    world.closing_ns = saved.closing_ns
    for inst in saved.instances:
        world.put(inst, saved.old.get(inst.key))
    lost = _relaunch(world, {child.launch for child in children}, highest)
    for inst in world.instances.values():
        _remind(world, inst)
    for child in children:
        if child.state == "EXITED_UNACKED":
            _ended(world, child, now)
    for key, launch in lost:
        words = UNSEEN if launch <= highest else UNBORN
        world.deliver(key, ev.Exited(launch, CLD_KILLED, SIGKILL, False, words), now)
    strays = [
        child
        for child in children
        if child.state != "EXITED_UNACKED" and not _lives(world, child, now)
    ]
    world.recheck(now)
    return strays


def _relaunch(world: World, known: set[int], highest: int) -> list[tuple[str, int]]:
    """Ask again for each launch that the keeper does not know, if it is still wanted; those that
    must have run and ended are returned.

    A number at or below `highest` that is not known was refused, or its launch ended before it was
    sent (a skipped condition): were it a process, its exit would wait to be acknowledged. So what
    was to begin begins again, under a new number, since the keeper's may only rise.
    """
    again: list[do.Launch] = []
    lost: list[tuple[str, int]] = []
    turn = world.turn
    for inst in world.instances.values():
        if inst.launch and inst.launch not in known:
            if inst.phase == "launching":
                again.append(do.Launch(inst.key, inst.launch))
            else:
                lost.append((inst.key, inst.launch))
        if inst.job and inst.job not in known:
            again.append(do.Launch(inst.key, inst.job, inst.role, inst.hook))
    again.sort(key=lambda launch: launch.launch)
    turn.actions += [launch for launch in again if launch.launch > highest]
    for old in again:
        if old.launch <= highest:
            number, inst = turn.launch(), world.instances[old.key]
            if old.role:
                inst.job = number
            else:
                inst.launch = number
            turn.actions.append(do.Launch(old.key, number, old.role, old.hook))
    return lost


def _remind(world: World, inst: Instance) -> None:
    """The actions that may not have been performed, and may be performed twice."""
    actions, unit, key = world.turn.actions, world.unit_of(inst), inst.key
    if inst.phase in ENDED:
        if inst.since_ns:
            actions.append(do.Release(key))
        return
    if inst.phase in RESTING or (not inst.launch and inst.emptied and not inst.job):
        return
    if inst.phase in ("stopping", "finishing", "killing") and inst.frozen:
        actions.append(do.Freeze(key, False))
    if inst.phase == "stopping" and inst.rung <= 0 and drain_ns(unit):
        actions.append(do.Drain(key))
    if inst.phase == "killing":
        actions.append(do.KillAll(key))
    if inst.phase == "killing" or (not inst.launch and inst.phase != "launching"):
        actions.append(do.Watch(key))


def _ended(world: World, child: Child, now: int) -> None:
    """An exit record. What led to it may be news as well: a failed step, or else the exec."""
    key = child.key.partition(":")[0]
    inst = world.instances.get(key)
    if inst is None or child.launch not in (inst.launch, inst.job):
        return
    if child.failed_words:
        world.deliver(key, ev.LaunchFailed(child.launch, child.failed_words, True), now)
    elif inst.phase == "launching" and child.launch == inst.launch:
        world.deliver(key, ev.Execed(child.launch, child.pid), now)
    ended = ev.Exited(child.launch, child.code, child.status, child.empty, child.words)
    world.deliver(key, ended, now)


def _lives(world: World, child: Child, now: int) -> bool:
    """A living child: False if nobody knows it, nor can be made to."""
    key, _, role = child.key.partition(":")
    inst = world.instances.get(key)
    if inst is None:
        return False
    if child.launch == inst.job:
        return True
    if child.launch == inst.launch:
        if child.state == "RUNNING" and not inst.pid:  # READY=1 may have been faster
            world.deliver(key, ev.Execed(child.launch, child.pid), now)
        return True
    if role or inst.launch or inst.phase not in RESTING or world.closing_ns:
        return False
    world.adopt(inst, child.launch, child.pid, FOUND)
    return True
