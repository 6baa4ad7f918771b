"""`unboxed try`: a unit made of a command line, kept as a file in the transient directory.

It is there to be run once. When it has ended it is forgotten, with its file: at once if whoever
waited for it was told how it ended, else after LINGER_NS, or when too many others have ended since.
Its log stays; no later one has its name.
"""
from __future__ import annotations

import os
from typing import Any

from supervisor.config.load import load_table
from supervisor.config.problem import Broken
from supervisor.config.render import to_toml
from supervisor.core.world import ENDED
from supervisor.manager.runtime import TRIED
from supervisor.manager.supervisor import Supervisor
from supervisor.manager.waiters import SOON_NS, Test
from supervisor.model.report import Failed, InvalidUnits, Problem, Result
from supervisor.model.state import Instance, Transition

LINGER_NS = 60_000_000_000
MOST = 64  # tried units that have ended and were not asked after


class Tried:
    """The tried units of one supervisor."""

    def __init__(self, sup: Supervisor) -> None:
        self._sup = sup
        self._ended: dict[str, int] = {}  # unit -> when to forget it; the earliest is first
        sup.listeners.append(self._on_transitions)
        sup.settled.append(self.look)
        for inst in sup.world.instances.values():  # that ended under an earlier manager
            self._note(inst)
        self._schedule()

    # --- beginning ----------------------------------------------------------------------------

    def define(
        self, command: tuple[str, ...], keys: dict[str, Any]
    ) -> str | Failed | InvalidUnits:
        """Make the unit known; its name, or why not. Unless told otherwise it is a task, runs once
        and does not start at boot."""
        sup = self._sup
        name = self._name()
        path = self._path(name)
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
        sup.header.tried = int(name[len(TRIED) :])
        sup.world.define({**sup.world.graph.units, name: made}, sup.now())
        sup.defined.append(made)
        return name

    def _path(self, name: str) -> str:
        return f"{self._sup.paths.transient_units}/{name}.toml"

    def _name(self) -> str:
        """One that neither a unit nor a log has: numbers rise."""
        number = self._sup.header.tried
        if not number:  # the first of this supervisor; the logs of earlier ones are still there
            try:
                names = os.listdir(self._sup.paths.log)
            except OSError:
                names = []
            known = [n[len(TRIED) :] for n in names if n.startswith(TRIED)]
            number = max((int(n) for n in known if n.isdecimal() and len(n) < 10), default=0)
        number += 1
        while f"{TRIED}{number}" in self._sup.world.graph.units:
            number += 1
        return f"{TRIED}{number}"

    # --- the end ------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        """Whether this unit was made by `define`, and not by a file of that name."""
        unit = self._sup.world.graph.units.get(name) if name.startswith(TRIED) else None
        return unit is not None and unit.source == self._path(name)

    def outcome(self, inst: Instance) -> Result | None:
        """How a tried unit ended; None: it has not, or it is none."""
        if inst.phase not in ENDED or not self.has(inst.unit):
            return None
        if inst.finished:
            return Result(inst.key, True, "finished")
        words = f"cannot try {inst.key}: {inst.cause}; its log stays, the unit is forgotten"
        return Result(inst.key, False, words, 1)

    def test(self, test: Test) -> Test:
        """As `test`, but for tried units: those are told as running once they have run for a while,
        so that how a command ends at once does not depend on who is faster."""

        def tried(inst: Instance, came_up: bool) -> Result | None:
            sup, due = self._sup, inst.started_ns + SOON_NS
            if inst.phase == "up" and due > sup.now() and self.has(inst.unit):
                sup.look_ns = min(due, sup.look_ns or due)
                return None
            return self.outcome(inst) or test(inst, came_up and not self.has(inst.unit))

        return tried

    def told(self, keys: list[str]) -> None:
        """Somebody was told how these are: what has ended is of no more use."""
        for key in keys:
            name = key.partition("/")[0]
            if name in self._ended:
                del self._ended[name]
                self._ended = {name: 1, **self._ended}
        self._schedule()

    def _on_transitions(self, fresh: list[Transition]) -> None:
        for moved in fresh:
            inst = self._sup.world.instances.get(moved.key)
            if moved.key.startswith(TRIED) and inst is not None:
                self._note(inst)
        self._schedule()

    def _note(self, inst: Instance) -> None:
        self._ended.pop(inst.unit, None)
        if inst.since_ns and self.has(inst.unit) and self._over(inst.unit):
            self._ended[inst.unit] = self._sup.now() + LINGER_NS

    def _over(self, name: str) -> bool:
        world = self._sup.world
        return all(world.instances[key].phase in ENDED for key in world.keys.get(name, ()))

    def _schedule(self) -> None:
        due = next(iter(self._ended.values()), 0)
        self._sup.forget_ns = 1 if len(self._ended) > MOST else due

    def look(self) -> None:
        """Forget what is to be forgotten by now."""
        sup = self._sup
        if not 0 < sup.forget_ns <= sup.now():
            return
        units = dict(sup.world.graph.units)
        for name, due in list(self._ended.items()):
            if due > sup.now() and len(self._ended) <= MOST:
                break
            del self._ended[name]
            if self.has(name) and self._over(name):
                del units[name]
                sup.gone.append(name)
                try:
                    os.unlink(self._path(name))
                except OSError:
                    pass  # somebody was quicker
        sup.world.define(units)
        sup.commit()
        self._schedule()
