"""How units are related, as their files say it: for pictures of the whole."""
from __future__ import annotations

from collections.abc import Iterable, Mapping

from supervisor.model.report import Relation, RelationsReply
from supervisor.model.unit import Unit

_EDGES = ("binds_to", "requires", "wants", "after", "before")


def relations(units: Mapping[str, Unit], names: Iterable[str]) -> RelationsReply:
    """Of the units of these names; one whose file is gone has none."""
    found: list[Relation] = []
    for name in names:
        unit = units.get(name)
        if unit is None:
            continue
        for kind in _EDGES:
            found += [
                Relation(name, kind, edge.unit, edge.until if edge.order else "")
                for edge in getattr(unit.needs, kind)
            ]
        found += [Relation(name, "conflicts", other) for other in unit.needs.conflicts]
    return RelationsReply(tuple(found))
