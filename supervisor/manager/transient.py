"""`unboxed try`: a unit made of a command line, kept as a file in the transient directory."""
from __future__ import annotations

import os
from typing import Any

from supervisor.config.load import load_table
from supervisor.config.problem import Broken
from supervisor.config.render import to_toml
from supervisor.manager.runtime import TRIED
from supervisor.manager.supervisor import Supervisor
from supervisor.model.report import Failed, InvalidUnits, Problem


def define(
    sup: Supervisor, command: tuple[str, ...], keys: dict[str, Any]
) -> str | Failed | InvalidUnits:
    """Make the unit known; its name, or why not. Unless told otherwise it is a task, runs once and
    does not start at boot."""
    number = 1
    while f"{TRIED}{number}" in sup.world.graph.units:
        number += 1
    name = f"{TRIED}{number}"
    path = f"{sup.paths.transient_units}/{name}.toml"
    table: dict[str, Any] = {"autostart": False}
    if "restart" not in keys:  # else it is to be kept running: a service
        table |= {"kind": "task", "restart": {"when": "never"}}
    made = load_table(name, {**table, **keys, "command": list(command)}, path)
    if isinstance(made, Broken):
        rows = tuple(Problem(p.file, p.line, p.key, p.message) for p in made.problems)
        return InvalidUnits(rows, f"cannot try {command[0]}: its keys have errors; nothing ran")
    if made.needs.before or made.needs.conflicts:
        return Failed(f"cannot try {command[0]}: `before` and `conflicts` are for unit files")
    try:
        os.makedirs(sup.paths.transient_units, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(to_toml(made))
    except OSError as exc:
        return Failed(f"cannot try {command[0]}: {path}: {exc.strerror}; nothing ran")
    sup.world.define({**sup.world.graph.units, name: made})
    sup.defined.append(made)
    return name
