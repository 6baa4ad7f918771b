"""Units that write down each of their starts, and the look at whether all is as it should be.

A witness holds a lock while it lives: another one started beside it says so in `double`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tests.stack import Stack, alive, children, command_line

Found = TypeVar("Found")


def witness(home: Path, name: str, *, before: str = "", after: str = "exec sleep 1000") -> str:
    """The `command` line of a unit file. `before`, `after`: shell words around its say."""
    lock, starts = home / f"{name}.lock", home / f"{name}.starts"
    words = (
        f"{before}exec 9>>{lock}; flock -n 9 || echo {name} >> {home}/double; "
        f"echo $$ >> {starts}; {after}"
    )
    return f"command = {json.dumps(['/bin/sh', '-c', words])}\n"


def starts(home: Path, name: str) -> list[int]:
    """The pids of all starts of a witness."""
    try:
        return [int(line) for line in (home / f"{name}.starts").read_text().split()]
    except FileNotFoundError:
        return []


def check(stack: Stack, units: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Wait until everything is at rest and as it must be whatever happened; the states.

    `units`: every unit that there must be, with the states that it may be in.
    """
    rows: dict[str, dict[str, Any]] = {}
    wrong: list[str] = []

    def well() -> bool:
        nonlocal rows, wrong
        rows = stack.rows()
        wrong = list(_flaws(stack, rows, units))
        return not wrong

    try:
        stack.until(well, "rest")
    except AssertionError:
        raise AssertionError("\n".join([*wrong, stack.errors.read_text()])) from None
    assert not (stack.home / "double").exists(), "something was started twice"
    return {key: row["state"] for key, row in rows.items()}


def _flaws(
    stack: Stack, rows: Mapping[str, dict[str, Any]], units: Mapping[str, tuple[str, ...]]
) -> Iterator[str]:
    if rows.keys() != units.keys():
        yield f"units are lost or new: {set(rows) ^ set(units)}"
    known = {row["pid"] for row in rows.values()}
    for key, row in rows.items():
        words = f"{key} is {row['state']}, {row['phase']}, pid {row['pid']} ({row['reason']})"
        if row["state"] not in units.get(key, ()) or row["phase"] not in ("up", "down", "failed"):
            yield words
        lock = f"{stack.home}/{key}.lock"
        living = [pid for pid in starts(stack.home, key) if _holds(pid, lock)]
        if row["state"] == "running" and not row["pid"]:  # a daemon that forked
            known.update(one["pid"] for one in stack.call("Describe", unit=key)["tree"])
        elif living != [row["pid"]][: row["state"] == "running"]:
            yield f"{words}, but its starts that live are {living}"
    for pid in _services(stack) - known:
        yield f"pid {pid} ({command_line(pid)}) belongs to nobody"


def _holds(pid: int, lock: str) -> bool:
    """Whether that process is the witness, not one that was given its number later."""
    try:
        return alive(pid) and os.readlink(f"/proc/{pid}/fd/9") == lock
    except OSError:
        return False


def _services(stack: Stack) -> set[int]:
    """The keeper's children that are neither manager nor logger."""
    assert stack.process is not None
    mine = ("/manager/__main__.py", "/logger/__main__.py")
    found = set()
    for pid in children(stack.process.pid):
        command = command_line(pid)
        if not any(word in command for word in mine) and alive(pid):
            found.add(pid)
    return found


def replaced(stack: Stack, old: int) -> int:
    """Wait until another manager than `old` answers; its pid."""

    def there() -> int:
        try:
            pid = int(stack.call("Status")["supervisor"]["pid"])
        except OSError:
            return 0
        return pid if pid != old else 0

    return int(str(stack.until(there, f"another manager than {old}")))


def abandon(stack: Stack) -> None:
    """Leave nothing that would outlive a test that failed; nothing to do after one that did not."""
    if stack.process is not None and stack.process.poll() is None:
        below = children(stack.process.pid)
        stack.process.kill()
        stack.process.wait()
        for pid in [*below, *(pid for child in below for pid in children(child))]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    stack.clear()


def at_rest(stack: Stack, look: Callable[[], Found]) -> Found:
    """What `look` sees once it sees the same five times in a row: a call's connection is closed
    only after its answer."""
    seen: list[Found] = []

    def same() -> bool:
        seen.append(look())
        return len(seen) > 5 and all(one == seen[-1] for one in seen[-5:])

    stack.until(same, "rest")
    return seen[-1]
