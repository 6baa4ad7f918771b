"""The order of a machine's boot: first what the group `boot` needs, then all other units.

Law: a unit that `boot` does not look at, neither by what it pulls in nor by what goes before that,
requires `boot`, without having to say so. That closes no cycle, since what `boot` looks at looks at
nothing else. It waits for a boot that failed, too: that is repaired in the unit `rescue`, whose
needs are therefore left alone as well, and all goes on. And it stops before anything of the boot.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping

from supervisor.core.graph import Dep
from supervisor.model.unit import BOOT, RESCUE, Unit

AFTER_BOOT = Dep(BOOT, "ready", True, True, False, True, patient=True)


def early(deps: Mapping[str, Iterable[Dep]]) -> set[str]:
    """`boot`, `rescue`, what they pull in and what goes before any of those."""
    seen = {BOOT, RESCUE}
    todo = [BOOT, RESCUE]
    while todo:
        for dep in deps.get(todo.pop(), ()):
            if (dep.pull or dep.order) and dep.unit not in seen:
                seen.add(dep.unit)
                todo.append(dep.unit)
    return seen


def after_boot(
    units: Mapping[str, Unit], deps: Mapping[str, tuple[Dep, ...]]
) -> dict[str, tuple[Dep, ...]]:
    """`deps`, those of `needs`, with one on `boot` for every unit that is not early. It takes the
    place of a weaker one."""
    before = early(deps)
    found = dict(deps)
    for name in units:
        if name not in before:
            own = [d for d in deps.get(name, ()) if d.unit != BOOT or d.bound]
            found[name] = (*own, AFTER_BOOT)
    return found
