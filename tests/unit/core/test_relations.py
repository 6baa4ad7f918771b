"""Needs and order between units: what a start starts and waits for, what a stop takes along."""
from __future__ import annotations

import pytest

from supervisor.model import event as ev
from supervisor.model.unit import Needs, Ready, Restart, Start
from tests.unit.core.kit import Bench, S, edges, needy, service

NOTIFY = Start(Ready("notify"), timeout_ns=0)
NEVER = Restart("never")


# --- starts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("relation", ["requires", "wants", "binds_to"])
def test_a_start_starts_what_it_needs_first(relation: str) -> None:
    bench = Bench(needy("web", **{relation: edges("db")}), service("db")).start("web")
    assert bench.phases("web", "db") == ["waiting", "launching"]
    assert bench["db"].cause == "needed by what was asked for (asked to start)"
    assert bench.world.waiting_for(bench["web"]) == ["db to be ready"]
    bench.execed("db")
    assert bench.phases("web", "db") == ["launching", "up"]
    assert bench["web"].cause == "db is ready"


def test_after_only_orders() -> None:
    bench = Bench(needy(after=edges("db")), service("db")).start("web")
    assert bench.phases("web", "db") == ["launching", "down"]
    bench = Bench(needy(after=edges("db")), service("db")).start("web", "db")
    assert bench.phases("web", "db") == ["waiting", "launching"]


def test_before_orders_the_other_way() -> None:
    bench = Bench(service("web"), needy("db", before=edges("web"))).start("web", "db")
    assert bench.phases("web", "db") == ["waiting", "launching"]


@pytest.mark.parametrize("relation", ["requires", "wants", "binds_to"])
def test_without_order_both_start_at_once(relation: str) -> None:
    bench = Bench(needy("web", **{relation: edges("db", order=False)}), service("db")).start("web")
    assert bench.phases("web", "db") == ["launching", "launching"]


def test_how_far_a_need_must_have_come_is_the_edges_to_say() -> None:
    job = service("job", kind="task", start=NOTIFY)
    units = [
        needy("first", requires=edges("job", until="started")),
        needy("second", requires=edges("job", until="ready")),
        needy("third", requires=edges("job", until="finished")),
    ]
    bench = Bench(job, *units).start("first", "second", "third")
    names = "first", "second", "third"
    assert bench.phases(*names) == ["waiting"] * 3
    bench.execed("job")
    assert bench.phases(*names) == ["launching", "waiting", "waiting"]
    bench.tell("job", ev.Ready())
    assert bench.phases(*names) == ["launching", "launching", "waiting"]
    bench.exited("job")
    assert bench.phases(*names) == ["launching"] * 3
    assert bench["third"].cause == "job has finished"


def test_every_instance_of_a_need_must_be_there() -> None:
    bench = Bench(needy(requires=edges("db")), service("db", instances=2)).start("web")
    bench.execed("db/1")
    assert bench["web"].phase == "waiting"
    bench.execed("db/0")
    assert bench["web"].phase == "launching"


def test_needs_of_needs_come_first_of_all() -> None:
    units = needy(requires=edges("api")), needy("api", wants=edges("db")), service("db")
    bench = Bench(*units).start("web")
    for phases in (["waiting", "waiting", "launching"], ["waiting", "launching", "up"],
                   ["launching", "up", "up"]):  # fmt: skip
        assert bench.phases("web", "api", "db") == phases
        bench.execed(*[k for k in ("api", "db") if bench[k].phase == "launching"])


def test_a_hard_need_that_fails_fails_who_waits_and_a_wish_does_not() -> None:
    db = service("db", restart=NEVER)
    bench = Bench(needy(requires=edges("db")), needy("log", wants=edges("db")), db)
    bench.start("web", "log")
    bench.tell("db", ev.LaunchFailed(bench["db"].launch, "no", alive=False))
    assert bench.phases("web", "log", "db") == ["failed", "launching", "failed"]
    assert bench["web"].cause == "it needs db, which failed"
    assert bench.world.why("web")[1].key == "db"


def test_a_need_that_is_skipped_or_finished_is_met() -> None:
    bench = Bench(needy(requires=edges("db")), service("db")).start("web")
    bench.tell("db", ev.Skipped(bench["db"].launch, "not here"))
    assert bench.phases("web", "db") == ["launching", "down"]


def test_a_need_that_ends_by_itself_before_its_time_is_missing() -> None:
    units = needy(requires=edges("db")), service("db", start=Start(after=(("x",),)), kind="task")
    bench = Bench(*units).start("web").execed("db").exited("db").tell("db", ev.Empty())
    assert bench.phases("web", "db") == ["launching", "down"], "a task's success is as good"
    units = needy(requires=edges("db")), service("db", start=Start(Ready("exit")))
    bench = Bench(*units).start("web").execed("db").exited("db")
    assert bench.phases("web", "db") == ["failed", "down"]
    assert bench["web"].cause == "it needs db, which is not running"


def test_who_waits_for_a_need_in_its_crash_loop_goes_on_waiting() -> None:
    bench = Bench(needy(requires=edges("db")), service("db")).start("web")
    bench.tell("db", ev.LaunchFailed(bench["db"].launch, "no", alive=False))
    assert bench.phases("web", "db") == ["waiting", "backoff"]
    bench.after(S).execed("db")
    assert bench.phases("web", "db") == ["launching", "up"]


def test_broken_units_fail_and_say_why() -> None:
    loop = needy("a", after=edges("b")), needy("b", after=edges("a"))
    bench = Bench(*loop, needy(requires=edges("nobody")), needy("c", requires=edges("a")))
    bench.start("a", "web", "c")
    assert bench.phases("a", "web", "c") == ["failed"] * 3
    assert bench["a"].cause == "its order is a cycle: a -> b -> a"
    assert bench["web"].cause == "it requires nobody, which has no unit file"
    assert bench["c"].cause == "it needs a, which failed"


def test_what_runs_is_not_started_again_but_what_failed_is() -> None:
    units = needy(requires=edges("db", "log")), service("db"), service("log", restart=NEVER)
    bench = Bench(*units).up("db", "log").exited("log", 1).start("web")
    assert bench.phases("db", "log") == ["up", "launching"]
    assert bench.asked() == ["release log", "launch log"]


def test_a_finished_task_is_run_again_only_if_it_is_named() -> None:
    units = needy(requires=edges("job", until="finished")), service("job", kind="task")
    bench = Bench(*units).start("web").execed("job").exited("job").execed("web")
    bench.stop("web").gone("web").start("web")
    assert bench.phases("web", "job") == ["launching", "down"]
    bench.start("job")
    assert bench["job"].phase == "launching"


def test_one_instance_is_started_with_what_it_needs_alone() -> None:
    bench = Bench(service(instances=2, needs=Needs(requires=edges("db"))), service("db"))
    bench.world.start_key("web/1", "asked", bench.now)
    assert bench.phases("web/0", "web/1", "db") == ["down", "waiting", "launching"]
    bench.execed("db")
    assert bench.phases("web/0", "web/1") == ["down", "launching"]


# --- stops ------------------------------------------------------------------------------------


def stack() -> Bench:
    """db <- api <- web, and log which only comes after db."""
    units = (
        service("db"), needy("api", requires=edges("db")), needy(requires=edges("api")),
        needy("log", after=edges("db")),
    )  # fmt: skip
    return Bench(*units).up("web", "log")


def test_a_stop_takes_along_what_cannot_be_without_it_the_last_first() -> None:
    bench = stack().stop("db")
    assert bench.phases("db", "api", "web", "log") == ["up", "up", "stopping", "up"]
    assert [bench[k].goal for k in ("db", "api", "web", "log")] == ["down", "down", "down", "up"]
    assert bench.world.waiting_for(bench["db"]) == ["api to stop"]
    assert bench["api"].cause == "it requires db: asked to stop"
    bench.gone("web")
    assert bench.phases("db", "api", "web") == ["up", "stopping", "down"]
    bench.gone("api")
    assert bench.phases("db", "api") == ["stopping", "down"]
    assert bench.gone("db").phases("db") == ["down"]


def test_one_level_stops_in_parallel() -> None:
    units = [needy(name, requires=edges("db")) for name in ("a", "b", "c")]
    bench = Bench(service("db"), *units).up("a", "b", "c").stop("db")
    assert bench.phases("a", "b", "c", "db") == ["stopping"] * 3 + ["up"]
    assert bench.gone("a", "c").phases("db") == ["up"]
    assert bench.gone("b").phases("db") == ["stopping"]


def test_who_had_to_be_finished_once_is_not_missed() -> None:
    job = service("job", kind="task")
    bench = Bench(needy(requires=edges("job", until="finished")), job).start("web")
    bench.execed("job").exited("job").execed("web").stop("job")
    assert bench["web"].goal == "up"


def test_what_only_started_is_held_for_its_dependents_too() -> None:
    units = service("db", start=NOTIFY), needy(requires=edges("db", until="started"))
    bench = Bench(*units).start("web").execed("db").execed("web").stop("db")
    assert bench.phases("db", "web") == ["starting", "stopping"]
    bench.tell("db", ev.Ready())
    assert bench.phases("db", "web") == ["up", "stopping"]
    assert bench.gone("web").phases("db", "web") == ["stopping", "down"]


def test_an_unordered_need_is_not_waited_for_in_a_stop() -> None:
    bench = Bench(service("db"), needy(requires=edges("db", order=False))).up("web").stop("db")
    assert bench.phases("db", "web") == ["stopping", "stopping"]


def test_a_stop_that_is_held_back_can_be_called_off() -> None:
    bench = stack().stop("db").start("db")
    assert (bench["db"].goal, bench["db"].cause) == ("up", "asked to start")
    bench.gone("web")
    assert bench.phases("db", "api") == ["up", "stopping"]
    bench.gone("api")
    assert bench["db"].phase == "up"


def test_who_changes_his_mind_holds_nobody_back_any_more() -> None:
    units = service("db"), needy("api", after=edges("db")), needy(after=edges("api"))
    bench = Bench(*units).up("db", "api", "web").stop("db", "api", "web")
    assert bench.phases("db", "api", "web") == ["up", "up", "stopping"]
    bench.start("api")
    assert bench.phases("db", "api") == ["stopping", "up"]


def test_who_starts_again_lets_a_stop_go_before() -> None:
    bench = Bench(service("db"), needy(after=edges("db"))).up("db", "web").stop("db", "web")
    bench.start("web")
    assert bench.phases("db", "web") == ["up", "stopping"]
    bench.gone("web")
    assert bench.phases("db", "web") == ["stopping", "waiting"]
    bench.gone("db")
    assert bench.phases("db", "web") == ["down", "launching"], "it only comes after db"


def test_what_is_unkillable_holds_nobody_back() -> None:
    bench = stack().stop("db").after(10 * S).after(5 * S)
    assert (bench["web"].stuck, bench["api"].phase) == (True, "stopping")


def test_an_end_by_itself_is_not_held_back_and_stops_nobody() -> None:
    bench = stack().exited("db", 1)
    assert bench.phases("db", "api", "web") == ["backoff", "up", "up"]
    bench = stack().stop("db").exited("db", 1)
    assert bench.phases("db", "api", "web") == ["down", "up", "stopping"]


def test_what_leaves_is_neither_recycled_nor_reloaded_meanwhile() -> None:
    restart = Restart(max_age_ns=S, memory_budget_bytes=1)
    bench = Bench(service("db", restart=restart), needy(requires=edges("db"))).up("web").stop("db")
    bench.after(S).tell("db", ev.Measured(99)).tell("db", ev.Reloaded("asked"))
    assert bench["db"].phase == "up"
    assert bench.gone("web").gone("db").phases("db") == ["down"]
