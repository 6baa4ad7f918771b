"""Starts, restarts, latencies and ends are counted from what the manager hears of an instance."""
from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.kernel.log_figures import ROW
from supervisor.manager.counters import BOUNDS_NS, Counters, Counts, classes
from supervisor.manager.happened import figures
from supervisor.model import event as ev
from supervisor.model.state import Transition
from supervisor.model.unit import Ready, Restart, Start, Unit
from tests.unit.manager.kit import Bench

KILLED = 2
MS_NS = 1_000_000


def web(**keys: object) -> Unit:
    return Unit("web", command=("/bin/true",), **keys)  # type: ignore[arg-type]


class One:
    """A bench with one unit, whose main process is `pid` when it runs."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.sup = bench.sup

    def run(self) -> None:
        self.bench.start("web")
        self.bench.execed("web", 500)

    def end(self, status: int = 0, code: int = 1) -> None:
        self.bench.exited("web", self.bench["web"].launch, 500, status, code)

    def stop(self) -> None:
        self.sup.world.stop(["web"], "the test", self.sup.now())
        self.sup.turn()

    def say(self, event: object) -> None:
        self.sup.deliver("web", event)
        self.sup.turn()

    @property
    def counts(self) -> Counts:
        return self.sup.counters.of["web"]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[list[Bench]]:
    benches: list[Bench] = []
    yield benches
    for bench in benches:
        bench.close()


def one(tmp_path: Path, benches: list[Bench], unit: Unit) -> One:
    benches.append(Bench(tmp_path, unit))
    return One(benches[-1])


def test_nothing_is_kept_of_what_never_began(tmp_path: Path, home: list[Bench]) -> None:
    unit = one(tmp_path, home, web())
    assert unit.sup.counters.of == {}
    (row,) = figures(unit.sup, [unit.bench["web"]]).instances
    assert (row.starts, row.restarts, row.exits, row.start_latency, row.log) == (
        0, 0, None, None, None)


@pytest.mark.parametrize("status, code, reason", [
    (0, 1, "clean"), (3, 1, "failure"), (9, KILLED, "signal"), (11, 3, "signal"),
    (15, KILLED, "clean"), (42, 1, "clean"),
])  # fmt: skip
def test_an_end_is_counted_by_how_the_main_process_ended(
    tmp_path: Path, home: list[Bench], status: int, code: int, reason: str
) -> None:
    unit = one(tmp_path, home, web(restart=Restart(success_codes=(0, 42))))
    unit.run()
    unit.end(status, code)
    assert unit.counts.exits == {reason: 1}
    assert unit.counts.starts == 1


def test_a_task_that_was_asked_to_end_has_not_ended_as_it_should(
    tmp_path: Path, home: list[Bench]
) -> None:
    unit = one(tmp_path, home, web(kind="task", start=Start(ready=Ready("exit"))))
    unit.run()
    unit.end(15, KILLED)
    assert unit.counts.exits == {"signal": 1}


def test_automatic_restarts_are_counted_and_an_operators_start_takes_none_back(
    tmp_path: Path, home: list[Bench]
) -> None:
    unit = one(tmp_path, home, web(restart=Restart(when="always", delay_ns=0)))
    unit.run()
    for _ in range(3):
        unit.end(1)
        unit.bench.execed("web", 500)
    assert (unit.counts.starts, unit.counts.restarts) == (4, 3)
    unit.stop()
    unit.end(0)
    unit.run()
    unit.end(1)
    unit.bench.execed("web", 500)
    assert (unit.counts.starts, unit.counts.restarts) == (6, 4)
    assert unit.counts.exits == {"failure": 4, "clean": 1}


def test_a_restart_that_was_asked_for_is_no_automatic_one(
    tmp_path: Path, home: list[Bench]
) -> None:
    unit = one(tmp_path, home, web())
    unit.run()
    unit.sup.world.restart(["web"], "the test", unit.sup.now())
    unit.sup.turn()
    unit.end(0)
    unit.bench.execed("web", 500)
    assert (unit.counts.starts, unit.counts.restarts) == (2, 0)


def test_what_could_not_be_launched_is_an_end_without_an_exit(
    tmp_path: Path, home: list[Bench]
) -> None:
    unit = one(tmp_path, home, web())
    unit.bench.start("web")
    unit.bench.tell("REFUSED", unit.bench["web"].launch, struct.pack("<i", 12))
    assert unit.counts.exits == {"launch": 1}


def test_what_could_not_be_executed_is_counted_once(tmp_path: Path, home: list[Bench]) -> None:
    unit = one(tmp_path, home, web())
    unit.bench.start("web")
    launch = unit.bench["web"].launch
    unit.bench.tell("LAUNCH_FAILED", launch, struct.pack("<iIIi", 500, 3, 1, 2))
    unit.bench.exited("web", launch, 500, 127)
    assert unit.counts.exits == {"launch": 1}


def test_a_hook_that_fails_is_a_failed_launch(tmp_path: Path, home: list[Bench]) -> None:
    unit = one(tmp_path, home, web(start=Start(before=(("/bin/false",),))))
    unit.bench.start("web")
    job = unit.bench["web"].job
    unit.bench.tell("EXECED", job, struct.pack("<iIQ", 400, 0, 1))
    unit.bench.exited("web:before:1", job, 400, 1)
    assert unit.counts.exits == {"launch": 1}


def test_a_start_that_was_called_off_is_no_failed_one(tmp_path: Path, home: list[Bench]) -> None:
    unit = one(tmp_path, home, web(start=Start(before=(("/bin/sleep", "9"),))))
    unit.bench.start("web")
    job = unit.bench["web"].job
    unit.bench.tell("EXECED", job, struct.pack("<iIQ", 400, 0, 1))
    unit.stop()
    unit.say(ev.Empty())
    assert unit.bench["web"].phase == "down"
    assert unit.counts.exits is None


def test_not_ready_in_time_is_a_timeout_however_it_then_ends(
    tmp_path: Path, home: list[Bench]
) -> None:
    unit = one(tmp_path, home, web(start=Start(ready=Ready("notify"), timeout_ns=1)))
    unit.run()
    assert unit.bench["web"].phase == "stopping"
    unit.end(15, KILLED)
    assert unit.counts.exits == {"timeout": 1}
    assert unit.counts.ready == 0


def test_a_watchdog_that_was_not_fed_is_the_reason(tmp_path: Path, home: list[Bench]) -> None:
    unit = one(tmp_path, home, web())
    unit.run()
    unit.say(ev.Notified(watchdog="trigger"))
    unit.end(6, KILLED)
    unit.run()
    unit.say(ev.Notified(watchdog_ns=1, watchdog="ping"))
    unit.sup.turn()
    unit.end(6, KILLED)
    assert unit.counts.exits == {"watchdog": 2}


def test_memory_and_promises_come_before_the_signal_that_they_ended_it_by(
    tmp_path: Path, home: list[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Limits:
        def end_words(self, *_: object) -> str:
            return "out of memory"

        def release(self, key: str) -> None:
            """It had no groups."""

    unit = one(tmp_path, home, web(restart=Restart(when="never")))
    monkeypatch.setattr(unit.sup, "violation", lambda *_: "it called mount, not promised")
    unit.run()
    with monkeypatch.context() as patch:
        patch.setattr(unit.sup, "limiting", Limits())
        unit.end(9, KILLED)
    unit.run()
    unit.end(31, KILLED)
    assert unit.counts.exits == {"oom": 1, "violation": 1}


def test_a_daemon_that_forks_ends_with_its_last_process(tmp_path: Path, home: list[Bench]) -> None:
    unit = one(tmp_path, home, web(start=Start(ready=Ready("exit"))))
    unit.bench.tracker.empty = lambda _key: False  # type: ignore[method-assign]
    unit.run()
    unit.end(0)
    assert unit.bench["web"].phase == "up"
    assert unit.counts.exits is None
    assert unit.counts.ready == 1
    unit.say(ev.Empty())
    assert unit.counts.exits == {"clean": 1}


def test_a_start_takes_from_launch_until_ready(tmp_path: Path) -> None:
    bench = Bench(tmp_path, web())
    counters = Counters(bench.sup.world)
    took = (0, MS_NS, MS_NS + 1, 40 * MS_NS, 61_000 * MS_NS)
    number = 0
    for took_ns in took:
        for at, source, target in ((5, "waiting", "launching"), (6, "launching", "starting"),
                                   (5 + took_ns, "starting", "up"), (9, "up", "up"),
                                   (10, "up", "down")):
            number += 1
            counters.moved([Transition(
                number, "web", at, source, target, "")])  # type: ignore[arg-type]
    counts = counters.of["web"]
    bench.close()
    assert counts.ready == counts.starts == len(took)
    assert counts.latency_ns == sum(took)
    found = dict(zip((*BOUNDS_NS, None), classes(counts), strict=True))
    assert {bound: n for bound, n in found.items() if n} == {
        MS_NS: 2, 2 * MS_NS: 1, 50 * MS_NS: 1, None: 1}


def test_a_new_manager_takes_no_old_restart_for_its_own(tmp_path: Path, home: list[Bench]) -> None:
    unit = one(tmp_path, home, web(restart=Restart(when="always", delay_ns=0)))
    unit.run()
    for _ in range(3):
        unit.end(1)
        unit.bench.execed("web", 500)
    counters = unit.sup.counters = Counters(unit.sup.world)
    unit.sup.listeners[0] = counters.moved
    counters.inherit()
    assert (unit.counts.starts, unit.counts.restarts) == (0, 0)
    unit.end(1)
    unit.bench.execed("web", 500)
    assert (unit.counts.starts, unit.counts.restarts) == (1, 1)
    assert unit.counts.exits == {"failure": 1}


def test_what_is_forgotten_takes_its_figures_along(tmp_path: Path, home: list[Bench]) -> None:
    unit = one(tmp_path, home, web())
    unit.run()
    unit.sup.counters.forget("web")
    unit.sup.counters.forget("web")
    assert unit.sup.counters.of == {}


def test_a_unit_that_has_started_once_costs_a_few_hundred_bytes() -> None:
    counts = Counts(starts=1, begun_ns=-1, ready=1, latency_ns=3 * MS_NS, classes=1 << 64)
    parts = (counts, counts.latency_ns, counts.classes)
    assert sum(map(sys.getsizeof, parts)) < 250


def test_figures_are_told_with_those_of_the_log_and_of_the_supervisor(
    tmp_path: Path, home: list[Bench]
) -> None:
    unit = one(tmp_path, home, web())
    rows = [ROW.pack(b"web", 700, 30, 2, 99), ROW.pack(b"", 1, 1, 1, 1), b"torn"]
    (tmp_path / "log-figures").write_bytes(b"".join(rows))
    unit.run()
    unit.end(1)
    answer = figures(unit.sup, [unit.bench["web"]])
    (row,) = answer.instances
    assert row.exits is not None
    assert (row.exits.failure, row.exits.clean) == (1, 0)
    assert row.start_latency is not None
    assert len(row.start_latency.classes) == len(answer.start_bounds_ns) + 1
    assert row.log is not None
    assert (row.log.stored_bytes, row.log.lost_bytes, row.log.losses) == (700, 30, 2)
    ours = answer.supervisor
    assert (ours.units, ours.instances, ours.clients, ours.logger) == (1, 1, 0, None)
    assert ours.turns >= 4
    assert ours.journal_bytes > 100
    assert ours.manager.memory_bytes
    assert ours.manager.memory_bytes > 1 << 20
    assert ours.manager.wakeups is not None
    assert ours.manager.descriptors
    assert ours.manager.descriptors > 3
