"""While it is up: watchdog, age, memory, reload, freezing, what it says of itself."""
from __future__ import annotations

from typing import Any

import pytest

from supervisor.core.starting import MEASURE_NS
from supervisor.model import event as ev
from supervisor.model.unit import Ready, Reload, Restart, Rung, Start, Stop
from tests.unit.core.kit import Bench, S, service

ALWAYS = Restart("always", delay_ns=0)


def watched(interval: int = 100) -> Bench:
    start = Start(Ready("notify"), watchdog_ns=interval)
    unit = service(start=start, restart=ALWAYS, stop=Stop((Rung(15, 50),)))
    bench = Bench(unit).up("web").tell("web", ev.Ready())
    bench.asked()
    return bench


# --- watchdog ---------------------------------------------------------------------------------


def test_a_ping_moves_the_watchdog() -> None:
    bench = watched()
    for _ in range(5):
        bench.after(99).tell("web", ev.Notified(watchdog="ping"))
    assert (bench["web"].phase, bench.left()) == ("up", 100)


def test_anything_else_that_it_says_is_no_ping() -> None:
    bench = watched().after(60).tell("web", ev.Notified(status="fine"))
    assert bench.left() == 40


def test_silence_is_answered_with_sigabrt_then_the_ladder_then_a_restart() -> None:
    bench = watched().after(100)
    assert (bench["web"].phase, bench["web"].cause) == ("stopping", "no watchdog ping for 100ns")
    assert bench.asked() == ["signal web 6 main", "signal web 18 main"]
    bench.after(50)
    assert bench.asked() == ["signal web 15 all", "signal web 18 all"]
    bench.killed("web", 6)
    assert (bench["web"].phase, bench["web"].restarts) == ("launching", 1)


@pytest.mark.parametrize("ready", [False, True])
def test_it_may_report_itself_hung(ready: bool) -> None:
    bench = Bench(service(start=Start(Ready("notify")))).up("web")
    if ready:
        bench.tell("web", ev.Ready())
    bench.tell("web", ev.Notified(watchdog="trigger"))
    assert (bench["web"].phase, bench["web"].ended) == ("stopping", "abnormal")
    assert bench.asked()[0] == "signal web 6 main"


def test_the_watchdog_begins_with_readiness() -> None:
    bench = Bench(service(start=Start(Ready("notify"), watchdog_ns=100))).up("web").after(500)
    assert bench["web"].phase == "starting"
    bench.tell("web", ev.Ready())
    assert bench.left() == 100


def test_a_service_may_change_its_interval_or_end_it() -> None:
    bench = watched().tell("web", ev.Notified(watchdog_ns=700))
    assert bench.left() == 700
    bench.tell("web", ev.Notified(watchdog_ns=0))
    assert bench.world.deadline() == 0
    bench.tell("web", ev.Notified(watchdog_ns=5, watchdog="ping"))
    assert bench.left() == 5


def test_the_next_run_has_the_units_interval_again() -> None:
    bench = watched().tell("web", ev.Notified(watchdog_ns=700)).exited("web", 1)
    bench.execed("web").tell("web", ev.Ready())
    assert bench.left() == 100


def test_what_is_frozen_cannot_ping_and_need_not() -> None:
    bench = watched().after(60).tell("web", ev.Froze(frozen=True)).after(S)
    assert (bench["web"].phase, bench["web"].frozen) == ("up", True)
    bench.tell("web", ev.Notified(watchdog="ping"))
    assert bench.world.deadline() == 0
    bench.tell("web", ev.Froze(frozen=False))
    assert (bench["web"].frozen, bench.left()) == (False, 100)


# --- age and memory ---------------------------------------------------------------------------


def test_what_has_reached_its_age_is_restarted_by_no_ones_fault() -> None:
    bench = Bench(service(restart=Restart("never", max_age_ns=1000))).up("web").after(999)
    assert bench["web"].phase == "up"
    bench.after(1)
    assert (bench["web"].phase, bench["web"].cause) == ("stopping", "it reached restart.max_age")
    bench.killed("web", 9)
    assert (bench["web"].phase, bench["web"].restarts) == ("launching", 0)


def test_ages_are_spread_by_their_jitter() -> None:
    unit = service(instances=20, restart=Restart(max_age_ns=1000, max_age_jitter_ns=500))
    bench = Bench(unit).up("web")
    ages = [i.age_due_ns - bench.now for i in bench.world.instances.values()]
    assert all(1000 <= age < 1500 for age in ages)
    assert len(set(ages)) > 10


def test_memory_is_looked_at_now_and_then_and_its_excess_recycles() -> None:
    bench = Bench(service(restart=Restart("never", memory_budget_bytes=1 << 20))).up("web")
    for _ in range(3):
        bench.after(MEASURE_NS)
        assert bench.asked() == ["measure web"]
        bench.tell("web", ev.Measured(1 << 20))
        assert bench["web"].phase == "up"
    bench.tell("web", ev.Measured((1 << 20) + 1))
    assert bench["web"].phase == "stopping"
    assert bench["web"].cause == "it uses 1 MiB, over restart.memory_budget"
    assert bench.gone("web")["web"].phase == "launching"


def test_without_a_budget_nothing_is_measured_or_minded() -> None:
    bench = Bench(service()).up("web").tell("web", ev.Measured(1 << 50))
    assert (bench["web"].phase, bench.world.deadline()) == ("up", 0)


def test_nothing_is_left_due_of_a_run_that_ended() -> None:
    restart = Restart("never", max_age_ns=S, memory_budget_bytes=1)
    bench = Bench(service(start=Start(watchdog_ns=S), restart=restart)).up("web").exited("web", 1)
    assert (bench["web"].phase, bench.world.deadline()) == ("failed", 0)


# --- reload -----------------------------------------------------------------------------------


def reloading(reload: Reload, **fields: Any) -> Bench:
    bench = Bench(service(reload=reload, **fields)).up("web").tell("web", ev.Reloaded("asked"))
    assert bench["web"].phase == ("stopping" if reload.kind == "restart" else "up")
    return bench


def test_a_reload_is_a_signal_to_the_main_process() -> None:
    assert reloading(Reload("signal", 10)).asked() == ["signal web 10 main"]


def test_or_a_command_one_at_a_time() -> None:
    bench = reloading(Reload("command", command=("x",)))
    bench.tell("web", ev.Reloaded("asked"))
    assert bench.asked() == ["launch web reload 0"]
    bench.job_exited("web", 1)
    assert (bench["web"].phase, bench["web"].job) == ("up", 0)
    bench.tell("web", ev.Reloaded("asked"))
    assert bench.asked() == ["launch web reload 0"]


@pytest.mark.parametrize("alive", [False, True])
def test_a_reload_command_that_cannot_be_launched_harms_nobody(alive: bool) -> None:
    bench = reloading(Reload("command", command=("x",)))
    bench.tell("web", ev.LaunchFailed(bench["web"].job, "no such file", alive))
    if alive:
        bench.job_exited("web", 127)
    assert (bench["web"].phase, bench["web"].job, bench["web"].result) == ("up", 0, "")


def test_or_a_restart() -> None:
    bench = reloading(Reload("restart"), restart=Restart("never"))
    assert bench.gone("web")["web"].phase == "launching"


def test_the_reload_command_of_what_ends_is_killed() -> None:
    bench = reloading(Reload("command", command=("x",)), restart=Restart("never"))
    bench.asked()
    bench.exited("web", 1, empty=False)
    assert bench["web"].phase == "finishing"
    assert bench.asked()[0] == "signal web 9 main"


def test_it_says_when_it_reloads_and_when_it_is_done() -> None:
    bench = watched().tell("web", ev.Notified(reloading=True))
    assert bench["web"].reloading
    bench.tell("web", ev.Ready())
    assert (bench["web"].phase, bench["web"].reloading) == ("up", False)


# --- what it says -----------------------------------------------------------------------------


def test_status_text_and_main_pid_are_taken_over() -> None:
    bench = watched().tell("web", ev.Notified(status="serving", pid=77))
    assert (bench["web"].status_text, bench["web"].pid) == ("serving", 77)
    bench.tell("web", ev.Notified(stopping=True))
    assert bench["web"].status_text == "serving"


def test_a_stop_by_itself_is_told_if_it_says_nothing_better() -> None:
    assert watched().tell("web", ev.Notified(stopping=True))["web"].status_text


def test_an_end_with_leftovers_is_finished_first() -> None:
    bench = watched().exited("web", 1, empty=False)
    assert (bench["web"].phase, bench["web"].cause) == ("finishing", "main process: exit 1")
    assert bench.asked() == ["watch web", "signal web 15 all", "signal web 18 all"]
    bench.tell("web", ev.Empty())
    assert bench["web"].phase == "launching"


def test_an_end_that_stopped_others_says_so() -> None:
    bench = Bench(service(restart=Restart("never"))).up("web")
    bench.exited("web", 0, empty=False).tell("web", ev.Empty())
    inst = bench["web"]
    assert (inst.phase, inst.cause) == ("down", "exit 0; what it left running was stopped")


def test_emptiness_that_was_true_of_an_earlier_run_ends_nothing() -> None:
    bench = watched().tell("web", ev.Empty()).exited("web", 1, empty=False)
    assert bench["web"].phase == "finishing"


