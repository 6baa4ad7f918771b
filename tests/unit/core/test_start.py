"""From waiting to up: hooks, the kinds of readiness, and the ways in which a start fails."""
from __future__ import annotations

from typing import Any

import pytest

from supervisor.model import event as ev
from supervisor.model.unit import Ready, Restart, Start, Stop, Unit
from tests.unit.core.kit import MS, Bench, S, service

NEVER = Restart("never")
HOOKS = Start(before=(("a",), ("b",)), after=(("c",), ("d",)))


def a_service(kind: str = "exec", **fields: Any) -> Unit:
    start = Start(Ready(kind), timeout_ns=1000)  # type: ignore[arg-type]
    return service(start=start, restart=NEVER, **fields)


# --- readiness --------------------------------------------------------------------------------


def test_without_more_the_exec_is_the_readiness() -> None:
    bench = Bench(a_service()).start("web")
    assert (bench["web"].phase, bench.asked()) == ("launching", ["launch web"])
    bench.execed("web")
    assert (bench["web"].phase, bench["web"].pid) == ("up", 1001)
    assert bench.world.deadline() == 0


@pytest.mark.parametrize("kind", ["notify", "fd"])
def test_what_speaks_for_itself_is_ready_when_it_says_so(kind: str) -> None:
    bench = Bench(a_service(kind)).start("web").execed("web")
    assert bench["web"].phase == "starting"
    bench.tell("web", ev.Ready())
    assert bench["web"].phase == "up"
    assert bench.asked() == ["launch web"]


@pytest.mark.parametrize("kind", ["notify", "fd"])
def test_readiness_may_reach_us_before_the_exec(kind: str) -> None:
    bench = Bench(a_service(kind)).start("web").tell("web", ev.Ready())
    assert (bench["web"].phase, bench["web"].pid) == ("up", 0)
    bench.execed("web")
    assert (bench["web"].phase, bench["web"].pid) == ("up", 1001)


def test_a_hook_cannot_make_its_service_ready() -> None:
    start = Start(Ready("notify"), before=(("a",),))
    bench = Bench(service(start=start)).start("web").tell("web", ev.Ready())
    assert bench["web"].phase == "launching"


@pytest.mark.parametrize("kind", ["log", "exit"])
def test_other_kinds_are_not_ready_before_their_exec(kind: str) -> None:
    bench = Bench(a_service(kind)).start("web").tell("web", ev.Ready())
    assert bench["web"].phase == "launching"


def test_what_a_log_said_counts_from_the_launch_and_not_from_when_we_heard_of_it() -> None:
    start = Start(Ready("log"), before=(("a",),))
    bench = Bench(service(start=start)).start("web").execed("web").after(5 * MS)
    bench.job_exited("web", empty=True)
    launched = bench.now
    bench.after(7 * MS).execed("web")
    assert bench["web"].phase == "starting"
    assert (bench["web"].launched_ns, bench["web"].since_ns) == (launched, launched + 7 * MS)


def test_a_log_is_watched_and_the_watchers_success_is_the_readiness() -> None:
    bench = Bench(a_service("log")).start("web").execed("web")
    assert bench["web"].phase == "starting"
    assert bench.asked() == ["launch web", "launch web ready 0"]
    bench.job_exited("web")
    assert bench["web"].phase == "up"


def test_a_watcher_that_fails_fails_the_start() -> None:
    bench = Bench(a_service("log")).start("web").execed("web").job_exited("web", 1)
    assert (bench["web"].phase, bench["web"].cause) == ("stopping", "its log watcher: exit 1")
    bench.gone("web")
    assert bench["web"].phase == "failed"


def test_the_watcher_of_a_service_that_ends_is_killed() -> None:
    bench = Bench(a_service("log")).start("web").execed("web")
    bench.asked()
    bench.exited("web", 3)
    assert bench.asked() == ["signal web 9 main", "release web"]
    assert bench["web"].cause == "it ended before it was ready: exit 3"


def test_a_daemon_is_ready_when_its_first_process_ends_and_others_stay() -> None:
    bench = Bench(a_service("exit")).start("web").execed("web").exited("web", empty=False)
    assert (bench["web"].phase, bench["web"].launch, bench["web"].pid) == ("up", 0, 0)
    assert bench.asked() == ["launch web", "watch web"]
    bench.tell("web", ev.Empty())
    assert (bench["web"].phase, bench["web"].last_exit) == ("down", "all its processes ended")


def test_a_daemon_that_leaves_nothing_has_ended() -> None:
    bench = Bench(a_service("exit")).start("web").execed("web").exited("web")
    assert (bench["web"].phase, bench["web"].ended) == ("down", "clean")


def test_a_daemon_with_another_status_failed() -> None:
    bench = Bench(a_service("exit")).start("web").execed("web").exited("web", 2)
    assert bench["web"].phase == "failed"
    unit = service(start=Start(Ready("exit", code=2)), restart=NEVER)
    bench = Bench(unit).start("web").execed("web").exited("web", 2, empty=False)
    assert bench["web"].phase == "up"


def test_a_daemon_that_dies_while_its_hook_runs_never_was_up() -> None:
    unit = service(start=Start(Ready("exit"), after=(("c",),)), restart=NEVER)
    bench = Bench(unit).start("web").execed("web").exited("web", empty=False)
    assert bench["web"].phase == "starting"
    bench.job_exited("web", empty=True)
    assert (bench["web"].phase, bench["web"].cause) == ("failed", "it ended before it was ready")


# --- hooks ------------------------------------------------------------------------------------


def test_hooks_run_one_by_one_around_the_main_process() -> None:
    bench = Bench(service(start=HOOKS)).start("web")
    assert bench.asked() == ["launch web before 0"]
    bench.execed("web").job_exited("web")
    assert bench.asked() == ["launch web before 1"]
    bench.execed("web").job_exited("web")
    assert bench.asked() == ["launch web"]
    assert bench["web"].phase == "launching"
    bench.execed("web")
    assert (bench["web"].phase, bench.asked()) == ("starting", ["launch web after 0"])
    bench.execed("web").tell("web", ev.Ready())
    assert bench["web"].phase == "starting"
    bench.job_exited("web")
    assert bench.asked() == ["launch web after 1"]
    bench.job_exited("web")
    assert (bench["web"].phase, bench.asked()) == ("up", [])


def test_hooks_after_readiness_run_after_it() -> None:
    unit = service(start=Start(Ready("notify"), after=(("c",),)))
    bench = Bench(unit).start("web").execed("web")
    assert bench.asked() == ["launch web"]
    bench.tell("web", ev.Ready())
    assert bench.asked() == ["launch web after 0"]
    bench.job_exited("web")
    assert bench["web"].phase == "up"


@pytest.mark.parametrize("number", [0, 1])
def test_a_hook_that_fails_before_the_start_names_itself(number: int) -> None:
    bench = Bench(service(start=HOOKS, restart=NEVER)).start("web")
    for _ in range(number):
        bench.job_exited("web", empty=True)
    bench.job_exited("web", 4, empty=True)
    assert bench["web"].phase == "failed"
    assert bench["web"].cause == f"hook start.before[{number}]: exit 4"


def test_what_a_failed_hook_leaves_behind_is_stopped() -> None:
    bench = Bench(service(start=HOOKS, restart=NEVER)).start("web")
    bench.asked()
    bench.job_exited("web", 4, empty=False)
    assert bench["web"].phase == "stopping"
    assert bench.asked() == ["watch web", "signal web 15 all", "signal web 18 all"]
    bench.tell("web", ev.Empty())
    assert (bench["web"].phase, bench["web"].cause) == ("failed", "hook start.before[0]: exit 4")


def test_a_hook_that_fails_after_the_start_stops_the_service() -> None:
    bench = Bench(service(start=HOOKS, restart=NEVER, stop=Stop(command=("x",)))).start("web")
    bench.job_exited("web").job_exited("web").execed("web")
    bench.asked()
    bench.job_exited("web", 9)
    assert (bench["web"].phase, bench.asked()) == ("stopping", ["launch web stop 0"])
    bench.gone("web").job_exited("web", empty=True)
    assert (bench["web"].phase, bench["web"].cause) == ("failed", "hook start.after[0]: exit 9")


def test_a_hook_that_dies_of_a_signal_names_it() -> None:
    bench = Bench(service(start=HOOKS, restart=NEVER)).start("web")
    bench.tell("web", ev.Exited(bench["web"].job, 3, 11, True))
    assert bench["web"].cause.endswith("killed by SIGSEGV, core dumped")


# --- launches that fail -----------------------------------------------------------------------


def test_a_launch_that_is_refused_fails_at_once() -> None:
    bench = Bench(a_service()).start("web")
    bench.tell("web", ev.LaunchFailed(1, "no such user", alive=False))
    assert (bench["web"].phase, bench["web"].cause) == ("failed", "no such user")
    assert bench.asked() == ["launch web", "release web"]


def test_a_step_that_fails_fails_when_its_process_has_ended() -> None:
    bench = Bench(a_service()).start("web")
    bench.tell("web", ev.LaunchFailed(1, "cannot execute it: no such file", alive=True))
    assert bench["web"].phase == "launching"
    bench.exited("web", 127)
    assert (bench["web"].phase, bench["web"].last_exit) == (
        "failed", "cannot execute it: no such file",
    )  # fmt: skip


@pytest.mark.parametrize("alive", [True, False])
def test_a_hook_that_cannot_be_launched_fails_the_start(alive: bool) -> None:
    bench = Bench(service(start=HOOKS, restart=NEVER)).start("web")
    bench.tell("web", ev.LaunchFailed(1, "no such hook", alive))
    if alive:
        bench.job_exited("web", 127, empty=True)
    assert (bench["web"].phase, bench["web"].job) == ("failed", 0)
    assert "no such hook" in bench["web"].cause


def test_a_refused_launch_after_hooks_waits_until_they_are_gone() -> None:
    bench = Bench(service(start=HOOKS, restart=NEVER)).start("web").job_exited("web")
    bench.tell("web", ev.LaunchFailed(bench["web"].job, "refused", alive=False))
    assert bench["web"].phase == "stopping"
    bench.tell("web", ev.Empty())
    assert (bench["web"].phase, bench["web"].cause) == ("failed", "refused")


def test_a_refused_hook_after_the_start_stops_the_service() -> None:
    bench = Bench(service(start=HOOKS, restart=NEVER)).start("web")
    bench.job_exited("web").job_exited("web").execed("web")
    bench.tell("web", ev.LaunchFailed(bench["web"].job, "refused", alive=False))
    assert bench["web"].phase == "stopping"
    bench.gone("web")
    assert (bench["web"].phase, bench["web"].cause) == ("failed", "refused")


def test_a_failed_watcher_does_not_taint_a_service_that_became_ready() -> None:
    bench = Bench(a_service("log")).start("web").execed("web")
    bench.tell("web", ev.LaunchFailed(bench["web"].job, "no watcher", alive=True))
    bench.tell("web", ev.Ready()).exited("web")
    assert (bench["web"].phase, bench["web"].ended) == ("down", "clean")


def test_an_end_before_readiness_is_a_failure_even_with_status_0() -> None:
    bench = Bench(a_service("notify")).start("web").execed("web").exited("web")
    assert (bench["web"].phase, bench["web"].ended) == ("failed", "unclean")
    bench = Bench(a_service("notify")).start("web").execed("web").killed("web", 11)
    assert (bench["web"].phase, bench["web"].ended) == ("failed", "abnormal")


# --- time -------------------------------------------------------------------------------------


@pytest.mark.parametrize("upto", ["hook", "launch", "exec", "after"])
def test_a_start_has_one_time_limit_for_all_its_stages(upto: str) -> None:
    start = Start(Ready("notify"), timeout_ns=1000, before=(("a",),), after=(("c",),))
    bench = Bench(service(start=start, restart=NEVER)).start("web").after(300)
    if upto != "hook":
        bench.job_exited("web").after(300)
    if upto in ("exec", "after"):
        bench.execed("web").after(300)
    if upto == "after":
        bench.tell("web", ev.Ready())
    before = bench["web"].phase
    bench.after(bench.left() - 1)
    assert bench["web"].phase == before
    bench.after(1)
    assert bench["web"].phase == "stopping"
    assert bench["web"].cause == "not ready within start.timeout (1e-06 s)"


def test_a_timeout_fails_the_start_when_everything_is_gone() -> None:
    bench = Bench(a_service("notify")).start("web").execed("web").after(1000)
    bench.gone("web")
    assert (bench["web"].phase, bench["web"].ended) == ("failed", "abnormal")


def test_without_a_limit_a_start_may_take_for_ever() -> None:
    start = Start(Ready("notify"), timeout_ns=0)
    bench = Bench(service(start=start)).start("web").execed("web")
    assert bench.world.deadline() == 0


def test_a_service_can_ask_for_more_time() -> None:
    bench = Bench(a_service("notify")).start("web").execed("web")
    bench.tell("web", ev.Notified(extend_ns=5 * S))
    assert bench.left() == 5 * S
    bench.tell("web", ev.Notified(extend_ns=1))
    assert bench.left() == 5 * S
    bench.after(S).tell("web", ev.Ready())
    assert bench["web"].phase == "up"


def test_readiness_ends_the_time_limit() -> None:
    bench = Bench(a_service("notify")).start("web").execed("web").tell("web", ev.Ready())
    bench.after(10 * MS)
    assert bench["web"].phase == "up"


# --- conditions, tasks, groups ----------------------------------------------------------------


def test_a_condition_that_does_not_hold_skips_the_start() -> None:
    bench = Bench(a_service()).start("web")
    bench.tell("web", ev.Skipped(1, "path_exists /x does not hold"))
    inst = bench["web"]
    assert (inst.phase, inst.goal, inst.skipped) == ("down", "down", True)
    assert inst.cause == "path_exists /x does not hold"
    assert bench.asked() == ["launch web", "release web"]
    bench.start("web")
    assert (inst.phase, inst.skipped) == ("launching", False)


def test_a_task_that_ends_well_is_finished() -> None:
    bench = Bench(service("job", kind="task")).up("job").exited("job")
    inst = bench["job"]
    assert (inst.phase, inst.goal, inst.finished) == ("down", "down", True)
    assert bench.asked() == ["release job"]
    bench.start("job")
    assert (inst.phase, inst.finished) == ("launching", False)


def test_what_a_finished_task_leaves_behind_is_stopped_first() -> None:
    bench = Bench(service("job", kind="task")).up("job").exited("job", empty=False)
    assert bench["job"].phase == "finishing"
    bench.tell("job", ev.Empty())
    assert bench["job"].finished


def test_a_task_that_fails_is_tried_again_as_its_policy_says() -> None:
    bench = Bench(service("job", kind="task")).up("job").exited("job", 1)
    assert bench["job"].phase == "backoff"
    bench = Bench(service("job", kind="task", restart=NEVER)).up("job").exited("job", 1)
    assert (bench["job"].phase, bench["job"].finished) == ("failed", False)
