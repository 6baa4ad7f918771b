"""Definitions that go away: what runs goes on, what does not run is forgotten."""

from __future__ import annotations

import pytest

from supervisor.core.world import NO_FILE
from supervisor.model.unit import Needs, Restart
from tests.unit.core.kit import Bench, S, edges, service

AGAIN = Restart(when="always", delay_ns=S)


def remove(bench: Bench, *names: str) -> Bench:
    units = {n: u for n, u in bench.world.graph.units.items() if n not in names}
    bench.world.define(units)
    bench.world.recheck(bench.now)
    return bench


def test_what_is_down_is_forgotten_at_once() -> None:
    bench = remove(Bench(service()), "web")
    assert bench.world.instances == {}
    assert "web" in bench.world.take()[2], "the journal is told"


def test_what_is_in_backoff_is_forgotten_at_once() -> None:
    bench = Bench(service(restart=AGAIN)).up("web")
    bench.exited("web", 1)
    assert bench["web"].phase == "backoff"
    remove(bench, "web")
    assert bench.world.instances == {}
    assert bench.asked()[-1] == "release web"
    assert (bench.told[-1].target, bench.told[-1].cause) == ("down", NO_FILE)
    assert bench.world.deadline() == 0


def test_what_waits_is_forgotten_at_once_and_its_dependents_know() -> None:
    db = service("db")
    web = service("web", needs=Needs(requires=edges("db")))
    app = service("app", needs=Needs(wants=edges("web")))
    bench = Bench(db, web, app).start("app")
    assert bench.phases("db", "web", "app") == ["launching", "waiting", "waiting"]
    remove(bench, "web")
    assert "web" not in bench.world.instances
    assert bench["app"].phase == "launching", "nothing is left that it waits for"


def test_what_runs_goes_on_and_is_forgotten_when_it_ends_of_itself() -> None:
    bench = remove(Bench(service(restart=AGAIN)).up("web"), "web")
    assert bench["web"].phase == "up"
    bench.exited("web", 1)
    assert bench.world.instances == {}
    assert [t.target for t in bench.told] == ["waiting", "launching", "up"]
    bench.asked()
    assert [t.target for t in bench.told[-2:]] == ["backoff", "down"]


@pytest.mark.parametrize("delay", [0, S])
def test_a_restart_does_not_bring_back_what_has_no_definition(delay: int) -> None:
    bench = Bench(service(restart=Restart(when="always", delay_ns=delay))).up("web")
    remove(bench, "web").restart("web").gone("web")
    assert bench.world.instances == {}
    assert "launch web" not in bench.asked()


def test_instances_beyond_the_new_number_are_forgotten_too() -> None:
    bench = Bench(service(instances=3, restart=AGAIN)).up("web")
    bench.exited("web/2", 1)
    bench.world.define({"web": service(instances=2, restart=AGAIN)})
    bench.world.recheck(bench.now)
    assert sorted(bench.world.instances) == ["web/0", "web/1"]


def test_who_waits_for_what_is_no_more_goes_on() -> None:
    db = service("db")
    web = service("web", needs=Needs(after=edges("db")))
    bench = Bench(db, web).start("db", "web")
    assert bench["web"].phase == "waiting"
    bench.world.define({"db": db, "web": service("web")})
    bench.world.recheck(bench.now)
    assert bench["web"].phase == "launching"
