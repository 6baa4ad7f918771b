"""Who needs whom: the frozen relations of a set of units, checked before anything starts.

An edge A -> B says that A looks at B: `hard` that A cannot run without B, `bound` that A leaves
whenever B does, `pull` that starting A starts B, `order` that A starts after B and stops before it.
`before` is turned round, so one kind of edge serves all six relations.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from supervisor.model.state import Power
from supervisor.model.unit import BOOT, Needs, Unit, Until, shares

_NONE = Needs()
# Words of restart.limit.then that are no units.
ENDS: dict[str, Power] = {"poweroff": "poweroff", "reboot": "reboot"}
ENDS_MACHINE = "restart.limit.then ends a machine by "
ATTACH_CYCLE = "its attachments are a cycle: "


class Dep(Struct, frozen=True, gc=False):
    unit: str
    until: Until
    pull: bool
    hard: bool
    bound: bool
    order: bool
    agent: bool = False  # `unit` is an agent of who has this: never waited for
    patient: bool = False  # waited for also once it failed: somebody is about to repair it


class Graph(Struct, gc=False):
    """`deps[a]`: what a looks at. `dependents[b]`: who looks at b. `conflicts`: both ways."""

    units: dict[str, Unit]
    deps: dict[str, tuple[Dep, ...]]
    dependents: dict[str, tuple[str, ...]]
    conflicts: dict[str, tuple[str, ...]]
    broken: dict[str, str]  # units that must not start, and why (cycle, missing unit)
    agents: dict[str, tuple[str, ...]] = {}  # agent -> the units that it is attached to
    agents_of: dict[str, tuple[str, ...]] = {}  # the other way round


def build(units: Mapping[str, Unit], *, machine: bool = False) -> Graph:
    """The graph of `units`. `broken`: those in a cycle, that require one that is not there, that
    share the limits of none, or that claim a port together with another. `machine`: they are those
    of a machine's supervisor, which boots."""
    deps: dict[str, list[Dep]] = {}
    conflicts: dict[str, set[str]] = {}
    broken: dict[str, str] = {}
    slices = ports = attach = False
    for name, unit in units.items():
        slices = slices or (unit.limits is not None and bool(unit.limits.slice))
        slices = slices or shares(unit, "limits")
        ports = ports or bool(unit.listen) or unit.network is not None
        attach = attach or bool(unit.attach)
        needs = unit.needs
        limit = unit.restart.limit
        if limit is not None and limit.then in ENDS and not machine:
            broken[name] = f"{ENDS_MACHINE}{limit.then}, and this supervisor boots none"
        if needs is _NONE or needs == _NONE:
            continue
        mine = deps.setdefault(name, [])
        for hard, bound, edges in (
            (True, True, needs.binds_to),
            (True, False, needs.requires),
            (False, False, needs.wants),
        ):
            mine += [Dep(e.unit, e.until, True, hard, bound, e.order) for e in edges]
            for edge in edges:
                if hard and edge.unit not in units:
                    broken[name] = f"it requires {edge.unit}, which has no unit file"
        mine += [Dep(e.unit, e.until, False, False, False, True) for e in needs.after]
        for edge in needs.before:
            late = Dep(name, edge.until, False, False, False, True)
            deps.setdefault(edge.unit, []).append(late)
        for other in needs.conflicts:
            if other in units and other != name:
                conflicts.setdefault(name, set()).add(other)
                conflicts.setdefault(other, set()).add(name)
    known = {
        name: tuple(d for d in mine if d.unit in units)
        for name, mine in deps.items()
        if name in units
    }
    if machine and BOOT in units:
        from supervisor.core.boot_order import after_boot

        known = after_boot(units, known)
    if slices:
        from supervisor.core.slices import broken as lost  # few hosts have one

        broken.update(lost(units))
    if ports:
        from supervisor.core.ports import broken as claimed

        broken.update(claimed(units))
    for path in cycles(known):
        words = "its order is a cycle: " + " -> ".join(path)
        broken.update(dict.fromkeys(path, words))
    agents: dict[str, tuple[str, ...]] = {}
    if attach:
        from supervisor.core.agents import attach as with_agents

        known, agents = with_agents(units, known, broken)
    dependents: dict[str, list[str]] = {}
    for name, row in known.items():
        for dep in row:
            dependents.setdefault(dep.unit, []).append(name)
    agents_of: dict[str, list[str]] = {}
    for name, mains in agents.items():
        for main in mains:
            agents_of.setdefault(main, []).append(name)
    return Graph(
        dict(units), known, {k: tuple(v) for k, v in dependents.items()},
        {k: tuple(sorted(v)) for k, v in conflicts.items()}, broken, agents,
        {k: tuple(v) for k, v in agents_of.items()},
    )  # fmt: skip


def cycles(deps: Mapping[str, Iterable[Dep]]) -> list[list[str]]:
    """One path for each knot of the ordering edges, its first unit named again at its end."""
    found: list[list[str]] = []
    done: set[str] = set()
    for root in deps:
        if root in done:
            continue
        path: list[str] = [root]
        on_path = {root}
        stack = [iter([d.unit for d in deps[root] if d.order])]
        while stack:
            for unit in stack[-1]:
                if unit in on_path:
                    found.append([*path[path.index(unit) :], unit])
                elif unit not in done and unit in deps:
                    path.append(unit)
                    on_path.add(unit)
                    stack.append(iter([d.unit for d in deps[unit] if d.order]))
                    break
            else:
                stack.pop()
                on_path.discard(path[-1])
                done.add(path.pop())
    return found


def closure(graph: Graph, names: Iterable[str], there: str = "") -> list[str]:
    """`names` and everything that starting them starts, in no order, each once. `there`: a unit
    that needs no start, nor what only that one pulls in, unless it is among `names`."""
    seen = dict.fromkeys(names)
    todo = list(seen)
    while todo:
        for dep in graph.deps.get(todo.pop(), ()):
            if dep.pull and dep.unit not in seen and dep.unit != there:
                seen[dep.unit] = None
                todo.append(dep.unit)
    return list(seen)


def members(graph: Graph, name: str) -> list[str]:
    """A group and all that it pulls in (through groups in it too); any other unit: itself."""
    return within(name, graph.units, graph.deps)


def within(
    name: str, units: Mapping[str, Unit], deps: Mapping[str, Iterable[Dep]]
) -> list[str]:
    """The same, of a graph that is being built."""
    unit = units.get(name)
    if unit is None or unit.kind != "group":
        return [name]
    seen = {name: None}
    todo = [name]
    while todo:
        for dep in deps.get(todo.pop(), ()):
            if dep.pull and dep.unit not in seen:
                seen[dep.unit] = None
                if units[dep.unit].kind == "group":
                    todo.append(dep.unit)
    return list(seen)
