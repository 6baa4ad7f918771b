"""What a new manager makes of the journal and of the keeper's facts, rule by rule."""
from __future__ import annotations

from typing import Any

from msgspec import msgpack

from supervisor.core.resume import UNBORN, UNSEEN, Child, Saved, resume
from supervisor.core.world import World
from supervisor.model import action as do
from supervisor.model import event as ev
from supervisor.model.state import Instance
from supervisor.model.unit import SECOND_NS, Edge, Needs, Ready, Restart, Start, Stop, Unit

NOW = 2**62
WEB = Unit("web", command=("run",))
GREEDY = Unit(
    "web", command=("run",), start=Start(Ready("notify"), before=(("a",), ("b",))),
    stop=Stop(command=("c",), drain_ns=50),
)  # fmt: skip


def begin(
    inst: Instance | None, *facts: Child, highest: int = 10, unit: Unit = WEB, closing: int = 0,
    now: int = NOW,
) -> tuple[World, list[do.Action], list[Child]]:  # fmt: skip
    world = World(1, 2)
    world.define({unit.name: unit})
    known = [] if inst is None else [msgpack.decode(msgpack.encode(inst), type=Instance)]
    strays = resume(world, Saved(known, 10, 100, closing), facts, highest, now)
    return world, world.take()[0], strays


def an_instance(**fields: object) -> Instance:
    return Instance("web", "web", goal="up", since_ns=5, cause="asked", cause_id=7, **fields)  # type: ignore[arg-type]


def running(launch: int = 4, key: str = "web") -> Child:
    return Child(launch, key, 1000 + launch, "RUNNING")


def ended(launch: int = 4, key: str = "web", **fields: object) -> Child:
    facts: dict[str, Any] = {"code": 1, "empty": True, **fields}
    return Child(launch, key, 1000 + launch, "EXITED_UNACKED", **facts)


# --- launches ---------------------------------------------------------------------------------


def test_a_launch_the_keeper_never_saw_is_asked_for_again_under_its_number() -> None:
    inst = an_instance(phase="launching", launch=9, emptied=False, deadline_ns=NOW + 1)
    world, actions, _ = begin(inst, highest=8)
    assert actions == [do.Launch("web", 9)]
    assert world.instances["web"].phase == "launching"
    assert world.deadline() == NOW + 1


def test_launches_are_repeated_in_their_order() -> None:
    world = World(1, 2)
    units = {n: Unit(n, command=("run",)) for n in "abc"}
    world.define(units)
    numbers = {"a": 9, "b": 7, "c": 8}
    known = [Instance(n, n, goal="up", phase="launching", launch=numbers[n]) for n in "abc"]
    resume(world, Saved(known, 9), [], 6, NOW)
    assert [a.launch for a in world.take()[0] if isinstance(a, do.Launch)] == [7, 8, 9]


def test_a_launch_that_ended_before_it_was_sent_begins_under_a_new_number() -> None:
    """A skipped condition, or a refusal that was not written down: later launches were seen."""
    inst = an_instance(phase="launching", launch=4, emptied=False)
    world, actions, _ = begin(inst, highest=30)
    assert actions == [do.Launch("web", 31)]
    assert world.instances["web"].launch == 31
    assert world.turn.next_launch == 31


def test_the_same_holds_for_hooks_and_stop_commands() -> None:
    hook = an_instance(phase="launching", job=9, role="before", hook=1, emptied=False)
    assert begin(hook, highest=8, unit=GREEDY)[1] == [do.Launch("web", 9, "before", 1)]
    assert begin(hook, highest=12, unit=GREEDY)[1] == [do.Launch("web", 13, "before", 1)]
    stop = an_instance(phase="stopping", launch=4, job=9, role="stop", rung=0, emptied=False)
    world, actions, _ = begin(stop, running(), highest=8, unit=GREEDY)
    assert do.Launch("web", 9, "stop", 0) in actions
    assert world.instances["web"].job == 9


def test_a_launch_that_is_known_is_not_repeated() -> None:
    inst = an_instance(phase="launching", launch=4, emptied=False)
    launching = Child(4, "web", 1004, "LAUNCHING")
    world, actions, strays = begin(inst, launching)
    assert (actions, strays) == ([], [])
    assert world.instances["web"].phase == "launching"


def test_a_stop_that_came_before_the_start_was_sent_starts_nothing() -> None:
    inst = an_instance(phase="stopping", launch=9, emptied=False, rung=1)
    inst.goal = "down"
    world, actions, _ = begin(inst, highest=8)
    assert actions == [do.Watch("web")]
    assert world.instances["web"].last_exit == UNBORN
    world.deliver("web", ev.Empty(), NOW)
    assert world.instances["web"].phase == "down"


# --- what happened meanwhile --------------------------------------------------------------------


def test_an_exec_that_was_not_heard_of_is_told() -> None:
    world, _, _ = begin(an_instance(phase="launching", launch=4, emptied=False), running())
    assert (world.instances["web"].phase, world.instances["web"].pid) == ("up", 1004)


def test_an_exec_is_told_before_the_exit_that_followed_it() -> None:
    """Without it, exit 0 of a program that never got ready would pass for its success."""
    inst = an_instance(phase="launching", launch=4, emptied=False)
    world, _, _ = begin(inst, ended(), unit=GREEDY)
    assert world.instances["web"].phase == "backoff"
    assert "before it was ready" in world.instances["web"].cause


def test_a_step_that_failed_is_told_before_the_exit() -> None:
    inst = an_instance(phase="launching", launch=4, emptied=False)
    words = "cannot execute it: no such file"
    world, _, _ = begin(inst, ended(status=127, failed_words=words))
    assert (world.instances["web"].phase, world.instances["web"].cause) == ("backoff", words)


def test_an_exit_is_told_with_what_is_left_behind() -> None:
    inst = an_instance(phase="up", launch=4, pid=1004, emptied=False)
    world, actions, _ = begin(inst, ended(status=1, empty=False))
    assert world.instances["web"].phase == "finishing"
    assert do.Watch("web") in actions


def test_a_job_that_ended_is_told_as_such() -> None:
    inst = an_instance(phase="launching", job=4, role="before", emptied=False)
    _, actions, _ = begin(inst, ended(4, "web:before:4"), unit=GREEDY)
    assert actions == [do.Launch("web", 11, "before", 1)]


def test_an_end_that_nobody_saw_counts_as_a_failure() -> None:
    world, _, _ = begin(an_instance(phase="up", launch=4, pid=1004, emptied=False))
    inst = world.instances["web"]
    assert (inst.phase, inst.last_exit, inst.launch) == ("finishing", UNSEEN, 0)
    world.deliver("web", ev.Empty(), NOW)
    assert inst.phase == "backoff"


def test_an_exit_that_was_written_down_but_not_acknowledged_changes_nothing() -> None:
    inst = an_instance(phase="backoff", deadline_ns=NOW + 5, restarts=1)
    world, actions, strays = begin(inst, ended())
    assert (actions, strays) == ([], [])
    assert (world.instances["web"].phase, world.deadline()) == ("backoff", NOW + 5)


def test_exits_are_told_before_anything_else_starts() -> None:
    """Nothing is started for the sake of a need that has ended meanwhile."""
    units = {
        "db": Unit("db", command=("run",), restart=Restart("never")),
        "web": Unit("web", command=("run",), needs=Needs(requires=(Edge("db"),))),
        "api": Unit("api", command=("run",), needs=Needs(requires=(Edge("db"),))),
    }
    world = World(1, 2)
    world.define(units)
    known = [
        Instance("db", "db", goal="up", phase="launching", launch=4, emptied=False),
        Instance("web", "web", goal="up", phase="waiting"),
        Instance("api", "api", goal="up", phase="waiting"),
    ]
    resume(world, Saved(known, 4), [ended(4, "db", status=1, failed_words="no")], 4, NOW)
    assert {i.phase for i in world.instances.values()} == {"failed"}
    assert not [a for a in world.take()[0] if isinstance(a, do.Launch)]


# --- actions that may be done twice, and signals that may not -----------------------------------


def test_no_signal_of_the_stop_ladder_is_repeated() -> None:
    inst = an_instance(phase="stopping", launch=4, rung=1, deadline_ns=NOW + 9, emptied=False)
    world, actions, _ = begin(inst, running())
    assert actions == []
    world.expire(NOW + 9)
    assert world.instances["web"].phase == "killing"


def test_what_is_stopping_is_watched_again_once_its_main_process_is_gone() -> None:
    for phase in ("stopping", "finishing"):
        inst = an_instance(phase=phase, rung=1, deadline_ns=NOW + 9, emptied=False)
        assert begin(inst)[1] == [do.Watch("web")]


def test_what_is_being_killed_is_killed_again() -> None:
    inst = an_instance(phase="killing", launch=4, deadline_ns=NOW + 9, emptied=False)
    assert begin(inst, running())[1] == [do.KillAll("web"), do.Watch("web")]


def test_what_has_forked_away_is_watched_again() -> None:
    inst = an_instance(phase="up", emptied=False)
    assert begin(inst)[1] == [do.Watch("web")]
    group = Unit("web", kind="group")
    assert begin(an_instance(phase="up"), unit=group)[1] == []


def test_a_drain_is_repeated_as_long_as_no_signal_followed_it() -> None:
    for rung in (-1, 0):
        inst = an_instance(phase="stopping", launch=4, rung=rung, emptied=False)
        assert begin(inst, running(), unit=GREEDY)[1] == [do.Drain("web")]
    inst = an_instance(phase="stopping", launch=4, rung=1, emptied=False)
    assert begin(inst, running(), unit=GREEDY)[1] == []


def test_what_must_stop_is_thawed_again() -> None:
    inst = an_instance(phase="stopping", launch=4, rung=1, frozen=True, emptied=False)
    assert begin(inst, running())[1] == [do.Freeze("web", False)]


def test_what_has_ended_is_released_again_and_what_never_ran_is_not() -> None:
    for phase in ("down", "failed"):
        assert begin(an_instance(phase=phase))[1] == [do.Release("web")]
    assert begin(Instance("web", "web"))[1] == []
    assert begin(None)[1] == []


# --- time, waiting, counters --------------------------------------------------------------------


def test_deadlines_stay_and_overdue_ones_are_due_at_once() -> None:
    inst = an_instance(phase="backoff", deadline_ns=NOW - 3600 * SECOND_NS)
    world, _, _ = begin(inst)
    assert world.deadline() == NOW - 3600 * SECOND_NS
    world.expire(NOW)
    assert world.instances["web"].phase == "launching"


def test_a_watchdog_and_a_maximal_age_go_on() -> None:
    inst = an_instance(
        phase="up", launch=4, pid=1004, watchdog_ns=50, watchdog_due_ns=NOW + 20,
        age_due_ns=NOW + 10, emptied=False,
    )  # fmt: skip
    assert begin(inst, running())[0].deadline() == NOW + 10


def test_what_waits_is_looked_at_again() -> None:
    world, actions, _ = begin(an_instance(phase="waiting"))
    assert actions == [do.Launch("web", 11)]
    assert world.instances["web"].phase == "launching"


def test_a_stop_that_was_held_back_is_looked_at_again() -> None:
    inst = an_instance(phase="up", launch=4, pid=1004, emptied=False)
    inst.goal = "down"
    assert begin(inst, running())[0].instances["web"].phase == "stopping"


def test_numbers_go_on_above_everything_that_was_ever_used() -> None:
    world, _, _ = begin(None, highest=50)
    assert (world.turn.next_launch, world.turn.next_transition) == (50, 100)
    assert begin(None, highest=3)[0].turn.next_launch == 10


def test_a_shutdown_goes_on() -> None:
    inst = an_instance(phase="stopping", launch=4, rung=1, deadline_ns=NOW + 90, emptied=False)
    inst.goal = "down"
    world, _, _ = begin(inst, running(), closing=NOW + 40)
    assert (world.closing_ns, world.deadline(), world.closed) == (NOW + 40, NOW + 40, False)
    world.start(["web"], "asked", NOW)
    assert world.instances["web"].goal == "down"
    world.expire(NOW + 40)
    assert world.instances["web"].phase == "killing"


def test_everything_is_written_down_anew() -> None:
    world = World(1, 2)
    world.define({"web": WEB})
    resume(world, Saved([an_instance(phase="backoff", deadline_ns=NOW + 9)]), [], 0, NOW)
    assert world.take()[2] == {"web"}


# --- what the journal does not know -------------------------------------------------------------


def test_without_a_journal_what_runs_is_adopted_as_ready() -> None:
    unit = Unit("web", command=("run",), start=Start(Ready("notify"), watchdog_ns=30))
    world, actions, strays = begin(None, running(), unit=unit)
    inst = world.instances["web"]
    assert (inst.phase, inst.goal, inst.launch, inst.pid) == ("up", "up", 4, 1004)
    assert "found running" in inst.cause
    assert world.deadline() == NOW + 30
    assert (actions, strays) == ([], [])
    world.deliver("web", ev.Exited(4, 2, 9, True), NOW + 1)
    assert inst.phase == "backoff"


def test_what_is_adopted_meets_the_needs_of_others() -> None:
    world = World(1, 2)
    world.define({
        "db": Unit("db", command=("run",)),
        "web": Unit("web", command=("run",), needs=Needs(requires=(Edge("db"),))),
    })  # fmt: skip
    resume(world, Saved([]), [running(4, "db"), Child(5, "web", 7, "LAUNCHING")], 5, NOW)
    assert [i.phase for i in world.instances.values()] == ["up", "up"]


def test_children_of_unknown_units_and_unknown_jobs_are_to_be_killed() -> None:
    inst = an_instance(phase="up", launch=4, pid=1004, emptied=False)
    unknown = [running(5, "nobody"), running(6, "web:ready:6"), running(7, "nobody/1:stop:7")]
    world, _, strays = begin(inst, running(), *unknown)
    assert strays == unknown
    assert world.instances["web"].phase == "up"


def test_a_second_main_process_is_to_be_killed_rather_than_believed() -> None:
    inst = an_instance(phase="up", launch=4, pid=1004, emptied=False)
    assert begin(inst, running(), running(5))[2] == [running(5)]
    stopping = an_instance(phase="stopping", rung=1, emptied=False)
    assert begin(stopping, running(5))[2] == [running(5)]


def test_nothing_is_adopted_in_a_shutdown() -> None:
    world, _, strays = begin(None, running(), closing=NOW + 40)
    assert strays == [running()]
    assert world.closed


def test_what_runs_without_a_unit_file_keeps_its_definition() -> None:
    world = World(1, 2)
    world.define({})
    inst = an_instance(phase="up", launch=4, pid=1004, emptied=False)
    strays = resume(world, Saved([inst], old={"web": WEB}), [running()], 4, NOW)
    assert strays == []
    assert world.unit_of(world.instances["web"]) == WEB
    world.stop_key("web", "asked", NOW)
    world.deliver("web", ev.Exited(4, 2, 15, True), NOW)
    assert (world.instances, world.old, world.left) == ({}, {}, {})
    assert "web" in world.take()[2]


def test_what_is_of_no_use_any_more_is_forgotten() -> None:
    world = World(1, 2)
    world.define({})
    gone = an_instance(phase="down")
    undefined = Instance("lost", "lost", phase="up", launch=5)
    found = resume(world, Saved([gone, undefined], old={"web": WEB}), [running(5, "lost")], 5, NOW)
    assert world.instances == {}
    assert found == [running(5, "lost")]


def test_an_instance_beyond_its_units_number_goes_on_until_it_ends() -> None:
    world = World(1, 2)
    world.define({"web": WEB})
    second = Instance("web/1", "web", 1, goal="up", phase="up", launch=4, pid=1004, emptied=False)
    assert resume(world, Saved([second]), [running(4, "web/1")], 4, NOW) == []
    world.stop(["web"], "asked", NOW)
    assert world.instances["web/1"].phase == "stopping"
    world.deliver("web/1", ev.Exited(4, 2, 15, True), NOW)
    assert list(world.instances) == ["web"]
