"""A fresh start: unit files in, first services out while the last files are still being read.

The keeper forks on one core while this parses on another. A unit may be started before all
others are known only if no other can have a say in it: it has no relations (no slice, and no port
that another may claim) of its own, and no file orders anybody else (`needs.before`,
`needs.conflicts`, `attach`: agents go first). One look at the raw text of all files tells whether
such a word is there at all; if it is, everything is read first.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence

from supervisor.config.load import Texts
from supervisor.config.problem import Broken, Problem
from supervisor.core.graph import ENDS
from supervisor.manager.supervisor import Supervisor
from supervisor.model.unit import BOOT, Edge, Needs, Unit

_BATCH = 16  # units that are started together
_FREE = Needs()
# In place of a `boot` whose file has errors: it fails, and whoever waits for it waits on.
_NO_BOOT = Unit(BOOT, kind="group", needs=Needs(requires=(Edge("boot.toml-without-errors"),)))
AT_BOOT = "started with the supervisor"


def boot(
    sup: Supervisor, names: Sequence[str], before_start: Callable[[], None] | None = None
) -> None:
    """Read all units and start `names`, or those with autostart. `before_start` is called when all
    definitions are known and nothing was started yet; what it finds to have begun is let be."""
    warnings: list[Problem] = []
    texts = Texts(sup.paths.units, warnings)
    sup.mark("read")
    world = sup.world
    eager = not names and before_start is None and not texts.may_order()
    plan = sup.boot_plan
    if plan is not None and plan.sent:
        eager = False  # they run already; and the journal has all of them at once, or none
    if world.machine and texts.has(BOOT):
        eager = False  # that goes before all others
    units: dict[str, Unit] = {}
    early: list[Unit] = []
    for unit in texts.units():
        if isinstance(unit, Broken):
            for problem in unit.problems:
                sup.report(f"{problem}; {unit.name or 'the directory'} is left out")
            if world.machine and unit.name == BOOT:
                units[BOOT] = _NO_BOOT
            continue
        units[unit.name] = unit
        if eager and unit.autostart and unit.needs == _FREE and not _looks_around(unit):
            early.append(unit)
            if len(early) == _BATCH:
                _start_free(sup, early)
    for warning in warnings:
        sup.report(str(warning))
    if early:
        _start_free(sup, early)
    world.define(units)
    sup.mark("planned")
    sup.defined = [u for u in units.values() if u.name not in sup.started_early]
    if before_start is not None:
        before_start()
    if plan is not None:
        plan.compare(sup)
    wanted = [name for name in _wanted(sup, names, units) if _is_new(sup, name)]
    world.start(wanted, AT_BOOT, sup.now())
    sup.started_early.clear()
    sup.commit()
    sup.booted()
    sup.journal.settle()


def _start_free(sup: Supervisor, units: list[Unit]) -> None:
    for unit in units:
        sup.world.add(unit)
        sup.defined.append(unit)
        sup.started_early.add(unit.name)
        sup.world.start([unit.name], AT_BOOT, sup.now())
    units.clear()
    sup.commit()


def _looks_around(unit: Unit) -> bool:
    """Whether it has limits or ports that another one may have too, which is not read yet, or the
    graph may have a word against it."""
    if unit.limits is not None and unit.limits.slice:
        return True
    if unit.restart.limit is not None and unit.restart.limit.then in ENDS:
        return True
    return unit.network is not None or any(one.port for one in unit.listen)


def _is_new(sup: Supervisor, name: str) -> bool:
    """Whether an instance of it never did anything."""
    world = sup.world
    return any(not world.instances[key].since_ns for key in world.keys[name])


def _wanted(sup: Supervisor, names: Sequence[str], units: dict[str, Unit]) -> list[str]:
    known = [name for name in names if name in units]
    everything = not names or (sup.world.machine and not known)  # that stands there all the same
    for name in names:
        if name not in units:
            then = "all that have autostart" if everything else "the others"
            sup.report(f"cannot start {name}: no unit file of that name; {then} are started")
    return [u.name for u in units.values() if u.autostart] if everything else known
