"""`unboxed audit`: the exposure of units as they are defined now."""
from __future__ import annotations

import os
from collections.abc import Sequence

from supervisor.config.audit import Audit, audit
from supervisor.manager.supervisor import Supervisor
from supervisor.model.report import AuditCheck, Audits, NextKey, UnitAudit


def audits(sup: Supervisor, names: Sequence[str]) -> Audits:
    """Of units that start something; each check only where there is one unit."""
    units = [sup.world.graph.units[name] for name in names if name in sup.world.graph.units]
    root = os.geteuid() == 0
    found = [audit(unit, root=root) for unit in units if unit.kind != "group"]
    return Audits(tuple(_told(one, checks=len(found) == 1) for one in found))


def _told(one: Audit, *, checks: bool) -> UnitAudit:
    cheapest = one.cheapest
    return UnitAudit(
        one.unit, one.tenths / 10, one.word,
        NextKey(cheapest.key, cheapest.value, cheapest.tenths / 10) if cheapest else None,
        tuple(
            AuditCheck(check.name, check.badness, check.range, round(check.share / 10, 3))
            for check in (one.checks if checks else ())
        ),
    )  # fmt: skip
