"""What comes after an end: down, waiting to start again, a back-off first, or failed.

A restart that was asked for (`again`) comes at once and counts for nothing; an automatic one is
delayed, counted, and at the limit refused.
"""
from __future__ import annotations

from typing import Any

from supervisor.core.turn import Turn, drop_job, fraction, move
from supervisor.model import action as do
from supervisor.model import event as ev
from supervisor.model.state import Instance
from supervisor.model.unit import SECOND_NS, Unit
from supervisor.model.values import duration_text

NOT_BEGUN_NS = SECOND_NS // 10  # least pause after a start that never got to its main process


def over(turn: Turn, unit: Unit, inst: Instance, cause: str = "", cause_id: int = 0) -> None:
    """Nothing of the run is left. Decide: start again, wait, be down, or fail."""
    drop_job(turn, inst)
    if inst.frozen and inst.goal == "up":  # killed while frozen: its next run would be frozen too
        turn.actions.append(do.Freeze(inst.key, False))
    inst.pid, inst.stuck, inst.frozen, inst.rung = 0, False, False, 0
    inst.reloading = False
    inst.watchdog_due_ns = inst.age_due_ns = inst.measure_due_ns = 0
    why = inst.result or cause or (inst.last_exit if inst.ended else "") or inst.cause
    cause_id = cause_id or inst.cause_id
    if inst.goal == "down":
        asked = inst.cause if inst.phase == "stopping" and not inst.result else why
        move(turn, inst, "down", asked, cause_id)
        turn.actions.append(do.Release(inst.key))
    elif inst.again:
        inst.again = False
        move(turn, inst, "waiting", cause or inst.cause, cause_id)
    elif unit.kind == "task" and inst.ended == "clean":
        inst.goal, inst.finished = "down", True
        move(turn, inst, "down", why, cause_id)
        turn.actions.append(do.Release(inst.key))
    elif _restarts(unit, inst):
        _again(turn, unit, inst, why)
    else:
        inst.goal = "down" if inst.ended == "clean" else inst.goal
        move(turn, inst, "down" if inst.ended == "clean" else "failed", why, cause_id)
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
            words = f"{why}; {len(recent)} restarts within {duration_text(limit.within_ns)}"
            move(turn, inst, "failed", f"{words} are its limit", inst.cause_id)
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
        move(turn, inst, "backoff", why, inst.cause_id)
        inst.deadline_ns = now + delay
    else:
        move(turn, inst, "waiting", why, inst.cause_id)


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
    return int(delay * (1 + restart.jitter * fraction(turn, inst)))


def rest(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """From waiting and backoff: nothing runs, so down at once."""
    inst.goal, inst.again = "down", False
    move(turn, inst, "down", event.cause, event.cause_id)
    turn.actions.append(do.Release(inst.key))


def give_in(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """A stop of what failed: it stays failed, so that the reason is still there to read."""
    inst.goal = "down"


def reset(turn: Turn, unit: Unit, inst: Instance, event: ev.Reset) -> None:
    """Old failures count no more; what had failed is down."""
    inst.failures, inst.restarts, inst.recent_ns = 0, 0, ()
    if inst.phase == "failed":
        inst.goal = "down"
        move(turn, inst, "down", event.cause)
