"""Which budgets a unit shares: the group units above it, by `[limits] slice`.

A slice that is not there is no licence to run without one: the unit is broken and says why.
"""
from __future__ import annotations

from collections.abc import Mapping

from supervisor.model.unit import Limits, Unit


class NoSlice(Exception):
    """Why a unit has not the slices that it asks for, in words that follow its name."""


def chain(unit: Unit, units: Mapping[str, Unit]) -> tuple[tuple[str, Limits], ...]:
    """Names and limits of the slices that `unit` is in, the outermost first. Raises NoSlice."""
    found: list[tuple[str, Limits]] = []
    path = [unit.name]
    limits = unit.limits
    while limits is not None and limits.slice:
        name = limits.slice
        group = units.get(name)
        if name in path:
            raise NoSlice(f"its slices are a cycle: {' -> '.join([*path, name])}")
        if group is None:
            raise NoSlice(f"its slice {name} has no unit file")
        if group.kind != "group":
            raise NoSlice(f'its slice {name} is no group; write kind = "group" there')
        if group.limits is None:
            raise NoSlice(f"its slice {name} has no [limits] to share")
        limits = group.limits
        found.append((name, limits))
        path.append(name)
    found.reverse()
    return tuple(found)


def broken(units: Mapping[str, Unit]) -> dict[str, str]:
    """Units that must not start, and why."""
    found = {}
    for name, unit in units.items():
        if unit.limits is not None and unit.limits.slice:
            try:
                chain(unit, units)
            except NoSlice as exc:
                found[name] = str(exc)
    return found
