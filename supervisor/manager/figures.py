"""All figures of one instance, for a report. Imported when somebody asks for them."""
from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor.kernel import usage
from supervisor.kernel.usage import Places
from supervisor.model import report
from supervisor.model.state import Instance

if TYPE_CHECKING:
    from supervisor.manager.supervisor import Supervisor


def figures(sup: Supervisor, inst: Instance) -> report.Usage:
    """By its groups' counters; what these do not tell, by its processes."""
    found = sup.limiting.usage(inst.key) if sup.limiting is not None else None
    if found is None:
        base = getattr(sup.tracker, "base", "")
        unified = f"{base}/{sup.tracker.group(inst.key)}" if base else ""
        found = usage.read_usage(Places(unified))
    seen = sup.tracker.figures(inst.key, inst.pid)
    values = found._asdict()
    for name in ("memory_bytes", "cpu_ns", "tasks"):
        if values[name] is None:
            values[name] = getattr(seen, name)
    for name in ("cpu_pressure", "memory_pressure", "io_pressure"):
        pressure = values[name]
        values[name] = None if pressure is None else report.Pressure(*pressure)
    return report.Usage(**values)
