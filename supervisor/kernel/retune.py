"""What holds for each process, changed while it runs: resource limits, nice, the OOM score."""
from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from supervisor.kernel.limits import of_process
from supervisor.model.rlimits import RLIMITS, UNLIMITED
from supervisor.model.unit import Limits

_LOOKS = 20  # at the processes, for those that fork meanwhile


def retune(
    old: Limits | None, new: Limits, pids: Callable[[], Sequence[int]]
) -> list[str]:
    """Apply what differs between the two to all processes of a running instance. What could not
    be applied, as sentences. `pids`: of all that live now; it is asked until it tells of no new
    one, since a child that forked meanwhile has what its parent had."""
    before, after = of_process(old or Limits()), of_process(new)
    rlimits = [row for row in after.rlimits if row not in before.rlimits]
    nice = after.nice if after.nice != before.nice else None
    score = after.oom_score if after.oom_score != before.oom_score else None
    words = [
        f"limits.{key} is as the supervisor's from the next start on"
        for key, was, now in (
            ("nice", before.nice, after.nice),
            ("oom_score_adjust", before.oom_score, after.oom_score),
        )
        if was is not None and now is None
    ]
    kept = {row[0] for row in after.rlimits}
    words += [
        f"limits.{_key(row[0])} is as the supervisor's from the next start on"
        for row in before.rlimits
        if row[0] not in kept
    ]
    if not rlimits and nice is None and score is None:
        return words
    done: set[int] = set()
    for _ in range(_LOOKS):
        fresh = [pid for pid in pids() if pid not in done]
        if not fresh:
            break
        for pid in fresh:
            words += _one(pid, rlimits, nice, score)
        done.update(fresh)
    return list(dict.fromkeys(words))


def _one(
    pid: int, rlimits: Sequence[tuple[int, int, int]], nice: int | None, score: int | None
) -> list[str]:
    words = []
    try:
        for resource, soft, hard in rlimits:
            words += _rlimit(pid, resource, soft, hard)
        if nice is not None:
            for thread in os.listdir(f"/proc/{pid}/task"):  # each has its own
                try:
                    os.setpriority(os.PRIO_PROCESS, int(thread), nice)
                except ProcessLookupError:
                    pass  # that thread ended, the others are still there
                except PermissionError as exc:
                    words.append(f"limits.nice cannot be applied to process {pid}: {exc.strerror}")
                    break
        if score is not None:
            _score(pid, score)
    except ProcessLookupError:
        pass  # it ended meanwhile
    except FileNotFoundError:
        pass  # the same, as /proc says it
    except PermissionError as exc:
        words.append(f"limits.oom_score_adjust cannot be applied to process {pid}: {exc.strerror}")
    return words


def _rlimit(pid: int, resource: int, soft: int, hard: int) -> list[str]:
    from resource import prlimit

    signed = [-1 if value == UNLIMITED else value for value in (soft, hard)]
    try:
        prlimit(pid, resource, (signed[0], signed[1]))
    except (PermissionError, ValueError) as exc:  # ValueError: EINVAL, or beyond what we may raise
        why = exc.strerror if isinstance(exc, OSError) else str(exc)
        if isinstance(exc, PermissionError):
            why = f"{why}, as the supervisor has no CAP_SYS_RESOURCE"
        return [f"limits.{_key(resource)} cannot be applied to process {pid}: {why}"]
    return []


def _score(pid: int, score: int) -> None:
    with open(f"/proc/{pid}/oom_score_adj", "w", encoding="ascii") as file:
        file.write(str(score))


def _key(resource: int) -> str:
    """As a unit file has it."""
    name = next(name for name, (number, _) in RLIMITS.items() if number == resource)
    return {"nofile": "files", "core": "core"}.get(name, f"rlimits.{name}")
