"""What units need of each other and cannot get, each with the file and line that says so.

For `check` alone, where there is time to find the line: the supervisor itself only has to know
that a unit cannot start.
"""
from __future__ import annotations

import os
from glob import escape, glob
from itertools import pairwise
from typing import Any

from supervisor.config.build import BadText, document
from supervisor.config.lines import Lines
from supervisor.config.load import Loaded
from supervisor.config.problem import Problem
from supervisor.core.graph import ATTACH_CYCLE, ENDS_MACHINE, build
from supervisor.core.ports import clashes
from supervisor.core.ports import words as claimed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervisor.model.unit import Unit

_CYCLE = "its order is a cycle: "  # how core begins what it says of one
_HARD = ("binds_to", "requires")
_AFTER = ("binds_to", "requires", "wants", "after")  # who has one of these goes second


def relations(
    loaded: Loaded, elsewhere: set[str], only: str = "", *, machine: bool = False
) -> tuple[list[Problem], list[Problem]]:
    """(errors, warnings). `elsewhere`: units that are somewhere. `only`: what concerns that unit,
    whose missing needs are no errors, as they may be in a directory that was not looked at.
    `machine`: as for the supervisor of one."""
    units = loaded.units
    suffix = ".toml"
    wrong = {os.path.basename(one.file).removesuffix(suffix) for one in loaded.problems}
    missing: list[Problem] = []
    broken: list[Problem] = []
    for name, unit in sorted(units.items()):
        if only not in {"", name}:
            continue
        for key, need in _missing(unit, units):
            file, line = _place(unit, key)
            if need in wrong:
                text = f"cannot start {name}: it requires {need}, whose file has errors"
                broken.append(Problem(file, line, f"needs.{key}", text))
            elif need not in elsewhere and only:
                text = f"it requires {need}, whose file must be in another directory than this"
                missing.append(Problem(file, line, f"needs.{key}", text))
            elif need not in elsewhere:
                text = f"cannot start {name}: it requires {need}, which has no unit file"
                broken.append(Problem(file, line, f"needs.{key}", text))
    lost = sorted(build(units, machine=machine).broken.items())
    for name, why in lost:
        if why.startswith(ENDS_MACHINE) and only in {"", name}:
            where = ("restart", "limit", "then")
            words = f"cannot start {name}: {why}; `unboxed check --machine` checks those of one"
            broken.append(Problem(*find(units[name], where), ".".join(where), words))
        if why.startswith(ATTACH_CYCLE) and only in {"", name}:
            file, line = find(units[name], ("attach",))
            words = f"cannot start {name}: {why}; take one of these away, or a need between them"
            broken.append(Problem(file, line, "attach", words))
    cycles = dict.fromkeys(
        why.removeprefix(_CYCLE) for _, why in lost if why.startswith(_CYCLE))
    for words in cycles:
        path = words.split(" -> ")
        if only in {"", *path}:
            broken.append(_cycle(path, units))
    for name, why in _unsliced(units).items():
        unit = units[name]
        if only not in {"", name} or unit.limits is None:
            continue
        section, key, what = "limits", "slice", unit.limits.slice
        if not what:  # it shares those of its main
            section, key, what = "agent", "share", unit.attach[0]
        file, line = _place(unit, key, section)
        if only and what not in units:
            text = f"its {'slice' if key == 'slice' else 'main'} {what} must be a unit in another"
            missing.append(Problem(file, line, f"{section}.{key}", f"{text} directory than this"))
        else:
            text = f"cannot start {name}: {why}"
            broken.append(Problem(file, line, f"{section}.{key}", text))
    for name, both in clashes(units).items():
        if only in {"", name}:
            mine, other = both
            file, line = find(units[name], mine.where)
            theirs = "{}:{}".format(*find(units[other.unit], other.where))
            broken.append(Problem(
                file, line, ".".join(str(part) for part in mine.where if type(part) is str),
                f"cannot start {name}: {claimed(mine, other)}, {theirs}; give one of them another "
                "port, or let them conflict (needs.conflicts)"))
    return broken, missing


def _unsliced(units: dict[str, Unit]) -> dict[str, str]:
    if all(unit.limits is None for unit in units.values()):
        return {}
    from supervisor.core.slices import broken

    return broken(units)


def _missing(unit: Unit, units: dict[str, Unit]) -> list[tuple[str, str]]:
    return [
        (key, edge.unit) for key in _HARD for edge in getattr(unit.needs, key)
        if edge.unit not in units
    ]


def _cycle(path: list[str], units: dict[str, Unit]) -> Problem:
    """One error for all of them, at the first of its needs."""
    lines: list[tuple[str, int, str]] = []
    said: list[str] = []
    for second, first in pairwise(path):
        unit, key = _order(units[second], units[first])
        file, line = _place(unit, key)
        lines.append((file, line, key))
        said.append(f"{second} goes after {first} ({file}:{line}: needs.{key})")
    file, line, key = lines[0]
    names = ", ".join(sorted(set(path)))
    return Problem(
        file, line, f"needs.{key}",
        f"cannot start {names}: their order is a cycle: {'; '.join(said)}; take one of these away")


def _order(second: Unit, first: Unit) -> tuple[Unit, str]:
    """Which unit's key says that `second` goes after `first`."""
    for key in _AFTER:
        if any(edge.unit == first.name and edge.order for edge in getattr(second.needs, key)):
            return second, key
    return first, "before"


def _place(unit: Unit, key: str, section: str = "needs") -> tuple[str, int]:
    return find(unit, (section, key))


def find(unit: Unit, where: tuple[str | int, ...]) -> tuple[str, int]:
    """File and line of a key: in its last drop-in that has it, else in its own file."""
    drop_ins = sorted(glob(f"{escape(unit.source)}.d/*.toml"), reverse=True)
    for file in [*drop_ins, unit.source]:
        try:
            with open(file, "rb") as source:
                data = source.read()
            value: Any = document(data)
            for part in where:
                value = value[part]
            return file, Lines(data.decode()).find(where)
        except (OSError, BadText, TypeError, LookupError):
            continue  # it has changed since it was read
    return unit.source, 0
