"""A manager that is killed at any point leaves a world that the next one ends as it would have.

Each story is told once undisturbed and then again with kills, at every point between a step, the
writing down, each acknowledgement and each single action. The processes behave alike every time
(by unit and number of the run), so both must end alike; the simulated keeper fails the test at once
if anything is started twice, and orphans are looked for at the end.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.core.world import RESTING, World
from supervisor.model import event as ev
from supervisor.model.unit import (
    Edge,
    Needs,
    Ready,
    Reload,
    Restart,
    RestartLimit,
    Rung,
    Start,
    Stop,
    Unit,
)
from tests.model import units as made
from tests.model.host import Host, Plans
from tests.model.kernel import Behaviour

S = 1_000_000_000
QUIET = 30 * S  # after this nothing moves any more
State = tuple[object, ...]
Deed = tuple[str, str]


def do(host: Host, deed: Deed) -> None:
    verb, name = deed
    keys = host.world.keys.get(name, ())

    def work(world: World, now: int) -> None:
        if verb == "start":
            world.start([name], "asked", now)
        elif verb == "stop":
            world.stop([name], "asked", now)
        elif verb == "restart":
            world.restart(keys, "asked", now)
        elif verb == "reload":
            for key in keys:
                world.deliver(key, ev.Reloaded("asked"), now)
        elif verb == "shut down":
            world.shut_down("asked", now)

    if verb == "wait":
        host.run(host.now + int(name))
    elif name in host.world.keys or not name:
        host.request(work)


def tell(
    units: Mapping[str, Unit], plans: Plans, deeds: Sequence[Deed], kills: Sequence[int], now: int,
    dead_ns: int = 0, *, machine: bool = False,
) -> tuple[list[dict[str, State]], Host]:  # fmt: skip
    """The states after each deed, and the host in the end. `dead_ns`: for how long nobody manages
    after each kill."""
    host = Host(units, plans, now, machine=machine)
    host.run(now + 1)
    host.points = 0
    host.dead_ns = dead_ns
    for points in kills:
        host.kill_in(points)
    states = []
    for deed in deeds:
        do(host, deed)
        if deed[0] != "wait":
            host.run(host.now + QUIET)
            states.append(picture(host))
            look_for_orphans(host)
    return states, host


def picture(host: Host) -> dict[str, State]:
    states: dict[str, State] = {
        key: (inst.phase, inst.goal, inst.again, inst.finished, inst.skipped, inst.restarts)
        for key, inst in host.world.instances.items()
    }
    states["the whole"] = (host.world.closed,)
    return states


def look_for_orphans(host: Host) -> None:
    for process in [*host.kernel.slots.values(), *host.kernel.strays.values()]:
        assert process.alive, "an exit was not acknowledged"
        inst = host.world.instances[process.key]
        assert inst.phase not in RESTING
        if process.role != "stray":
            assert process.launch in (inst.launch, inst.job)
    for key, inst in host.world.instances.items():
        if inst.phase in RESTING:
            assert host.kernel.empty(key)
        elif inst.launch:
            assert inst.launch in host.kernel.slots


def web(**fields: object) -> dict[str, Unit]:
    return {"web": Unit("web", command=("run",), **fields)}  # type: ignore[arg-type]


HOOKS = Start(Ready("notify"), before=(("a",), ("b",)), after=(("c",), ("d",)))
LADDER = Stop((Rung(2, 20), Rung(15, 20)), command=("stop",), drain_ns=30)
STACK = {
    "db": Unit("db", command=("run",), start=Start(Ready("notify")), stop=LADDER),
    "migrate": Unit(
        "migrate", kind="task", command=("run",), needs=Needs(requires=(Edge("db"),)),
        start=Start(before=(("a",),)),
    ),
    "web": Unit(
        "web", command=("run",), instances=2, start=HOOKS,
        needs=Needs(requires=(Edge("db"),), after=(Edge("migrate", "finished"),)),
    ),
    "log": Unit("log", command=("run",), needs=Needs(binds_to=(Edge("web", "started"),))),
    "all": Unit(
        "all", kind="group",
        needs=Needs(wants=(Edge("web"), Edge("migrate"), Edge("log"))),
    ),
}  # fmt: skip
QUICKLY = Restart(delay_ns=5, limit=RestartLimit(2, 1000 * S))
RUNS = ("start", "web"), ("restart", "web"), ("stop", "web"), ("start", "web"), ("shut down", "")
STORIES: dict[str, tuple[Mapping[str, Unit], Plans, Sequence[Deed]]] = {
    "a service, every verb": (
        web(start=HOOKS, stop=LADDER, reload=Reload("command")),
        {},
        (("start", "web"), ("reload", "web"), ("restart", "web"), ("stop", "web"),
         ("start", "web"), ("shut down", "")),
    ),
    "a stack that starts, restarts in the middle and stops": (
        STACK,
        {"migrate": [Behaviour(exit_ns=40)]},
        (("start", "all"), ("restart", "web"), ("restart", "db"), ("stop", "db"), ("start", "all"),
         ("shut down", "")),
    ),
    "a stop in the middle of a start": (
        web(start=HOOKS, stop=LADDER),
        {},
        (("start", "web"), ("wait", "0"), ("stop", "web"), ("start", "web"), ("shut down", "")),
    ),
    "a crash loop up to its limit": (
        web(restart=QUICKLY), {"web": [Behaviour(exit_ns=30, signal=11)]}, RUNS,
    ),
    "a program that cannot be executed": (
        web(restart=QUICKLY, start=HOOKS), {"web": [Behaviour(fails="EXEC"), Behaviour()]}, RUNS,
    ),
    "a hook that fails once": (
        web(restart=QUICKLY, start=HOOKS),
        {"web:before": [Behaviour(exit_ns=9, status=1), Behaviour(exit_ns=9)],
         "web:after": [Behaviour(exit_ns=9), Behaviour(exit_ns=9, status=1), Behaviour(exit_ns=9)]},
        RUNS,
    ),
    "a launch that is refused once, hooks before it or not": (
        {**web(restart=QUICKLY, start=HOOKS),
         "bare": Unit(
             "bare", command=("run",), restart=QUICKLY, needs=Needs(wants=(Edge("web"),)))},
        {"web": [Behaviour(refused=True), Behaviour()],
         "bare": [Behaviour(refused=True), Behaviour()]},
        (("start", "bare"), ("restart", "bare"), ("shut down", "")),
    ),
    "a condition that does not hold": (
        {**web(needs=Needs(requires=(Edge("other"),))),
         "other": Unit("other", command=("run",), restart=Restart(when="never"))},
        {"other": [Behaviour(skipped=True)]},
        RUNS,
    ),
    "a start that never gets ready, of a program that does not hear SIGTERM": (
        web(start=Start(Ready("notify"), timeout_ns=100), restart=QUICKLY, stop=LADDER),
        {"web": [Behaviour(ready_ns=None, term_ns=None)]},
        RUNS,
    ),
    "a daemon that forks, with hooks and a stop command": (
        web(start=Start(Ready("exit"), after=(("c",),)), stop=LADDER, restart=QUICKLY),
        {"web": [Behaviour(exit_ns=20, leaves=2)]},
        RUNS,
    ),
    "grandchildren that survive everything but SIGKILL": (
        web(start=HOOKS, stop=LADDER, restart=QUICKLY),
        {"web": [Behaviour(exit_ns=60, status=1, leaves=2, stray_term_ns=None)],
         "web:stop": [Behaviour(exit_ns=None)]},
        RUNS,
    ),
    "a log that is watched": (
        web(start=Start(Ready("log"), after=(("c",),)), restart=QUICKLY),
        {"web": [Behaviour(ready_ns=None)],
         "web:ready": [Behaviour(exit_ns=9, status=1), Behaviour(exit_ns=9)]},
        RUNS,
    ),
    "services that end as soon as they begin": (
        web(start=Start(Ready("notify")), restart=QUICKLY),
        {"web": [Behaviour(5, exit_ns=5), Behaviour(5, exit_ns=5), Behaviour()]},
        RUNS,
    ),
    "readiness that is faster than the keeper's word": (
        web(start=Start(Ready("fd"), after=(("c",),))), {"web": [Behaviour(30, ready_ns=10)]}, RUNS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("story", STORIES)
def test_a_manager_killed_at_any_point_changes_nothing_in_the_end(story: str) -> None:
    units, plans, deeds = STORIES[story]
    expected, host = tell(units, plans, deeds, [], 2**40)
    assert host.world.closed
    for point in range(host.points):
        second = [] if point % 3 else [point % 7]  # the new manager may be killed at once, too
        for dead_ns in (0, 7) if point % 2 else (0, 35):
            states, other = tell(units, plans, deeds, [point, *second], 2**40, dead_ns)
            assert other.kills
            assert states == expected, f"killed at {point} {second} for {dead_ns} ns"


deeds = st.lists(
    st.tuples(st.sampled_from(["start", "start", "stop", "restart"]), st.sampled_from(made.NAMES)),
    min_size=1,
    max_size=5,
)


@settings(
    max_examples=200,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(
    units=made.units(settling=True),
    plans=made.plans(),
    deeds=deeds,
    kills=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    now=made.HOSTILE,
    machine=st.booleans(),
)
def test_any_number_of_killed_managers_changes_nothing_in_the_end(
    units: dict[str, Unit], plans: Plans, deeds: list[Deed], kills: list[int], now: int,
    machine: bool,
) -> None:  # fmt: skip
    story = [*deeds, ("shut down", "")]
    expected, _ = tell(units, plans, story, [], now, machine=machine)
    states, _ = tell(units, plans, story, kills, now, machine=machine)
    assert states == expected
