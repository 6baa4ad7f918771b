"""The probe as a unit: what each box of a table lets it do, through a whole supervisor.

Where its policy lets it make processes, one tries every action in children; elsewhere the unit has
an instance for each action.
"""
from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

from supervisor.kernel.sandbox.facts import facts
from tests.native import probe
from tests.native.actions import ACTIONS
from tests.native.policies import Box, Host, accepted
from tests.stack import Stack

AT_ONCE = 6
_LAST_LINE_S = 3.0
PATIENCE_S = 60.0
_PLACES = ("/srv", "/var/lib", "/run")  # not /tmp: of that a unit may have its own


def place() -> str:
    """Where the world is what the host has, and programs can be started."""
    for path in _PLACES:
        found = os.statvfs(path) if os.access(path, os.W_OK) else None
        if found is not None and not found.f_flag & (os.ST_NOEXEC | os.ST_RDONLY):
            return path
    raise AssertionError(f"none of {_PLACES} can be written to and executed from")


def host() -> Host:
    """What this kernel has, and how actions end on it without a policy."""
    bare = {}
    for user, uid in (("root", 0), ("nobody", probe.NOBODY)):
        with probe.World(uid, place()) as world:
            bare[user] = probe.run(world)
    known = facts()
    return Host(known.landlock, known.cgroup_bpf, known.kernel, bare)


class Seen(NamedTuple):
    """`ends`: by action; empty if it was not started, and then `refused` has the words."""

    ends: dict[str, str]
    refused: str = ""


def try_all(home: Path, boxes: Mapping[str, Box], batch: int = AT_ONCE) -> dict[str, Seen]:
    """Every box, each in a world of its own."""
    seen: dict[str, Seen] = {}
    names = list(boxes)
    units = {name: f"box{number}" for number, name in enumerate(names)}  # each with a log
    with Stack(home, {}) as stack:
        for first in range(0, len(names), batch):
            some = names[first : first + batch]
            seen |= _try_some(stack, {name: boxes[name] for name in some}, units)
    return seen


def _try_some(
    stack: Stack, boxes: Mapping[str, Box], units: Mapping[str, str]
) -> dict[str, Seen]:
    with ExitStack() as worlds:
        for name, box in boxes.items():
            uid = probe.NOBODY if box.user == "nobody" else 0
            world = worlds.enter_context(probe.World(uid, place()))
            stack.write(units[name], text(box, world))
        stack.call("ReloadUnits")
        try:
            with suppress(ConnectionResetError):  # a slow machine may take too long to answer
                stack.call("Start", units=[units[name] for name in boxes], wait=False)
            return {name: _collected(stack, units[name], box) for name, box in boxes.items()}
        finally:
            for name in boxes:
                (stack.units / f"{units[name]}.toml").unlink()
            stack.call("ReloadUnits")


def text(box: Box, world: probe.World) -> str:
    """The unit file."""
    words = world.command("--all" if box.forks() else "{instance}")
    lines = ['kind = "task"', "autostart = false", f"command = {list(words)}".replace("'", '"')]
    if box.user:
        lines.append(f'user = "{box.user}"')
    if not box.forks():
        lines.append(f"instances = {len(ACTIONS)}")
    keys = box.keys.replace("{world}", str(world.path)).replace("{port}", str(world.port))
    return "\n".join(lines) + f'\n[restart]\nwhen = "never"\n{keys}'


def _collected(stack: Stack, unit: str, box: Box) -> Seen:
    keys = [unit] if box.forks() else [f"{unit}/{number}" for number in range(len(ACTIONS))]
    rows: dict[str, Any] = {}

    def rested() -> bool:
        rows.update(stack.rows())
        return all(rows[key]["state"] in ("finished", "failed") for key in keys)

    stack.until(rested, f"{unit} to end", PATIENCE_S)
    ends: dict[str, str] = {}
    for name, key in zip(ACTIONS, keys, strict=False):
        folder = stack.log / key.replace("/", "@")
        if rows[key]["state"] == "finished":
            _wait(folder, len(ACTIONS) // len(keys))
        ends |= _written(folder)
        if rows[key]["last_exit"].startswith("killed by SIG") and not box.forks():
            ends[name] = "killed " + rows[key]["last_exit"].split()[2].rstrip(":")
    return Seen(ends, "" if ends else rows[keys[0]]["reason"])


def _wait(folder: Path, lines: int) -> None:
    """For the last line; an action that says nothing is a difference, not the end of the test."""
    deadline = time.monotonic() + _LAST_LINE_S
    while len(_written(folder)) < lines and time.monotonic() < deadline:
        time.sleep(0.01)


def _written(folder: Path) -> dict[str, str]:
    """Beside it, a loader may have said why it did not start a program."""
    said = probe.parse("".join(path.read_text() for path in sorted(folder.glob("*.log"))))
    return {name: end for name, end in said.items() if name in ACTIONS}


def differences(box: Box, seen: Mapping[str, str], known: Host) -> Sequence[str]:
    """What ended as it should not have."""
    found = []
    for name in ACTIONS:
        wanted, end = accepted(name, box, known), seen.get(name, "nothing")
        if end not in wanted:
            found.append(f"{name}: {end}, not {' or '.join(sorted(wanted))}")
    return found
