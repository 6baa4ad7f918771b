"""A chain of causes goes back to the request that began it, whatever came between."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from supervisor.model import event as ev
from supervisor.model.unit import Conditions, Needs, Ready, Restart, Start
from tests.unit.core.kit import Bench, S, edges, service

NOTIFY = Start(Ready("notify"), timeout_ns=S, watchdog_ns=S)


def late(bench: Bench) -> None:
    bench.after(S)


def hung(bench: Bench) -> None:
    bench.tell("web", ev.Ready()).after(S)


def left_children(bench: Bench) -> None:
    bench.tell("web", ev.Ready()).exited("web", 1, empty=False)


def refused(bench: Bench) -> None:
    bench.tell("web", ev.LaunchFailed(bench["web"].launch, "no", False))


@pytest.mark.parametrize("end", [late, hung, left_children, refused])
def test_an_end_of_its_own_is_told_back_to_the_start(end: Callable[[Bench], None]) -> None:
    bench = Bench(service(start=NOTIFY, restart=Restart("never"))).up("web")
    end(bench)
    assert bench["web"].phase in ("stopping", "finishing")
    causes = [moved.cause for moved in bench.world.why("web")]
    assert causes[0] == bench["web"].cause
    assert causes[-1] == "asked to start"


def test_what_was_skipped_is_not_said_to_be_ready() -> None:
    cond = service("cond", conditions=Conditions(path_exists=("/nowhere",)))
    bench = Bench(cond, service(needs=Needs(after=edges("cond")))).start("cond", "web")
    bench.tell("cond", ev.Skipped(bench["cond"].launch, "no /nowhere"))
    assert (bench["web"].phase, bench["web"].cause) == ("launching", "cond was skipped")


def test_a_freeze_that_was_asked_for_is_a_transition() -> None:
    bench = Bench(service(start=NOTIFY)).start("web").execed("web")
    bench.now += S // 2
    before = bench["web"].deadline_ns
    bench.tell("web", ev.Froze(True, "frozen by uid 0"))
    bench.tell("web", ev.Froze(True, "frozen by uid 1"))
    first, *_ = bench.world.why("web")
    assert (first.source, first.target, first.cause) == ("starting", "starting", "frozen by uid 0")
    assert bench["web"].since_ns == bench.now
    assert bench["web"].deadline_ns == before
    bench.tell("web", ev.Froze(False, "thawed by uid 0"))
    assert [one.cause for one in bench.world.why("web")][:2] == [
        "thawed by uid 0", "frozen by uid 0"]


def test_a_freeze_does_not_change_why_a_stop_comes() -> None:
    app = service("app", needs=Needs(requires=edges("web")))
    bench = Bench(service(), app).up("app").stop("web")
    bench.tell("web", ev.Froze(True, "frozen by uid 0")).gone("app")
    assert (bench["web"].phase, bench["web"].cause) == ("stopping", "asked to stop")
