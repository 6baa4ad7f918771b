"""`unboxed audit`: the exposure of units as they are defined now."""
from __future__ import annotations

import os
from collections.abc import Sequence

from supervisor.config.audit import audit, told
from supervisor.manager.supervisor import Supervisor
from supervisor.model.report import Audits


def audits(sup: Supervisor, names: Sequence[str]) -> Audits:
    """Of units that start something; each check only where there is one unit."""
    units = [sup.world.graph.units[name] for name in names if name in sup.world.graph.units]
    root = os.geteuid() == 0
    found = [audit(unit, root=root) for unit in units if unit.kind != "group"]
    return Audits(tuple(told(one, checks=len(found) == 1) for one in found))
