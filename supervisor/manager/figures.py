"""All figures of one instance, for a report. Imported when somebody asks for them.

Law: no file is read twice. Some ten files are most of what an answer costs, and for as long as it
takes nobody else gets one.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from supervisor.kernel import usage
from supervisor.kernel.cgroup import CgroupTracker
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
    memory, cpu, tasks = found.memory_bytes, found.cpu_ns, found.tasks
    if cpu is None:
        seen = sup.tracker.figures(inst.key, inst.pid)
        memory, cpu, tasks = (
            new if old is None else old for old, new in zip((memory, cpu, tasks), seen, strict=True)
        )
    elif memory is None and isinstance(sup.tracker, CgroupTracker):
        memory, counted = sup.tracker.memory_and_tasks(inst.key, inst.pid if tasks == 1 else 0)
        tasks = counted if tasks is None else tasks
    return report.Usage(
        memory, found.memory_peak_bytes, found.swap_bytes, cpu, *found[4:10], tasks,
        found.oom_kills, *(None if one is None else report.Pressure(*one) for one in found[12:]),
    )  # fmt: skip
