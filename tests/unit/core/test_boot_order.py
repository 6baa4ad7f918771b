"""On a machine: first what `boot` needs, then everything else; the other way round at the end."""
from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.core import graph as graphs
from supervisor.core.boot_order import AFTER_BOOT, early
from supervisor.core.stopping import KILL_GRACE_NS
from supervisor.core.world import CLOSE_NS
from supervisor.model import event as ev
from supervisor.model.unit import (
    BOOT,
    RESCUE,
    Edge,
    Needs,
    Ready,
    Restart,
    RestartLimit,
    Start,
    Unit,
)
from tests.unit.core.kit import Bench, S, edges, group, needy, service


def boot(*names: str, **more: Any) -> Unit:
    return Unit(BOOT, kind="group", needs=Needs(requires=edges(*names), **more))


def graph(*units: Unit, machine: bool = True) -> graphs.Graph:
    return graphs.build({unit.name: unit for unit in units}, machine=machine)


def waits(found: graphs.Graph, name: str) -> bool:
    """Whether it has the implicit need."""
    return AFTER_BOOT in found.deps.get(name, ())


def machine(*units: Unit) -> Bench:
    return Bench(*units, machine=True)


def task(name: str, timeout_ns: int = S) -> Unit:
    """A step of a boot: done when it has ended."""
    start = Start(ready=Ready("exit"), timeout_ns=timeout_ns)
    return Unit(name, kind="task", command=("run",), restart=Restart(when="never"), start=start)


# --- who is early ---------------------------------------------------------------------------------


def test_a_unit_that_boot_does_not_look_at_requires_it() -> None:
    found = graph(boot("fs"), task("fs"), service("web"), needy("app", requires=edges("web")))
    assert waits(found, "web")
    assert waits(found, "app")
    assert not waits(found, "fs")
    assert not waits(found, BOOT)
    assert set(found.dependents[BOOT]) == {"web", "app"}
    assert not found.broken


def test_only_on_a_machine_and_only_with_a_unit_boot() -> None:
    units = (boot("fs"), task("fs"), service("web"))
    assert not waits(graph(*units, machine=False), "web")
    assert not waits(graph(*units[1:]), "web")


@pytest.mark.parametrize("kind", ["requires", "wants", "binds_to"])
@pytest.mark.parametrize("order", [True, False])
def test_what_boot_pulls_in_is_early_however_it_does(kind: str, order: bool) -> None:
    pulls: dict[str, Any] = {kind: (Edge("fs", "ready", order),)}
    first = Unit(BOOT, kind="group", needs=Needs(**pulls))
    found = graph(first, needy("fs", wants=edges("deep")), service("deep"), service("web"))
    assert early(found.deps) >= {BOOT, "fs", "deep"}
    assert waits(found, "web")
    assert not waits(found, "fs")
    assert not waits(found, "deep")


def test_what_goes_before_something_early_is_early_since_it_would_be_a_cycle_otherwise() -> None:
    found = graph(
        boot("fs"), needy("fs", after=edges("udev")), service("udev"),
        needy("luks", before=edges("fs"), requires=edges("keys")), service("keys"),
        needy("shell", before=edges(BOOT)), service("web"))
    assert not found.broken
    assert [name for name in found.units if waits(found, name)] == ["web"]


def test_rescue_and_what_it_needs_wait_for_no_boot() -> None:
    found = graph(
        boot("fs"), task("fs"), needy(RESCUE, wants=edges("keys")), service("keys"), service("web"))
    assert [name for name in found.units if waits(found, name)] == ["web"]


def test_a_weaker_relation_with_boot_gives_way_but_a_bond_stays() -> None:
    found = graph(
        boot(), needy("a", wants=(Edge(BOOT, order=False),)), needy("b", after=edges(BOOT)),
        needy("c", requires=edges(BOOT)), needy("d", binds_to=edges(BOOT)))
    for name in "abc":
        assert found.deps[name] == (AFTER_BOOT,)
    assert found.deps["d"][-1] == AFTER_BOOT
    assert found.deps["d"][0].bound


NAMES = ("boot", "rescue", "a", "b", "c", "d", "e")
_EDGES = st.lists(st.builds(Edge, st.sampled_from(NAMES), order=st.booleans()), max_size=2)
_NEEDS = st.builds(
    lambda *rows: Needs(*map(tuple, rows)), _EDGES, _EDGES, _EDGES, _EDGES)  # before is the last


def in_cycles(found: graphs.Graph) -> set[str]:
    """Units that have to wait for themselves."""

    def ahead(name: str) -> set[str]:
        seen: set[str] = set()
        todo = [name]
        while todo:
            fresh = {d.unit for d in found.deps.get(todo.pop(), ()) if d.order} - seen
            seen |= fresh
            todo += fresh
        return seen

    return {name for name in found.units if name in ahead(name)}


@settings(max_examples=150, deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(NAMES, _NEEDS)))
def test_it_closes_no_cycle_and_leaves_nobody_out(needs: dict[str, Needs]) -> None:
    units = {name: Unit(name, command=("run",), needs=mine) for name, mine in needs.items()}
    plain, found = graphs.build(units), graphs.build(units, machine=True)
    assert in_cycles(found) == in_cycles(plain)
    assert bool(found.broken) == bool(plain.broken)
    before = early(plain.deps)
    for name in units:
        assert waits(found, name) == (name not in before)
        looked_at = [dep.unit for dep in found.deps.get(name, ()) if dep.order or dep.pull]
        assert name not in before or before.issuperset(looked_at)


def test_an_agent_of_everything_waits_for_boot_and_costs_the_boot_nothing() -> None:
    agent = service("ship", attach=("*",))
    bench = machine(boot("fs"), service("fs"), service("web"), agent)
    assert not bench.world.graph.broken
    assert waits(bench.world.graph, "ship")
    bench.start("web", "ship").execed("fs")
    assert bench["ship"].phase == "launching"
    bench.execed("ship", "web").asked()
    bench.world.shut_down("off", bench.now)
    assert bench.asked()[:1] == ["signal web 15 all"]
    bench.gone("web")
    assert "signal ship 15 all" in bench.asked()
    assert bench["fs"].phase == "up"
    bench.gone("ship")
    assert "signal fs 15 all" in bench.asked()
    bench.gone("fs")
    assert bench.world.closed


# --- starting -------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(permutations(["web", "fs", BOOT])))
def test_whatever_is_asked_for_first_boot_goes_before(order: list[str]) -> None:
    bench = machine(boot("fs"), task("fs"), service("web")).start(*order)
    assert bench.asked() == ["launch fs"]
    assert bench.world.waiting_for(bench["web"]) == ["boot to be ready"]
    bench.execed("fs")
    assert bench.asked() == []
    bench.exited("fs")
    assert bench.asked()[-1:] == ["launch web"]
    assert bench["web"].cause == "boot is ready"
    bench.execed("web")
    chain = [(one.key, one.target) for one in bench.world.why("web")]
    assert (BOOT, "up") in chain
    assert ("fs", "down") in chain  # it is finished


def test_one_unit_that_is_started_boots_before_and_only_the_first_one_does() -> None:
    bench = machine(boot("fs", wants=edges("swap")), task("fs"), task("swap"), service("web"),
                    service("app"))
    bench.start("web").execed("fs", "swap").exited("fs").exited("swap", 1)
    assert bench["swap"].phase == "failed"
    bench.execed("web").asked()
    bench.start("app")
    assert bench.asked() == ["launch app"]  # swap is not tried again with every start
    bench.execed("app").asked()
    bench.start(BOOT)
    assert bench.asked() == ["launch swap"]  # unless the boot itself is asked for


def test_a_need_that_is_written_down_pulls_in_also_after_the_boot() -> None:
    bench = machine(boot("fs"), service("fs"), service("a"), needy("b", requires=edges("fs")))
    bench.up("a").stop("fs").gone("a", "fs")
    assert bench.phases(BOOT, "fs", "a") == ["down"] * 3
    bench.start("b")
    assert "launch fs" in bench.asked()


def test_units_that_a_reload_brings_wait_for_it_too() -> None:
    bench = machine(service("web")).up("web")
    bench.world.define({u.name: u for u in (boot("fs"), task("fs"), service("web"), service("b"))})
    bench.world.recheck(bench.now)
    assert bench["web"].phase == "up"  # what runs goes on
    bench.start("b")
    assert bench.asked() == ["launch fs"]
    bench.world.define({"b": service("b")})  # and without any boot, nobody waits for it
    bench.world.recheck(bench.now)
    assert bench["b"].phase == "launching"


# --- a boot that fails ----------------------------------------------------------------------------


def failed() -> Bench:
    bench = machine(boot("fs"), task("fs"), service("web"), needy("app", requires=edges("web")),
                    task(RESCUE))
    bench.start("web", "app", "fs").execed("fs").exited("fs", 1)
    assert bench.phases(BOOT, "fs", "web", "app") == ["failed", "failed", "waiting", "waiting"]
    bench.asked()
    return bench


def test_nothing_fails_with_it_all_that_waits_goes_on_when_it_succeeds() -> None:
    bench = failed()
    assert bench.world.waiting_for(bench["web"]) == ["boot to be ready"]
    bench.start(RESCUE)
    assert bench.asked() == ["launch rescue"]
    bench.execed(RESCUE).exited(RESCUE).asked()
    for key in ("fs", BOOT):
        bench.tell(key, ev.Reset("rescue ended"))
    assert bench["web"].phase == "waiting"
    bench.start(BOOT).execed("fs").exited("fs")
    assert bench.phases(BOOT, "web") == ["up", "launching"]
    bench.execed("web")
    assert bench["app"].phase == "launching"


def test_an_agent_of_rescue_does_not_boot_again_while_that_is_open() -> None:
    bench = machine(boot("fs"), task("fs"), service("web"), task(RESCUE),
                    service("ship", attach=("*",)))
    bench.start("web", "ship").execed("fs").exited("fs", 1).asked()
    bench.start(RESCUE)
    assert bench.asked() == ["launch rescue"]
    assert bench.phases(BOOT, "fs", "ship") == ["failed", "failed", "waiting"]
    bench.execed(RESCUE).exited(RESCUE).asked()
    bench.start(BOOT)
    assert "launch fs" in bench.asked()


def test_a_boot_that_cannot_begin_at_all_is_one_that_fails() -> None:
    bench = machine(boot("fs"), service("web")).start("web")
    assert bench.phases(BOOT, "web") == ["failed", "waiting"]
    assert bench.asked() == ["release boot"]


def test_starting_one_of_those_that_wait_tries_the_boot_again() -> None:
    bench = failed().start("web")
    assert bench.asked() == ["launch fs"]


def test_a_stop_of_what_waits_for_a_failed_boot_is_done_at_once() -> None:
    bench = failed().stop("web")
    assert bench.phases("web", "app") == ["down", "down"]


def test_a_shutdown_waits_for_nobody_who_waits_for_a_boot() -> None:
    bench = failed()
    bench.world.end("reboot", "ctrl-alt-del", bench.now)
    assert bench.world.closed


def test_a_unit_in_conflict_with_one_of_the_boot_ends_that_as_anywhere() -> None:
    bench = machine(boot("fs"), service("fs"), needy("bad", conflicts=("fs",)))
    bench.up(BOOT)
    bench.start("bad")
    assert bench["fs"].phase == "stopping"
    assert not bench.world.graph.broken


# --- the end --------------------------------------------------------------------------------------


def test_boot_and_what_it_needs_stop_last_of_all() -> None:
    bench = machine(boot("fs", wants=edges("net")), service("fs"), needy("net", after=edges("fs")),
                    service("a"), needy("b", requires=edges("a")))
    bench.up("a", "b")
    assert bench.phases(BOOT, "fs", "net", "a", "b") == ["up"] * 5
    bench.world.end("poweroff", "asked", bench.now)
    for last, names in (("b", "a"), ("a", "net"), ("net", "fs"), ("fs", "")):
        assert bench[last].phase == "stopping"
        assert not names or bench[names].phase == "up"
        bench.gone(last)
    assert bench.world.closed
    assert bench.world.ending == "poweroff"


def test_stopping_boot_stops_all_and_it_last() -> None:
    bench = machine(boot("fs"), service("fs"), service("a")).up("a")
    bench.stop(BOOT)
    assert bench.phases("a", "fs") == ["stopping", "up"]
    bench.gone("a")
    assert bench["fs"].phase == "stopping"


def test_a_shutdown_outranks_a_start_that_may_take_ten_minutes() -> None:
    slow = service("slow", start=Start(timeout_ns=600 * S))
    bench = machine(boot("fs"), task("fs", 600 * S), slow)
    bench.start("slow").execed("fs").asked()
    assert bench["fs"].phase == "starting"
    bench.world.end("reboot", "asked", bench.now)
    assert "signal fs 15 all" in bench.asked()
    assert bench["slow"].phase == "down"
    assert bench.world.deadline() <= bench.now + CLOSE_NS


def test_a_second_request_changes_what_becomes_of_it_and_never_lengthens_the_time() -> None:
    bench = machine(service("web")).up("web")
    bench.world.end("poweroff", "asked", bench.now, 20 * S)
    assert bench.world.closing_ns == bench.now + 20 * S
    bench.now += 5 * S
    bench.world.end("reboot", "asked again", bench.now)
    assert bench.world.ending == "reboot"
    assert bench.world.closing_ns == bench.now + 15 * S
    bench.world.end("reboot", "in a hurry", bench.now, 2 * S)
    assert bench.world.closing_ns == bench.now + 2 * S
    bench.asked()
    bench.after(2 * S)
    assert "kill web" in bench.asked()
    bench.after(KILL_GRACE_NS)
    assert bench.world.closed  # it survives that, and nobody waits for it


def test_how_long_it_takes_can_be_set() -> None:
    bench = machine(service("web")).up("web")
    bench.world.close_ns = 7 * S
    bench.world.shut_down("asked", bench.now)
    assert bench.world.closing_ns == bench.now + 7 * S


@pytest.mark.parametrize("then", ["reboot", "poweroff"])
def test_a_restart_limit_can_end_the_machine(then: str) -> None:
    limit = Restart(limit=RestartLimit(1, 100 * S, then), delay_ns=0)
    bench = machine(service("web", restart=limit), service("db")).up("web", "db")
    bench.exited("web", 1).execed("web")
    assert not bench.world.closing_ns
    bench.exited("web", 1)
    assert bench["web"].phase == "failed"
    assert bench.world.ending == then
    assert bench["db"].phase == "stopping"
    assert bench["db"].cause == "web reached its restart limit"


def test_where_there_is_no_machine_such_a_unit_does_not_start() -> None:
    bench = Bench(service("web", restart=Restart(limit=RestartLimit(1, S, "reboot"))))
    bench.start("web")
    assert bench["web"].phase == "failed"
    assert "this supervisor boots none" in bench["web"].cause


def test_a_limit_that_is_reached_in_a_shutdown_does_not_change_it() -> None:
    limit = Restart(limit=RestartLimit(1, 100 * S, "reboot"), delay_ns=0)
    bench = machine(service("web", restart=limit), group("all", "web")).up("web")
    bench.world.end("poweroff", "asked", bench.now)
    bench.exited("web", 1)
    assert bench.world.ending == "poweroff"
