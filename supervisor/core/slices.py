"""Which budgets a unit shares: the group units above it, by `[limits] slice`, and that of a unit
with agents which count into its own, by `[agent] share`.

A slice that is not there is no licence to run without one: the unit is broken and says why. The
budget of a unit with such agents is a slice of its name, which holds them all; the unit's own group
in it has the same limits, which say nothing more.
"""
from __future__ import annotations

from collections.abc import Collection, Mapping

from supervisor.model.unit import Limits, Unit, shares


class NoSlice(Exception):
    """Why a unit has not the slices that it asks for, in words that follow its name."""


def shared(units: Mapping[str, Unit]) -> frozenset[str]:
    """The units into whose limits an agent counts."""
    return frozenset(
        unit.attach[0]
        for unit in units.values()
        if shares(unit, "limits") and unit.attach
    )


def chain(
    unit: Unit, units: Mapping[str, Unit], budgets: Collection[str] | None = None
) -> tuple[tuple[str, Limits], ...]:
    """Names and limits of the slices that `unit` is in, the outermost first. `budgets`: as `shared`
    found them. Raises NoSlice."""
    if budgets is None:
        budgets = shared(units)
    main = unit
    if shares(unit, "limits"):
        main = _main(unit, units)
    above = _slices(main, units)
    if main is unit and (unit.name not in budgets or unit.instances != 1):
        return above
    return above if main.limits is None else (*above, (main.name, main.limits))


def _main(unit: Unit, units: Mapping[str, Unit]) -> Unit:
    name = unit.attach[0]
    main = units.get(name)
    if main is None:
        raise NoSlice(f"it shares the limits of {name}, which has no unit file")
    if main.limits is None:
        raise NoSlice(f"it shares the limits of {name}, which has none")
    if main.instances != 1:
        raise NoSlice(f"it shares the limits of {name}, which has several instances")
    return main


def _slices(unit: Unit, units: Mapping[str, Unit]) -> tuple[tuple[str, Limits], ...]:
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
    budgets = shared(units)
    for name, unit in units.items():
        if shares(unit, "limits") or (unit.limits is not None and unit.limits.slice):
            try:
                chain(unit, units, budgets)
            except NoSlice as exc:
                found[name] = str(exc)
    return found
