"""What comes after an end: policies, the growing delay, the limit."""
from __future__ import annotations

import pytest

from supervisor.core.words import exit_words
from supervisor.core.world import World
from supervisor.model import event as ev
from supervisor.model.unit import Needs, Ready, Restart, RestartLimit, Start, Unit, When
from tests.unit.core.kit import MS, START, Bench, S, edges, group, service

NO_LIMIT = RestartLimit(1 << 30)
END = {
    "exit 0": ev.Exited(1, 1, 0, True),
    "exit 1": ev.Exited(1, 1, 1, True),
    "exit 42": ev.Exited(1, 1, 42, True),
    "TERM": ev.Exited(1, 2, 15, True),
    "PIPE": ev.Exited(1, 2, 13, True),
    "KILL": ev.Exited(1, 2, 9, True),
    "SEGV": ev.Exited(1, 3, 11, True),
}
AGAIN, DOWN, FAILED = "backoff", "down", "failed"
TABLE: dict[When, tuple[str, ...]] = {
    "always": (AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN, AGAIN),
    "on-failure": (DOWN, AGAIN, DOWN, DOWN, DOWN, AGAIN, AGAIN),
    "on-abnormal": (DOWN, FAILED, DOWN, DOWN, DOWN, AGAIN, AGAIN),
    "never": (DOWN, FAILED, DOWN, DOWN, DOWN, FAILED, FAILED),
}
PAIRS = [(when, *pair) for when, row in TABLE.items() for pair in zip(END, row, strict=True)]


@pytest.mark.parametrize("when,end,phase", PAIRS)
def test_each_end_is_followed_by_what_the_policy_says(when: When, end: str, phase: str) -> None:
    unit = service(restart=Restart(when, success_codes=(0, 42)))
    bench = Bench(unit).up("web").tell("web", END[end])
    inst = bench["web"]
    assert inst.phase == phase
    assert inst.goal == ("down" if phase == "down" else "up")
    assert inst.last_exit == inst.cause == exit_words(END[end].code, END[end].status)
    assert inst.restarts == (phase == AGAIN)
    assert bench.asked() == ([] if phase == AGAIN else ["release web"])


@pytest.mark.parametrize("when,phase", [
    ("always", AGAIN), ("on-failure", AGAIN), ("on-abnormal", AGAIN), ("never", FAILED),
])  # fmt: skip
@pytest.mark.parametrize("fault", ["timeout", "watchdog", "launch", "hook"])
def test_a_fault_of_ours_to_see_is_abnormal(when: When, phase: str, fault: str) -> None:
    start = Start(Ready("notify"), watchdog_ns=50, before=(("a",),) if fault == "hook" else ())
    bench = Bench(service(start=start, restart=Restart(when))).start("web")
    if fault == "launch":
        bench.tell("web", ev.LaunchFailed(1, "no such file", alive=False))
    elif fault == "hook":
        bench.job_exited("web", 1, empty=True)
    else:
        bench.execed("web")
        if fault == "watchdog":
            bench.tell("web", ev.Ready())
        bench.after(60 * S).exited("web", 0)  # however nicely it goes then
    assert (bench["web"].phase, bench["web"].ended) == (phase, "abnormal")


def test_what_was_asked_to_stop_is_not_started_again() -> None:
    bench = Bench(service(restart=Restart("always"))).up("web").stop("web").killed("web", 9)
    assert (bench["web"].phase, bench["web"].restarts) == ("down", 0)


# --- the delay --------------------------------------------------------------------------------


def delays(unit: Unit, count: int, lived: int = 0) -> list[int]:
    bench, found = Bench(unit).up("web"), []
    for _ in range(count):
        bench.after(lived).exited("web", 1)
        found.append(bench.left())
        bench.after(bench.left()).execed("web")
    return found


def test_the_delay_doubles_up_to_its_greatest() -> None:
    restart = Restart(delay_ns=100 * MS, max_delay_ns=1500 * MS, jitter=0.0, limit=NO_LIMIT)
    found = delays(service(restart=restart), 7)
    assert [ns // MS for ns in found] == [100, 200, 400, 800, 1500, 1500, 1500]


def test_a_start_that_cannot_begin_has_a_growing_delay_though_the_unit_has_none() -> None:
    restart = Restart("always", delay_ns=0, jitter=0.0, limit=NO_LIMIT)
    bench, found = Bench(service(restart=restart)).start("web"), []
    for _ in range(4):
        bench.tell("web", ev.LaunchFailed(bench["web"].launch, "no such user", alive=False))
        found.append(bench.left())
        bench.after(bench.left())
    assert [ns // MS for ns in found] == [100, 200, 400, 800]
    bench.execed("web").exited("web", 1)
    assert bench["web"].phase == "launching", "it did begin, so its own delay holds"


def test_what_the_host_is_short_of_never_uses_up_the_limit() -> None:
    restart = Restart("always", delay_ns=S, factor=1.0, limit=RestartLimit(1, 300 * S))
    bench = Bench(service(restart=restart)).start("web")
    for _ in range(5):
        launch = bench["web"].launch
        bench.tell("web", ev.LaunchFailed(launch, "no memory", alive=False, short=True))
        assert bench["web"].phase == "backoff"
        bench.after(bench.left())
    for phase in ("backoff", "failed"):
        bench.tell("web", ev.LaunchFailed(bench["web"].launch, "no such user", alive=False))
        assert bench["web"].phase == phase
        bench.after(bench.left())


def test_jitter_only_adds_and_at_most_its_share() -> None:
    restart = Restart(delay_ns=S, factor=1.0, jitter=0.5, limit=NO_LIMIT)
    found = delays(service(restart=restart), 200)
    assert all(S <= ns < S + S // 2 for ns in found)
    assert max(found) - min(found) > S // 3, "it spreads"


def test_instances_that_fail_together_come_back_apart() -> None:
    bench = Bench(service(instances=8, restart=Restart(delay_ns=S, jitter=0.5))).up("web")
    for key in bench.world.keys["web"]:
        bench.exited(key, 1)
    assert len({bench[key].deadline_ns for key in bench.world.keys["web"]}) == 8


def test_the_same_story_gives_the_same_jitter() -> None:
    unit = service(restart=Restart(delay_ns=S, jitter=0.5, limit=NO_LIMIT))
    assert delays(unit, 5) == delays(unit, 5)


def test_good_running_makes_the_delay_short_again() -> None:
    restart = Restart(delay_ns=MS, jitter=0.0, reset_after_ns=10 * S, limit=NO_LIMIT)
    assert delays(service(restart=restart), 3, lived=10 * S - 1) == [MS, 2 * MS, 4 * MS]
    assert delays(service(restart=restart), 3, lived=10 * S) == [MS, MS, MS]


def test_without_a_delay_it_starts_at_once() -> None:
    bench = Bench(service(restart=Restart(delay_ns=0))).up("web").exited("web", 1)
    assert (bench["web"].phase, bench.asked()) == ("launching", ["launch web"])


def test_countless_failures_overflow_nothing() -> None:
    restart = Restart(delay_ns=1, factor=10.0, max_delay_ns=5, jitter=0.0, limit=NO_LIMIT)
    assert delays(service(restart=restart), 300)[-1] == 5


def test_a_start_by_hand_does_not_wait_for_the_delay() -> None:
    bench = Bench(service()).up("web").exited("web", 1)
    assert bench["web"].phase == "backoff"
    bench.start("web")
    assert (bench["web"].phase, bench["web"].failures, bench["web"].restarts) == ("launching", 0, 0)
    bench.execed("web").exited("web", 1).restart("web")
    assert bench["web"].phase == "launching"


def test_what_comes_back_waits_for_its_needs() -> None:
    units = service("db"), service(needs=Needs(requires=edges("db")))
    bench = Bench(*units).up("web").exited("web", 1).exited("db", 1)
    bench.after(bench["web"].deadline_ns - bench.now)
    assert bench["web"].phase in ("waiting", "backoff")
    bench.after(S)
    assert bench.phases("db", "web") == ["launching", "waiting"]
    bench.execed("db")
    assert bench["web"].phase == "launching"


# --- the limit --------------------------------------------------------------------------------


def limited(count: int = 3, then: str = "fail", within: int = 10 * S) -> Unit:
    limit = RestartLimit(count, within, then)
    return service(restart=Restart(delay_ns=0, limit=limit))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_one_restart_more_than_the_limit_is_a_failure(count: int) -> None:
    bench = Bench(limited(count)).up("web")
    for number in range(count):
        bench.after(S).exited("web", 1)
        assert (bench["web"].phase, bench["web"].restarts) == ("launching", number + 1)
        bench.execed("web")
    bench.after(S).exited("web", 1)
    assert (bench["web"].phase, bench["web"].goal) == ("failed", "up")
    assert bench["web"].cause == f"exit 1; {count} restarts within 10s are its limit"


def test_only_restarts_within_the_window_count() -> None:
    bench = Bench(limited()).up("web")
    for _ in range(50):
        bench.after(10 * S // 3 + 1).exited("web", 1).execed("web")
        assert len(bench["web"].recent_ns) <= 3
    assert (bench["web"].phase, bench["web"].restarts) == ("up", 50)


def test_a_start_or_a_reset_by_hand_begins_the_count_anew() -> None:
    for reset in (False, True):
        bench = Bench(limited(1)).up("web").exited("web", 1).execed("web").exited("web", 1)
        assert bench["web"].phase == "failed"
        if reset:
            bench.tell("web", ev.Reset("asked"))
        bench.start("web")
        assert bench["web"].phase == "launching"
        bench.execed("web").exited("web", 1)
        assert (bench["web"].phase, bench["web"].restarts) == ("launching", 1)


def test_a_reset_takes_a_failure_away() -> None:
    bench = Bench(limited(0)).up("web").exited("web", 1).tell("web", ev.Reset("asked"))
    assert (bench["web"].phase, bench["web"].goal, bench["web"].cause) == ("down", "down", "asked")


def test_a_reset_of_what_runs_only_forgets_the_counts() -> None:
    bench = Bench(limited()).up("web").exited("web", 1).execed("web").tell("web", ev.Reset("asked"))
    inst = bench["web"]
    assert (inst.phase, inst.restarts, inst.recent_ns) == ("up", 0, ())


def test_the_limit_may_start_another_unit() -> None:
    bench = Bench(limited(0, "rescue"), service("rescue")).up("web").exited("web", 1)
    assert bench.phases("web", "rescue") == ["failed", "launching"]
    assert bench["rescue"].cause == "web reached its restart limit"
    chain = [(t.key, t.target) for t in bench.world.why("rescue")]
    assert chain[:3] == [("rescue", "launching"), ("rescue", "waiting"), ("web", "failed")]


@pytest.mark.parametrize("then", ["web", "other", "everything"])
def test_units_that_start_each_other_at_their_limits_come_to_an_end(then: str) -> None:
    limit = RestartLimit(1, 10 * S, "web")
    other = service("other", restart=Restart(delay_ns=0, limit=limit))
    bench = Bench(limited(1, then), other, group("everything", "web", "other")).start("web")
    for _ in range(20):
        for key in ("web", "other"):
            if bench[key].launch:
                bench.tell(key, ev.LaunchFailed(bench[key].launch, "no", alive=False))
        bench.after(S // 5)
    assert bench["web"].phase == "failed"
    assert bench["other"].phase in ("failed", "down")


def test_nothing_of_it_depends_on_where_the_clock_began() -> None:
    stories = []
    for begin in (1, 2**31 - 1, 2**63 - 10**12, START):
        world = World(3, 1)
        world.define({"web": service(restart=Restart(jitter=0.5))})
        now = begin
        world.start(["web"], "asked", now)
        story = []
        for _ in range(12):
            launch = world.instances["web"].launch
            world.deliver("web", ev.Execed(launch, 7), now)
            world.deliver("web", ev.Exited(launch, 1, 1, True), now + 1)
            now = world.deadline() or now + 1
            story.append((now - begin, world.instances["web"].phase))
            world.expire(now)
        stories.append(story)
    assert stories.count(stories[0]) == len(stories)
    assert stories[0][-1][1] == "failed"
