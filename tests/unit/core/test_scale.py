"""A unit that runs and has other instances than before: those begin, the surplus ones end."""

from __future__ import annotations

import pytest

from supervisor.model import event as ev
from supervisor.model.unit import Edge, Listen, Needs, Stop, Unit
from tests.unit.core.kit import Bench, S, service

PORT = (Listen("http", "tcp", "127.0.0.1", 80),)


def scale(bench: Bench, unit: Unit, *others: Unit) -> Bench:
    bench.world.define({one.name: one for one in (unit, *others)})
    bench.world.recheck(bench.now)
    return bench


def web(count: int, **fields: object) -> Unit:
    return service("web", instances=count, **fields)


def test_more_instances_are_started_if_the_unit_runs() -> None:
    bench = scale(Bench(web(2)).up("web"), web(3))
    assert bench.asked() == ["launch web/2"]
    assert bench["web/2"].cause == "web now has 3 instances"
    assert bench.phases("web/0", "web/1") == ["up", "up"]


def test_more_instances_of_what_is_stopped_stay_down() -> None:
    bench = scale(Bench(web(2)), web(3))
    assert bench.asked() == []
    assert bench["web/2"].phase == "down"


def test_surplus_instances_leave_in_order_and_are_forgotten() -> None:
    drained = Stop(drain_ns=S)
    bench = scale(Bench(web(3, stop=drained)).up("web"), web(2, stop=drained))
    assert bench.asked() == ["drain web/2"]
    assert (bench["web/2"].phase, bench["web/2"].cause) == ("stopping", "web now has 2 instances")
    assert bench.world.all_of("web") == ("web/0", "web/1", "web/2")
    bench.after(S).gone("web/2")
    assert sorted(bench.world.instances) == ["web/0", "web/1"]
    assert bench.phases("web/0", "web/1") == ["up", "up"]


def test_a_surplus_instance_that_is_wanted_again_comes_back() -> None:
    bench = scale(scale(Bench(web(3)).up("web"), web(2)), web(3))
    bench.gone("web/2")
    assert bench["web/2"].phase == "launching"
    assert bench.world.left == {}


def test_a_start_does_not_call_the_end_of_a_surplus_instance_off() -> None:
    bench = scale(Bench(web(3)).up("web"), web(2))
    bench.world.start_key("web/2", "asked", bench.now)
    bench.restart("web/2").gone("web/2")
    assert sorted(bench.world.instances) == ["web/0", "web/1"]


@pytest.mark.parametrize("before, after", [(1, 2), (3, 1)])
def test_where_keys_change_old_ones_serve_until_new_ones_do(before: int, after: int) -> None:
    bench = Bench(web(before, listen=PORT)).up("web")
    old = bench.world.keys["web"]
    scale(bench, web(after, listen=PORT))
    new = bench.world.keys["web"]
    assert bench.asked() == [f"launch {key}" for key in new]
    assert bench.phases(*old) == ["up"] * before
    bench.execed(*new[:-1])
    assert bench.phases(*old) == ["up"] * before
    bench.execed(new[-1])
    assert bench.phases(*old) == ["stopping"] * before
    bench.gone(*old)
    assert tuple(bench.world.instances) == new


def test_old_ones_serve_on_while_new_ones_fail() -> None:
    bench = scale(Bench(web(1, listen=PORT)).up("web"), web(2, listen=PORT))
    for key in ("web/0", "web/1"):
        bench.exited(key, 1)
    assert bench.phases("web", "web/0", "web/1") == ["up", "backoff", "backoff"]
    bench.stop("web")
    assert bench["web"].phase == "stopping"


@pytest.mark.parametrize("before, after", [(1, 2), (2, 1)])
def test_without_listeners_old_ones_are_gone_before_new_ones_begin(before: int, after: int) -> None:
    bench = Bench(web(before)).up("web")
    old = bench.world.keys["web"]
    scale(bench, web(after))
    new = bench.world.keys["web"]
    assert bench.phases(*old, *new) == ["stopping"] * before + ["waiting"] * after
    assert bench.world.waiting_for(bench[new[0]]) == [f"{key} to stop" for key in old]
    bench.asked()
    bench.gone(*old)
    assert [words for words in bench.asked() if "launch" in words] == [f"launch {k}" for k in new]


def test_who_is_bound_to_the_unit_does_not_leave_with_a_surplus_instance() -> None:
    app = service("app", needs=Needs(binds_to=(Edge("web"),)))
    bench = scale(Bench(web(3), app).up("app"), web(2), app)
    assert bench["web/2"].phase == "stopping"
    bench.gone("web/2")
    assert bench["app"].phase == "up"


def test_a_removed_unit_runs_on() -> None:
    bench = Bench(web(2)).up("web")
    bench.world.define({})
    bench.world.recheck(bench.now)
    bench.tell("web/0", ev.Notified(status="busy"))
    assert bench.phases("web/0", "web/1") == ["up", "up"]
