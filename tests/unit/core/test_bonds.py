"""Bonds, rivals and groups of units; and the chain of causes that crosses them."""
from __future__ import annotations

import pytest

from supervisor.model import event as ev
from supervisor.model.unit import Edge, Needs, Restart, RestartLimit, Stop, Unit
from tests.unit.core.kit import Bench, S, edges, group, needy, service

NEVER = Restart("never")


# --- restarts and bonds -----------------------------------------------------------------------


def test_a_restart_restarts_only_what_is_named_and_what_is_bound() -> None:
    units = (
        service("db"), needy("api", requires=edges("db")), needy(binds_to=edges("db")),
        needy("log", binds_to=edges("web")),
    )  # fmt: skip
    bench = Bench(*units).up("api", "web", "log").restart("db")
    assert bench.phases("db", "api", "web", "log") == ["up", "up", "up", "stopping"]
    bench.gone("log").gone("web")
    assert bench.phases("db", "web", "log") == ["stopping", "waiting", "waiting"]
    bench.gone("db").execed("db").execed("web").execed("log")
    assert bench.phases("db", "api", "web", "log") == ["up"] * 4


def test_a_restart_of_what_is_down_is_a_start_and_only_that() -> None:
    bench = Bench(service()).restart("web")
    assert (bench["web"].phase, bench["web"].again) == ("launching", False)


def test_a_restart_of_need_and_needy_at_once_keeps_the_order() -> None:
    units = needy(requires=edges("db")), service("db")
    bench = Bench(*units).up("web").restart("web", "db")
    assert bench.phases("web", "db") == ["stopping", "up"]
    bench.gone("web")
    assert bench.phases("web", "db") == ["waiting", "stopping"]
    bench.gone("db")
    assert bench.phases("web", "db") == ["waiting", "launching"]
    bench = Bench(*units).up("db").restart("web", "db")
    assert bench.phases("web", "db") == ["waiting", "stopping"]


@pytest.mark.parametrize("restart", [Restart(delay_ns=1), NEVER])
def test_what_is_bound_leaves_when_its_need_does(restart: Restart) -> None:
    bench = Bench(needy(binds_to=edges("db")), service("db", restart=restart)).up("web")
    bench.exited("db", 1)
    assert bench["web"].phase == "stopping"
    assert bench["web"].cause == "it is bound to db, which left"
    assert bench["web"].goal == "up"
    bench.gone("web")
    if restart is NEVER:
        assert bench["web"].phase == "failed"
    else:
        bench.after(S).execed("db")
        assert bench.phases("web", "db") == ["launching", "up"]


def test_what_is_bound_to_what_ended_for_good_goes_down() -> None:
    bench = Bench(needy(binds_to=edges("db")), service("db")).up("web").exited("db", 0)
    assert (bench["web"].phase, bench["web"].goal) == ("stopping", "down")


def test_bonds_form_chains() -> None:
    units = service("a"), needy("b", binds_to=edges("a")), needy("c", binds_to=edges("b"))
    bench = Bench(*units).up("c").exited("a", 1)
    assert bench.phases("b", "c") == ["stopping", "stopping"]


def test_a_bond_leaves_the_crash_loop_of_its_own_alone() -> None:
    bench = Bench(needy(binds_to=edges("db")), service("db")).up("web").exited("web", 1)
    failures = bench["web"].failures
    bench.exited("db", 1)
    assert (bench["web"].phase, bench["web"].failures) == ("backoff", failures)


# --- rivals -----------------------------------------------------------------------------------


def test_a_start_stops_its_rivals_and_waits_until_they_are_gone() -> None:
    bench = Bench(needy(conflicts=("old",)), service("old")).up("old").start("web")
    assert bench.phases("web", "old") == ["waiting", "stopping"]
    assert bench["old"].cause == "it conflicts with web, which starts"
    assert bench.world.waiting_for(bench["web"]) == ["old to stop"]
    assert bench.gone("old").phases("web", "old") == ["launching", "down"]
    bench.execed("web").start("old")
    assert bench.phases("web", "old") == ["stopping", "waiting"]


def test_of_rivals_asked_for_together_the_first_by_name_wins() -> None:
    bench = Bench(needy("a", conflicts=("b",)), service("b"), needy("c", conflicts=("b",)))
    bench.start("c", "b", "a")
    assert bench.phases("a", "b", "c") == ["launching", "failed", "launching"]
    assert bench["b"].cause == "it conflicts with a, also asked for"


def test_a_rival_that_runs_is_stopped_even_if_it_is_asked_for_as_well() -> None:
    bench = Bench(needy("a", conflicts=("b",)), service("b")).up("b").start("a", "b")
    assert bench.phases("a", "b") == ["waiting", "stopping"]
    assert bench.gone("b").phases("a", "b") == ["launching", "down"]


def test_rivals_are_stopped_before_needs_are_judged() -> None:
    units = needy(requires=edges("db"), conflicts=("old",)), service("db"), service("old")
    bench = Bench(*units).up("old").start("web")
    assert bench.phases("web", "db", "old") == ["waiting", "launching", "stopping"]


def test_one_instance_stops_rivals_too() -> None:
    bench = Bench(service(instances=2, needs=Needs(conflicts=("old",))), service("old")).up("old")
    bench.world.start_key("web/1", "asked", bench.now)
    assert bench.phases("web/1", "old") == ["waiting", "stopping"]


# --- groups -----------------------------------------------------------------------------------


def test_a_group_is_up_when_its_members_are() -> None:
    members = needy(requires=edges("db")), service("db")
    bench = Bench(group("all", "web", "db"), *members).start("all")
    assert bench.phases("all", "web", "db") == ["waiting", "waiting", "launching"]
    bench.execed("db").execed("web")
    assert bench.phases("all", "web", "db") == ["up"] * 3
    assert [words for words in bench.asked() if "all" in words] == []


def test_a_stop_of_a_group_stops_its_members_in_order() -> None:
    bench = Bench(group("all", "web", "db"), needy(requires=edges("db")), service("db")).up("all")
    bench.stop("all")
    assert bench.phases("all", "web", "db") == ["down", "stopping", "up"]
    bench.gone("web").gone("db")
    assert bench.phases("all", "web", "db") == ["down"] * 3


def test_groups_nest_and_fail_softly() -> None:
    units = group("all", "inner"), group("inner", "web"), service(restart=NEVER)
    bench = Bench(*units).start("all").execed("web")
    assert bench.phases("all", "inner", "web") == ["up"] * 3
    bench.exited("web", 1)
    assert bench.phases("all", "inner", "web") == ["up", "up", "failed"]
    hard = Unit("hard", kind="group", needs=Needs(requires=edges("web")))
    bench = Bench(hard, service(restart=NEVER)).start("hard")
    bench.tell("web", ev.LaunchFailed(1, "no", alive=False))
    assert bench["hard"].phase == "failed"


def test_what_is_bound_to_a_group_follows_its_restart() -> None:
    bench = Bench(group("all"), needy(binds_to=edges("all"))).up("web")
    bench.tell("all", ev.GoAgain("asked")).tell("all", ev.Released())
    assert (bench["all"].phase, bench["web"].phase, bench["web"].again) == ("up", "stopping", True)


# --- causes -----------------------------------------------------------------------------------


def test_the_chain_of_causes_crosses_units() -> None:
    units = (
        needy("log", binds_to=edges("web")), needy(binds_to=edges("db")),
        service("db", restart=Restart(limit=RestartLimit(0))),
    )  # fmt: skip
    bench = Bench(*units).up("log").exited("db", 1)
    bench.gone("log")
    chain = [(t.key, t.target) for t in bench.world.why("log")]
    assert chain == [
        ("log", "waiting"), ("log", "stopping"), ("web", "stopping"), ("db", "failed"),
        ("db", "up"), ("db", "launching"), ("db", "waiting"),
    ]  # fmt: skip
    assert bench.world.why("log")[-1].cause == "needed by what was asked for (asked to start)"


def test_what_never_moved_has_no_cause() -> None:
    assert Bench(service()).world.why("web") == []


def test_every_transition_tells_when_whence_whither_and_why() -> None:
    bench = Bench(service(stop=Stop(()))).up("web").after(5).stop("web")
    bench.asked()
    last = bench.told[-1]
    assert (last.key, last.source, last.target) == ("web", "stopping", "killing")
    assert (last.time_ns, last.cause) == (bench.now, "the stop ladder is at its end")
    assert [t.id for t in bench.told] == list(range(1, len(bench.told) + 1))


def test_requests_of_what_is_not_there_are_harmless() -> None:
    bench = Bench(service()).start("nobody").stop("nobody").tell("nobody", ev.Ready())
    assert (bench.asked(), bench["web"].phase) == ([], "down")


def test_an_edge_to_oneself_through_a_group_is_a_cycle() -> None:
    bench = Bench(group("all", "web"), needy(after=(Edge("all"),))).start("all")
    assert bench.phases("all", "web") == ["failed", "failed"]
