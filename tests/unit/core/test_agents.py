"""Agents: launched before their mains, stopped after them, and never in anybody's way."""
from __future__ import annotations

import pytest

from supervisor.core import graph as graphs
from supervisor.core.graph import ATTACH_CYCLE as CYCLE
from supervisor.model.unit import AGENT_DRAIN_NS, Agent, Needs, Restart, Stop, Unit
from tests.unit.core.kit import Bench, S, edges, group, service

_NEVER = Restart(when="never")


def agent(name: str, *attach: str, **fields: object) -> Unit:
    return service(name, attach=attach, **fields)


def graph(*units: Unit) -> graphs.Graph:
    return graphs.build({unit.name: unit for unit in units})


# --- whom it is attached to ---


def test_names_patterns_and_groups_stand_for_units() -> None:
    found = graph(
        service("web"), service("web2"), service("db"), group("shop", "db", "inner"),
        group("inner", "web2"), agent("a", "shop"), agent("b", "web*", "gone"), agent("c", "?b"),
    ).agents  # fmt: skip
    assert found == {"a": ("db", "web2"), "b": ("web", "web2"), "c": ("db",)}


def test_a_pattern_is_not_the_agent_itself_but_other_agents_and_no_group() -> None:
    found = graph(service("web"), group("all", "web"), agent("a", "*"), agent("b", "*"))
    assert found.agents == {"a": ("b", "web"), "b": ("a", "web")}
    assert not found.broken


def test_what_is_nobodys_agent_has_a_graph_without_them() -> None:
    found = graph(service("web"), service("db", needs=Needs(requires=edges("web"))))
    assert not found.agents
    assert not any(d.agent for row in found.deps.values() for d in row)


# --- start ---


@pytest.mark.parametrize("names", [("web", "ship"), ("ship", "web"), ("web",)])
def test_an_agent_is_launched_before_its_main_in_the_same_start(names: tuple[str, ...]) -> None:
    bench = Bench(service("web"), agent("ship", "web"))
    assert bench.start(*names).asked() == ["launch ship", "launch web"]


def test_an_agent_of_an_agent_goes_before_both() -> None:
    bench = Bench(service("a"), agent("b", "a"), agent("c", "a", "b"), agent("d", "c", "a"))
    assert bench.start("a").asked() == ["launch d", "launch c", "launch b", "launch a"]


def test_its_main_does_not_wait_for_an_agent_that_is_slow_or_fails() -> None:
    bench = Bench(service("web"), agent("ship", "web", needs=Needs(requires=edges("gone"))))
    assert bench.start("web").asked() == ["release ship", "launch web"]
    assert bench.phases("web", "ship") == ["launching", "failed"]
    bench.execed("web")
    assert bench["web"].phase == "up"


def test_what_its_needs_say_holds_before_its_attachment() -> None:
    late = agent("late", "web", "db", needs=Needs(after=edges("web")))
    bench = Bench(service("web"), service("db"), late)
    bench.start("web", "db")
    assert bench.asked() == ["launch web", "launch db"]
    bench.execed("web", "db")
    assert bench.asked() == ["launch late"]
    bench.execed("late").stop("web", "late")
    assert bench.asked()[0] == "signal late 15 all"


def test_an_agent_without_autostart_starts_when_it_is_asked_for() -> None:
    bench = Bench(service("web"), agent("ship", "web", autostart=False))
    assert bench.start("web").asked() == ["launch web"]
    assert bench.start("ship").asked() == ["launch ship"]


def test_an_agent_that_runs_or_was_kept_from_it_is_not_started_anew_by_a_restart_of_its_main() -> (
    None
):
    bench = Bench(service("web"), agent("ship", "web")).up("web")
    bench.stop("ship").gone("ship").asked()
    bench.exited("web", 1)
    bench.after(S)
    assert bench.asked() == ["launch web"]
    assert bench["ship"].phase == "down"


def test_why_an_agent_started() -> None:
    bench = Bench(service("web"), agent("ship", "web")).start("web")
    assert bench["ship"].cause.startswith("an agent of what was asked for")


# --- stop ---


def test_an_agents_stop_begins_when_all_its_mains_are_down() -> None:
    bench = Bench(service("web"), service("db"), agent("ship", "web", "db")).up("web", "db")
    bench.stop("ship", "web", "db")
    assert [word for word in bench.asked() if "ship" in word] == []
    assert bench.world.waiting_for(bench["ship"]) == ["db to stop", "web to stop"]
    bench.gone("web")
    assert [word for word in bench.asked() if "ship" in word] == []
    bench.gone("db")
    assert "signal ship 15 all" in bench.asked()


def test_a_shutdown_ends_mains_then_agents_then_agents_of_those() -> None:
    bench = Bench(service("a"), agent("b", "a"), agent("c", "b")).up("a")
    bench.world.shut_down("it is over", bench.now)
    ended: list[str] = []
    for key in ("a", "b", "c"):
        asked = bench.asked()
        assert f"signal {key} 15 all" in asked
        assert len({w.split()[1] for w in asked} - set(ended)) == 1
        bench.gone(key)
        ended.append(key)
    assert bench.world.closed


def test_a_stop_of_one_of_them_leaves_the_other_running() -> None:
    bench = Bench(service("web"), agent("ship", "web")).up("web")
    bench.stop("web").gone("web")
    assert bench["ship"].phase == "up"
    bench.start("web").execed("web").asked()
    bench.stop("ship")
    assert "signal ship 15 all" in bench.asked()
    bench.gone("ship")
    assert bench.phases("web", "ship") == ["up", "down"]


def test_an_agent_that_fails_costs_its_main_nothing() -> None:
    bench = Bench(service("web"), agent("ship", "web", restart=_NEVER)).up("web")
    bench.exited("ship", 1)
    assert bench.phases("web", "ship") == ["up", "failed"]
    assert [word for word in bench.asked() if "web" in word] == []


def test_an_agent_that_receives_logs_has_time_to_take_what_is_left() -> None:
    bench = Bench(service("web"), agent("ship", "web", agent=Agent(("logs",)))).up("web")
    bench.stop("ship", "web").gone("web")
    assert [word for word in bench.asked() if "ship" in word] == ["drain ship"]
    assert bench.left() == AGENT_DRAIN_NS
    bench.after(AGENT_DRAIN_NS)
    assert "signal ship 15 all" in bench.asked()


def test_an_agent_that_ends_by_itself_once_it_has_all_is_down() -> None:
    ship = agent("ship", "web", agent=Agent(("logs",)), stop=Stop(drain_ns=3 * S))
    bench = Bench(service("web"), ship).up("web")
    bench.stop("ship", "web").gone("web").after(S).exited("ship")
    assert bench.phases("web", "ship") == ["down", "down"]
    assert not any("signal ship" in word for word in bench.asked())


def test_a_restart_of_both_holds_the_main_up_for_nobody() -> None:
    bench = Bench(service("web"), agent("ship", "web")).up("web")
    bench.restart("web", "ship")
    assert [word for word in bench.asked() if "ship" in word] == []
    bench.gone("web")
    asked = bench.asked()
    assert asked.index("signal ship 15 all") < asked.index("launch web")
    bench.gone("ship").execed("web")
    assert "launch ship" in bench.asked()


# --- cycles, and definitions that change ---


def test_two_agents_of_each_other_are_refused_with_the_path_and_nobody_else() -> None:
    found = graph(service("web"), agent("a", "b", "web"), agent("b", "a"))
    assert found.broken == dict.fromkeys("ab", CYCLE + "b -> a -> b")
    bench = Bench(*found.units.values()).start("web", "a", "b")
    assert bench.phases("web", "a", "b") == ["launching", "failed", "failed"]


def test_of_a_cycle_by_attachments_and_needs_only_the_agents_are_refused() -> None:
    found = graph(
        service("x"), service("y"), agent("a", "x", needs=Needs(after=edges("y"))),
        agent("b", "y", needs=Needs(after=edges("x"))),
    )  # fmt: skip
    assert set(found.broken) == {"a", "b"}
    assert all(words.startswith(CYCLE) for words in found.broken.values())


def test_a_cycle_of_needs_is_told_as_one() -> None:
    web, db = (service(a, needs=Needs(after=edges(b))) for a, b in (("web", "db"), ("db", "web")))
    found = graph(web, db, agent("a", "*"))
    assert set(found.broken) == {"web", "db"}
    assert not any(words.startswith(CYCLE) for words in found.broken.values())


def test_a_new_unit_is_met_by_an_agent_that_runs() -> None:
    ship = agent("ship", "web*")
    bench = Bench(ship).up("ship")
    bench.world.define({"ship": ship, "web1": service("web1")}, bench.now)
    bench.world.recheck(bench.now)
    assert bench.world.graph.agents == {"ship": ("web1",)}
    bench.start("web1").execed("web1").stop("web1", "ship")
    assert bench.world.waiting_for(bench["ship"]) == ["web1 to stop"]


def test_an_agent_of_many_is_stopped_in_no_time() -> None:
    mains = [service(f"m{i}") for i in range(300)]
    bench = Bench(*mains, agent("ship", "m*")).up(*(unit.name for unit in mains))
    bench.world.shut_down("it is over", bench.now)
    looked = 0
    blockers = bench.world.blockers

    def counted(inst: object) -> object:
        nonlocal looked
        for key in blockers(inst):  # type: ignore[arg-type]
            looked += 1
            yield key

    bench.world.blockers = counted  # type: ignore[method-assign, assignment]
    for unit in mains:
        bench.gone(unit.name)
    assert "signal ship 15 all" in bench.asked()
    assert looked <= 300
