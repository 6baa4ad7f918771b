"""Reading the unit files again while everything runs: all of them, or nothing changes."""
from __future__ import annotations

from supervisor.config.load import read_units
from supervisor.core import graph as graphs
from supervisor.manager.supervisor import Supervisor
from supervisor.model.report import InvalidUnits, Problem, UnitsReloaded
from supervisor.model.unit import Unit


def _unsliced(units: dict[str, Unit]) -> dict[str, str]:
    if all(unit.limits is None for unit in units.values()):
        return {}
    from supervisor.core.slices import broken

    return broken(units)


def _clashing(units: dict[str, Unit]) -> dict[str, tuple[str, str]]:
    """Key and reason of each unit that claims a port which another one claims."""
    if not any(unit.listen or unit.network is not None for unit in units.values()):
        return {}
    from supervisor.core.ports import clashes, words

    return {name: (str(both[0].where[0]), words(*both)) for name, both in clashes(units).items()}


def reload_units(sup: Supervisor) -> UnitsReloaded | InvalidUnits:
    """What runs goes on as it was started; a changed definition counts from its next start. Only
    the number of its instances counts at once: World.recheck starts and stops some."""
    loaded = read_units(sup.paths.units)
    problems = [Problem(p.file, p.line, p.key, p.message) for p in loaded.problems]
    unsliced = _unsliced(loaded.units)
    clashing = _clashing(loaded.units)
    for name, why in graphs.build(loaded.units, machine=sup.world.machine).broken.items():
        if name in unsliced or name in clashing:
            continue
        key = "attach" if why.startswith(graphs.ATTACH_CYCLE) else "needs"
        key = "restart.limit.then" if why.startswith(graphs.ENDS_MACHINE) else key
        problems.append(Problem(loaded.units[name].source, 0, key, f"cannot be met: {why}"))
    for name, why in unsliced.items():
        unit = loaded.units[name]
        own = unit.limits is not None and unit.limits.slice
        key = "limits.slice" if own else "agent.share"
        problems.append(Problem(unit.source, 0, key, f"cannot be used: {why}"))
    for name, (key, why) in clashing.items():
        problems.append(Problem(loaded.units[name].source, 0, key, f"cannot be claimed: {why}"))
    if problems:
        return InvalidUnits(
            tuple(problems), "cannot reload unit files: there are errors; nothing was changed"
        )
    for warning in loaded.warnings:
        sup.report(str(warning))
    old = sup.world.graph.units
    # An unchanged unit stays the same object: whoever compares by identity sees no change.
    units = {
        name: old[name] if old.get(name) == unit else unit for name, unit in loaded.units.items()
    }
    added = sorted(units.keys() - old.keys())
    removed = sorted(old.keys() - units.keys())
    changed = sorted(name for name in units.keys() & old.keys() if units[name] is not old[name])
    sup.reload_access()
    now = sup.now()
    sup.world.define(units, now)
    sup.defined += [units[name] for name in (*added, *changed)]
    sup.gone += removed
    for name in changed:
        for key in sup.world.keys[name]:
            if sup.world.instances[key].phase == "waiting":  # it may need others now
                sup.world.start_key(key, "its unit file changed while it waited", now)
    for name in changed:
        if units[name].kind == "group" and sup.limiting is not None:
            for words in sup.limiting.change_group(name):  # of what others share: it has no run
                sup.report(f"{name}: {words}")
    sup.world.recheck(now)
    if sup.attending is not None:
        sup.attending.redefined()
    sup.commit()
    sup.rewrite()
    for name in changed:  # now, so that the addresses are free when a restart asks for them
        if name in sup.world.left:
            continue  # what is surplus serves on; the last of it closes them
        for key in sup.world.keys[name]:
            sup.launcher.descriptors.drop_stale(units[name], sup.world.instances[key])
    sup.flush()
    return UnitsReloaded(tuple(added), tuple(changed), tuple(removed))
