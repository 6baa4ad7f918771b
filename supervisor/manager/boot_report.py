"""The times of the start for whoever asks: the journal's, with what each unit was ordered after."""
from __future__ import annotations

from collections.abc import Callable

from supervisor.manager.boot_times import read
from supervisor.manager.supervisor import Supervisor
from supervisor.model.report import BootReportReply, BootStep, BootUnit, BootWait
from supervisor.model.state import Phase

_ENDED: tuple[Phase, ...] = ("down", "failed", "backoff")


def boot_report(sup: Supervisor, sees: Callable[[str], bool]) -> BootReportReply:
    """Of the units that `sees` lets through. Raises OSError: the journal cannot be read."""
    times, deps = read(sup.journal), sup.world.graph.deps
    units = []
    for key, came in times.came.items():
        name = key.partition("/")[0]
        if not sees(name):
            continue
        waits = (BootWait(dep.unit, dep.until) for dep in deps.get(name, ()) if dep.order)
        first = dict(came)
        if key in times.early:  # before there was a manager to decide it
            unit = sup.world.graph.units.get(name)
            phases: tuple[Phase, ...] = ("waiting", "launching", "starting")
            if unit is not None and unit.start.ready.kind == "exec" and "up" in first:
                phases += ("up",)
            first |= dict.fromkeys(phases, times.early[key])
        begun = first.get("waiting") or first.get("launching") or first.get("starting") or 0
        ended = [first[phase] for phase in _ENDED if phase in first and first[phase] >= begun]
        units.append(BootUnit(
            key, name, first.get("waiting", 0), first.get("launching", 0),
            first.get("starting", 0), first.get("up", 0), min(ended, default=0),
            "failed" in first, tuple(waits),
        ))  # fmt: skip
    order = sorted(times.marks.items(), key=lambda mark: mark[1])
    steps = tuple(BootStep(name, done) for name, done in order)
    return BootReportReply(sup.world.machine, times.done_ns, steps, tuple(units))
