"""What one run, or one request, must not leave to the next; and what must not get lost between."""

from __future__ import annotations

import pytest

from supervisor.core.stopping import KILL_GRACE_NS
from supervisor.model import event as ev
from supervisor.model.unit import Needs, Ready, Restart, Rung, Start, Stop
from tests.unit.core.kit import Bench, S, edges, service

ALWAYS = Restart("always", delay_ns=0, limit=None)
NOTIFY = Start(Ready("notify"))


# --- from one run to the next -----------------------------------------------------------------


@pytest.mark.parametrize("empty", [True, False])
def test_a_reload_ends_with_the_run_that_began_it(empty: bool) -> None:
    bench = Bench(service(restart=ALWAYS)).up("web").tell("web", ev.Notified(reloading=True))
    bench.exited("web", 1, empty)
    if not empty:
        bench.tell("web", ev.Empty())
    bench.execed("web")
    assert (bench["web"].phase, bench["web"].reloading) == ("up", False)


def test_what_it_said_of_itself_is_not_said_of_its_next_run() -> None:
    bench = Bench(service(restart=ALWAYS)).up("web").tell("web", ev.Notified(status="serving"))
    bench.exited("web", 1)
    assert (bench["web"].phase, bench["web"].status_text) == ("launching", "")


def test_what_was_killed_while_frozen_does_not_start_frozen() -> None:
    bench = Bench(service(restart=ALWAYS)).up("web").tell("web", ev.Froze(frozen=True))
    bench.killed("web", 9)
    assert bench.asked() == ["thaw web", "launch web"]
    assert not bench["web"].frozen


def test_a_start_during_the_stop_of_what_was_skipped_is_not_skipped() -> None:
    unit = service(start=Start(before=(("a",), ("b",))))
    bench = Bench(unit).start("web").job_exited("web")
    bench.tell("web", ev.Skipped(bench["web"].job, "no such path"))
    assert (bench["web"].phase, bench["web"].skipped) == ("stopping", True)
    bench.start("web").tell("web", ev.Empty())
    assert (bench["web"].phase, bench["web"].skipped) == ("launching", False)


# --- what it says before the word of its exec has come ----------------------------------------


def test_a_main_pid_may_reach_us_before_the_exec() -> None:
    bench = Bench(service(start=NOTIFY)).start("web").tell("web", ev.Notified(pid=77))
    assert bench.execed("web")["web"].pid == 77


def test_a_watchdog_interval_may_reach_us_before_the_exec() -> None:
    start = Start(Ready("notify"), watchdog_ns=5 * S)
    bench = Bench(service(start=start)).start("web").tell("web", ev.Notified(watchdog_ns=3 * S))
    bench.execed("web").tell("web", ev.Ready())
    assert (bench["web"].phase, bench.left()) == ("up", 3 * S)
    bench.stop("web").gone("web").start("web").execed("web").tell("web", ev.Ready())
    assert bench.left() == 5 * S, "the next run has its own again"


# --- causes -----------------------------------------------------------------------------------


def test_a_stop_that_was_held_back_keeps_its_cause_though_it_becomes_ready_meanwhile() -> None:
    web = service(needs=Needs(after=edges("db", until="started")))
    bench = Bench(service("db", start=NOTIFY), web).start("db", "web").execed("db", "web")
    bench.stop("db", "web")
    assert bench.phases("db", "web") == ["starting", "stopping"]
    bench.tell("db", ev.Ready())
    assert bench["db"].phase == "up"
    bench.gone("web")
    assert (bench["db"].phase, bench["db"].cause) == ("stopping", "asked to stop")


def test_a_start_during_a_stop_is_the_cause_of_the_next_run() -> None:
    bench = Bench(service()).up("web").stop("web").start("web").gone("web")
    assert (bench["web"].phase, bench["web"].cause) == ("launching", "asked to start")


def test_a_restart_that_is_called_off_is_not_the_cause_of_the_end() -> None:
    bench = Bench(service()).up("web").restart("web").stop("web").gone("web")
    assert (bench["web"].phase, bench["web"].cause) == ("down", "asked to stop")


def test_a_second_stop_is_not_the_cause_of_the_first() -> None:
    bench = Bench(service()).up("web").stop("web")
    bench.tell("web", ev.GoDown("the supervisor stops")).gone("web")
    assert bench["web"].cause == "asked to stop"


# --- ends -------------------------------------------------------------------------------------


@pytest.mark.parametrize("signal", [1, 2, 13, 15])
def test_a_task_that_was_killed_has_not_finished(signal: int) -> None:
    web = service(needs=Needs(requires=edges("job", until="finished")))
    job = service("job", kind="task", restart=Restart("never"))
    bench = Bench(job, web).start("web").execed("job").killed("job", signal)
    assert bench.phases("job", "web") == ["failed", "failed"]
    assert (bench["job"].ended, bench["job"].finished) == ("abnormal", False)


def test_a_hung_daemon_that_forked_has_neither_drain_nor_stop_command() -> None:
    start = Start(Ready("exit"), watchdog_ns=S)
    stop = Stop((Rung(15, 50),), command=("bye",), drain_ns=7)
    bench = Bench(service(start=start, stop=stop)).start("web").execed("web")
    bench.exited("web", empty=False)
    assert (bench["web"].phase, bench["web"].launch) == ("up", 0)
    bench.asked()
    bench.after(S)
    assert bench.asked() == ["watch web", "signal web 15 all", "signal web 18 all"]


def test_the_end_of_a_shutdown_leaves_what_was_just_killed_its_time_to_die() -> None:
    bench = Bench(service(stop=Stop(ladder=()))).up("web").stop("web")
    assert bench["web"].phase == "killing"
    bench.now += 1
    bench.world.kill_all(bench.now)
    assert (bench["web"].stuck, bench.world.closed) == (False, False)
    bench.after(KILL_GRACE_NS)
    assert (bench["web"].stuck, bench.world.closed) == (True, True)
