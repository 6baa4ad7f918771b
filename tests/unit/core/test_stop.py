"""The way down: drain, stop command, ladder, kill; and what is asked for on the way."""
from __future__ import annotations

import pytest

from supervisor.core.stopping import KILL_GRACE_NS
from supervisor.model import event as ev
from supervisor.model.unit import Needs, Ready, Restart, Rung, Start, Stop
from tests.unit.core.kit import Bench, S, edges, service

ALL = ["signal web 15 all", "signal web 18 all"]
MAIN = ["signal web 15 main", "signal web 18 main"]
KILL = ["kill web", "watch web"]
RUNGS = (Rung(2, 10), Rung(15, 0), Rung(3, 20))


def stopping(**stop: object) -> Bench:
    """A service that was up and has been asked to stop."""
    return Bench(service(stop=Stop(**stop))).up("web").stop("web")  # type: ignore[arg-type]


# --- the ladder -------------------------------------------------------------------------------


def test_the_default_is_sigterm_then_ten_seconds_then_the_end() -> None:
    bench = stopping()
    assert (bench["web"].phase, bench.asked(), bench.left()) == ("stopping", ALL, 10 * S)
    bench.after(10 * S - 1)
    assert bench["web"].phase == "stopping"
    bench.after(1)
    assert (bench["web"].phase, bench.asked()) == ("killing", KILL)
    bench.killed("web", 9)
    assert (bench["web"].phase, bench["web"].goal) == ("down", "down")
    assert bench.asked() == ["release web"]


def test_a_ladder_has_as_many_rungs_as_it_likes() -> None:
    bench = stopping(ladder=RUNGS)
    assert bench.asked() == ["signal web 2 all", "signal web 18 all"]
    bench.after(10)  # the second rung waits for nothing
    assert bench.asked() == [*ALL, "signal web 3 all", "signal web 18 all"]
    bench.after(19)
    assert bench.asked() == []
    bench.after(1)
    assert bench.asked() == KILL


def test_an_empty_ladder_kills_at_once() -> None:
    bench = stopping(ladder=())
    assert (bench["web"].phase, bench.asked()) == ("killing", KILL)


def test_sigkill_as_a_rung_is_followed_by_no_sigcont() -> None:
    bench = stopping(ladder=(Rung(9, 5),))
    assert bench.asked() == ["signal web 9 all"]


def test_only_the_first_rung_can_be_for_the_main_process_alone() -> None:
    bench = stopping(ladder=(Rung(15, 10), Rung(15, 10)), scope="main")
    assert bench.asked() == MAIN
    bench.after(10)
    assert bench.asked() == ALL


def test_an_end_in_time_ends_the_stop() -> None:
    bench = stopping().killed("web")
    assert bench["web"].phase == "down"
    assert (bench["web"].cause, bench["web"].last_exit) == ("asked to stop", "killed by SIGTERM")
    assert bench.world.deadline() == 0


def test_what_is_left_behind_is_waited_for_and_then_killed() -> None:
    bench = stopping()
    bench.asked()
    bench.killed("web", empty=False)
    assert (bench["web"].phase, bench.asked()) == ("stopping", ["watch web"])
    bench.after(10 * S)
    assert bench.asked() == KILL
    bench.tell("web", ev.Empty())
    assert bench["web"].phase == "down"


def test_emptiness_alone_does_not_end_what_has_a_main_process() -> None:
    """Its exit is still to be heard of: only that tells how it ended."""
    bench = stopping(ladder=()).tell("web", ev.Empty())
    assert bench["web"].phase == "killing"
    bench.killed("web", 9)
    assert bench["web"].phase == "down"


def test_a_service_can_ask_for_more_time_to_stop() -> None:
    bench = stopping().tell("web", ev.Notified(extend_ns=100 * S))
    assert bench.left() == 100 * S


# --- drain and command ------------------------------------------------------------------------


def test_drain_and_command_come_before_the_ladder() -> None:
    bench = stopping(drain_ns=7, command=("bye",), ladder=(Rung(15, 10),))
    assert (bench.asked(), bench.left()) == (["drain web"], 7)
    bench.after(7)
    assert (bench.asked(), bench.left()) == (["launch web stop 0"], 10)
    bench.after(10)
    assert bench.asked() == ["signal web 9 main", *ALL]
    bench.after(10)
    assert bench.asked() == KILL


def test_a_drain_without_a_command_is_followed_by_the_ladder() -> None:
    bench = stopping(drain_ns=7)
    bench.asked()
    bench.after(7)
    assert bench.asked() == ALL


def test_a_stop_command_that_fails_is_followed_by_the_ladder() -> None:
    bench = stopping(command=("bye",))
    bench.asked()
    bench.job_exited("web", 1)
    assert bench.asked() == ALL


@pytest.mark.parametrize("alive", [True, False])
def test_a_stop_command_that_cannot_be_launched_is_followed_by_the_ladder(alive: bool) -> None:
    bench = stopping(command=("bye",))
    bench.asked()
    bench.tell("web", ev.LaunchFailed(bench["web"].job, "no such command", alive))
    if alive:
        bench.job_exited("web", 127)
    assert (bench.asked(), bench["web"].result) == (ALL, "")


def test_a_stop_command_that_ends_last_ends_the_stop() -> None:
    bench = stopping(command=("bye",))
    bench.asked()
    bench.gone("web")
    assert bench["web"].phase == "stopping"
    bench.job_exited("web", empty=True)
    assert (bench["web"].phase, bench["web"].cause) == ("down", "asked to stop")


def test_a_stop_command_and_emptiness_can_come_in_either_order() -> None:
    bench = stopping(command=("bye",)).killed("web", empty=False).tell("web", ev.Empty())
    assert bench["web"].phase == "stopping"
    bench.job_exited("web", empty=False)
    assert bench["web"].phase == "down"


def test_a_daemon_is_stopped_by_its_command_too() -> None:
    unit = service(start=Start(Ready("exit")), stop=Stop(command=("bye",)))
    bench = Bench(unit).up("web").exited("web", empty=False).stop("web")
    assert bench["web"].phase == "stopping"
    assert bench.asked() == ["watch web", "watch web", "launch web stop 0"]


def test_what_never_served_needs_no_drain_and_no_command() -> None:
    start = Start(before=(("a",),))
    unit = service(start=start, stop=Stop(drain_ns=7, command=("bye",)))
    bench = Bench(unit).start("web")
    bench.asked()
    bench.stop("web")
    assert bench.asked() == ["signal web 9 main", "watch web", *ALL]


# --- killing ----------------------------------------------------------------------------------


def test_what_survives_sigkill_is_called_unkillable_and_still_waited_for() -> None:
    bench = stopping(ladder=()).after(KILL_GRACE_NS - 1)
    assert not bench["web"].stuck
    bench.after(1)
    inst = bench["web"]
    assert (inst.phase, inst.stuck, inst.cause) == ("killing", True, "it survives SIGKILL")
    bench.asked()
    since = inst.since_ns
    bench.after(KILL_GRACE_NS)  # it may have been impossible the last time: try again
    assert (bench.asked(), inst.since_ns) == (KILL, since)
    bench.killed("web", 9)
    assert (inst.phase, inst.stuck) == ("down", False)


def test_what_forks_while_it_is_killed_is_killed_again() -> None:
    bench = stopping(ladder=())
    bench.asked()
    bench.killed("web", 9, empty=False)
    assert bench.asked() == KILL


# --- frozen -----------------------------------------------------------------------------------


def test_what_is_frozen_is_thawed_to_hear_its_signal() -> None:
    bench = Bench(service()).up("web").tell("web", ev.Froze(frozen=True)).stop("web")
    assert bench.asked() == ["thaw web", *ALL]
    bench.tell("web", ev.Froze(frozen=True)).after(10 * S)
    assert bench.asked() == ["thaw web", *KILL]


# --- requests in every phase ------------------------------------------------------------------

UNIT = service(start=Start(Ready("notify"), timeout_ns=900), restart=Restart(delay_ns=50))
PHASES = (
    "down", "waiting", "launching", "starting", "up", "stopping", "killing", "finishing", "backoff",
    "failed",
)  # fmt: skip


def in_phase(phase: str) -> Bench:
    """A service with goal up that has come to `phase` by itself."""
    never = service(restart=Restart("never"))
    if phase in ("failed", "down"):
        return Bench(never).up("web").exited("web", int(phase == "failed"))
    if phase == "waiting":
        needy = service(start=UNIT.start, needs=Needs(requires=edges("db")))
        return Bench(service("db", start=UNIT.start), needy).start("web")
    bench = Bench(UNIT).start("web")
    if phase == "launching":
        return bench
    bench.execed("web")
    if phase == "starting":
        return bench
    bench.tell("web", ev.Ready())
    if phase == "finishing":
        bench.exited("web", 1, empty=False)
    elif phase in ("stopping", "killing"):
        bench.tell("web", ev.Notified(watchdog="trigger"))
        if phase == "killing":
            bench.after(10 * S).after(10 * S)
    elif phase == "backoff":
        bench.exited("web", 1)
    return bench


def settle(bench: Bench) -> str:
    """Let everything end and begin that is under way; what phase it comes to rest in."""
    for _ in range(9):
        inst = bench["web"]
        if inst.phase == "launching":
            bench.execed("web")
        elif inst.phase == "starting":
            bench.tell("web", ev.Ready())
        elif inst.phase in ("stopping", "killing", "finishing"):
            if inst.launch:
                bench.killed("web")
            else:
                bench.tell("web", ev.Empty())
        elif inst.phase == "waiting" and bench["db"].phase == "launching":
            bench.execed("db").tell("db", ev.Ready())
        elif inst.phase == "backoff":
            bench.after(S)
    return str(bench["web"].phase)


@pytest.mark.parametrize("phase", PHASES)
def test_the_phases_can_be_reached(phase: str) -> None:
    assert in_phase(phase)["web"].phase == phase


@pytest.mark.parametrize("phase", PHASES)
def test_a_start_leads_up_from_everywhere(phase: str) -> None:
    bench = in_phase(phase).start("web")
    assert settle(bench) == "up"
    assert (bench["web"].goal, bench["web"].again) == ("up", False)


@pytest.mark.parametrize("phase", PHASES)
def test_a_stop_leads_down_from_everywhere(phase: str) -> None:
    bench = in_phase(phase).stop("web")
    assert settle(bench) == ("failed" if phase == "failed" else "down")
    assert (bench["web"].goal, bench["web"].again) == ("down", False)


@pytest.mark.parametrize("phase", PHASES)
def test_a_restart_leads_up_from_everywhere(phase: str) -> None:
    bench = in_phase(phase)
    launch = bench["web"].launch
    bench.restart("web")
    assert settle(bench) == "up"
    assert bench["web"].launch > launch, "it is another run"
    assert not bench["web"].again


@pytest.mark.parametrize("phase", ["stopping", "killing", "finishing"])
def test_the_last_word_counts(phase: str) -> None:
    assert settle(in_phase(phase).stop("web").start("web")) == "up"
    assert settle(in_phase(phase).start("web").stop("web")) == "down"
    assert settle(in_phase(phase).restart("web").stop("web")) == "down"


def test_a_stop_during_a_hook_kills_the_hook() -> None:
    bench = Bench(service(start=Start(before=(("a",),)))).start("web").execed("web")
    bench.asked()
    bench.stop("web")
    assert bench.asked()[0] == "signal web 9 main"
    bench.tell("web", ev.Empty())
    assert bench["web"].phase == "down"


def test_a_hook_that_was_not_launched_yet_never_is() -> None:
    bench = Bench(service(start=Start(before=(("a",),)))).start("web").stop("web")
    assert bench.asked() == ["watch web", *ALL]


def test_a_restart_of_the_waiting_is_no_news() -> None:
    bench = in_phase("waiting")
    since = bench["web"].since_ns
    bench.after(5).restart("web")
    assert (bench["web"].phase, bench["web"].since_ns) == ("waiting", since)


def test_an_exec_that_a_stop_has_overtaken_still_tells_the_pid() -> None:
    bench = Bench(UNIT).start("web").stop("web").execed("web")
    assert (bench["web"].phase, bench["web"].pid) == ("stopping", 1001)


def test_a_launch_that_fails_after_a_stop_ends_the_stop() -> None:
    for alive in (True, False):
        bench = Bench(UNIT).start("web").stop("web")
        bench.tell("web", ev.LaunchFailed(1, "no such file", alive))
        bench.tell("web", ev.Exited(1, 1, 127, True)).tell("web", ev.Empty())
        assert (bench["web"].phase, bench["web"].cause) == ("down", "no such file")


