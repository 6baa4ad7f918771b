"""What a client's words select: units, instances, groups, globs."""
from __future__ import annotations

from collections.abc import Iterable

from supervisor.core import graph as graphs
from supervisor.core.world import World
from supervisor.model.pattern import is_glob, matches

MOST_GLOBS = 16  # each is compared with every unit; anybody may ask, and all others wait


class NothingThere(Exception):
    """`pattern` selects no unit and no instance."""

    def __init__(self, pattern: str) -> None:
        super().__init__(pattern)
        self.pattern = pattern


class TooMuch(Exception):
    """More work than one call may make: a whole sentence."""


def keys(world: World, patterns: Iterable[str]) -> list[str]:
    """The instance keys that `patterns` select, each once, those of a unit with what runs beyond
    its definition. Raises NothingThere, TooMuch."""
    found: dict[str, None] = {}
    different = dict.fromkeys(patterns)
    if sum(map(is_glob, different)) > MOST_GLOBS:
        raise TooMuch(
            f"cannot select units: over {MOST_GLOBS} patterns with * or ?; name the units instead"
        )
    for pattern in different:
        names = _units(world, pattern)
        if names:
            for name in names:
                for member in graphs.members(world.graph, name):
                    found.update(dict.fromkeys(world.all_of(member)))
        elif pattern in world.instances:
            found[pattern] = None
        elif is_glob(pattern) and (some := [k for k in world.instances if matches(pattern, k)]):
            found.update(dict.fromkeys(some))
        else:  # perhaps a unit whose file is gone, while it still runs
            rest = [key for key, inst in world.instances.items() if inst.unit == pattern]
            if not rest:
                raise NothingThere(pattern)
            found.update(dict.fromkeys(rest))
    return list(found)


def whole_units(world: World, patterns: Iterable[str]) -> list[str] | None:
    """The unit names, if every pattern selects units and none a single instance; else None."""
    found: dict[str, None] = {}
    for pattern in patterns:
        names = _units(world, pattern)
        if not names:
            return None
        found.update(dict.fromkeys(names))
    return list(found)


def _units(world: World, pattern: str) -> list[str]:
    units = world.graph.units
    if pattern in units:
        return [pattern]
    return [name for name in units if matches(pattern, name)] if is_glob(pattern) else []
