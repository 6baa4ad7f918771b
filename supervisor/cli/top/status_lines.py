"""The lines at the top, the supervisor's own, and the machine's; and that above the pane. Pure."""
from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from supervisor.cli.screen import clean, columns, cut
from supervisor.cli.top.columns import Cell
from supervisor.cli.top.machine import Machine
from supervisor.cli.top.table import Row
from supervisor.cli.words import STATES, remark, size, span


def supervisor_line(supervisor: dict[str, Any], machine: Machine) -> list[Cell]:
    """What it is, and what its own processes take."""
    age = span(time.time_ns() - supervisor["started_ns"])
    parts: list[Cell] = [(f" unboxed {supervisor['version']}", "title"), (f"  up {age}", "")]
    for process in machine.own:
        parts.append((f"  {process.name} ", "faint"))
        if process.cpu is not None:
            parts.append((f"{process.cpu:.1f}% ", "title"))
        parts.append((size(process.memory), "title"))
    if supervisor["manager_starts"] > 1:
        parts.append((f"  manager started {supervisor['manager_starts']} times", "busy"))
    if supervisor.get("tracking") == "session":
        parts.append(("  no cgroups", "busy"))
    return parts


def about_line(row: Row, what: str, panes: Mapping[str, str], width: int) -> list[Cell]:
    """The selected unit, what there is to say of it, and at the right which pane is below."""
    kind = STATES.get(row.state, "bad")
    right: list[Cell] = []
    for letter, name in panes.items():
        right += [(f"  {letter} ", "title"), (name, "title" if name == what else "faint")]
    right.append((" ", ""))
    free = width - sum(columns(text) for text, _ in right)
    said = clean(remark(row.status, time.time_ns()))
    about = said or clean(row.status.get("description") or row.state)
    text = cut(f" {row.key}  {about}", free - 1)
    name = f" {row.key}"[: len(text)]
    return _apart([(name, "title"), (text[len(name) :], kind if said else "faint")], right, width)


def machine_line(machine: Machine, width: int) -> list[Cell]:
    """How busy it is, and at the right how long its tasks wait."""
    left: list[Cell] = [(f" {machine.cpus} CPUs", "")]
    if machine.cpu is not None:
        left.append((f" {machine.cpu:.0f}%", "busy" if machine.cpu > 90 else "title"))
    if machine.memory_total:
        left += [("  memory ", ""), (size(machine.memory_used), "title"),
                 (f" of {size(machine.memory_total)}", "")]
    if machine.load:
        left += [("  load ", ""), (machine.load, "title")]
    waits: list[Cell] = []
    for name, percent in machine.pressure:
        waits += [(f" {name} ", "faint"),
                  (f"{percent:.0f}%", "busy" if percent >= 10 else "title")]
    return _apart(left, [("waits for", "faint"), *waits, (" ", "")] if waits else [], width)


def _apart(left: list[Cell], right: list[Cell], width: int) -> list[Cell]:
    """Both ends of a line; the right one is left out where there is no room for it."""
    free = width - sum(columns(text) for text, _ in (*left, *right))
    return [*left, (" " * free, ""), *right] if free >= 1 else left
