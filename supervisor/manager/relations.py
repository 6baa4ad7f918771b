"""How units are related, as their files say it, and a machine's boot: for pictures of the whole."""
from __future__ import annotations

from collections.abc import Iterable

from supervisor.core.graph import Graph
from supervisor.model.report import Relation, RelationsReply

_EDGES = ("binds_to", "requires", "wants", "after", "before")


def relations(graph: Graph, names: Iterable[str]) -> RelationsReply:
    """Of the units of these names; one whose file is gone has none. An agent has one with each unit
    that it is attached to, by whatever pattern."""
    found: list[Relation] = []
    for name in names:
        unit = graph.units.get(name)
        if unit is None:
            continue
        for kind in _EDGES:
            found += [
                Relation(name, kind, edge.unit, edge.until if edge.order else "")
                for edge in getattr(unit.needs, kind)
            ]
        found += [
            Relation(name, "requires", dep.unit, dep.until)
            for dep in graph.deps.get(name, ()) if dep.patient
        ]
        found += [Relation(name, "conflicts", other) for other in unit.needs.conflicts]
        found += [Relation(name, "attach", main) for main in graph.agents.get(name, ())]
    return RelationsReply(tuple(found))
