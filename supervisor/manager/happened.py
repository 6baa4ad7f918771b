"""What has happened to instances and to the supervisor itself, as figures for whoever collects
them. Imported when somebody does."""
from __future__ import annotations

import os
from collections.abc import Iterable

from supervisor import __version__
from supervisor.kernel import log_figures, processes
from supervisor.manager.counters import BOUNDS_NS, Counts, classes
from supervisor.manager.supervisor import Supervisor
from supervisor.model import report
from supervisor.model.state import Instance

_NOTHING = Counts()
_LOGGER = "/logger/__main__.py"  # in its command line


def figures(sup: Supervisor, chosen: Iterable[Instance]) -> report.FiguresReply:
    try:
        written = log_figures.read(f"{sup.paths.runtime}/log-figures")
    except OSError:
        written = {}  # they are not known now
    counts = sup.counters.of
    rows = tuple(
        _instance(inst, counts.get(inst.key, _NOTHING), written.get(inst.key)) for inst in chosen
    )
    return report.FiguresReply(rows, _supervisor(sup), BOUNDS_NS)


def _instance(
    inst: Instance, counts: Counts, log: tuple[int, int, int, int] | None
) -> report.InstanceFigures:
    latency = exits = None
    if counts.ready:
        latency = report.StartLatency(counts.ready, counts.latency_ns, classes(counts))
    if counts.exits:
        exits = report.Exits(**counts.exits)
    return report.InstanceFigures(
        inst.key, inst.unit, counts.starts, counts.restarts, exits, latency,
        None if log is None else report.LogFigures(*log),
    )  # fmt: skip


def _supervisor(sup: Supervisor) -> report.SupervisorFigures:
    logger = processes.find(sup.keeper_pid, _LOGGER, sup.pids)
    return report.SupervisorFigures(
        version=__version__, started_ns=sup.header.started_ns, manager_starts=sup.header.starts,
        turns=sup.turns, units=len(sup.world.graph.units), instances=len(sup.world.instances),
        clients=sup.server.clients if sup.server is not None else 0,
        journal_bytes=sup.journal.size, stored=len(sup.stored),
        manager=_process(os.getpid()), keeper=_process(sup.keeper_pid),
        logger=_process(logger) if logger else None,
    )  # fmt: skip


def _process(pid: int) -> report.ProcessFigures:
    return report.ProcessFigures(pid, *processes.figures(pid))
