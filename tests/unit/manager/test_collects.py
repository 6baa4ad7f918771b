"""Whose calls may take more time at once: those of agents that receive "metrics", as they run."""
from __future__ import annotations

import os
from pathlib import Path

from supervisor.manager.service import _collects
from supervisor.model.unit import Agent, Unit
from tests.unit.manager.kit import Bench

UID = os.geteuid()


def unit(name: str, *receives: str) -> Unit:
    agent = Agent(receives=receives) if receives else None  # type: ignore[arg-type]
    return Unit(name, command=("/bin/true",), attach=("web",) if receives else (), agent=agent)


def runs(bench: Bench, name: str) -> None:
    """As this very process."""
    bench.start(name)
    bench.execed(name, os.getpid())


def test_only_an_agent_that_runs_and_receives_metrics_collects(tmp_path: Path) -> None:
    bench = Bench(tmp_path, unit("web"), unit("logs", "endpoints"), unit("metrics", "metrics"))
    try:
        runs(bench, "web")
        runs(bench, "logs")
        assert not _collects(bench.sup, UID)
        runs(bench, "metrics")
        assert _collects(bench.sup, UID)
        assert not _collects(bench.sup, UID + 1)
        bench.exited("metrics", bench["metrics"].launch, os.getpid())
        assert not _collects(bench.sup, UID)
    finally:
        bench.close()
