"""How many timers a world remembers."""

from __future__ import annotations

from supervisor.core.world import STALE, World
from supervisor.model import event as ev
from supervisor.model.unit import SECOND_NS, Ready, Restart, Start, Unit

HOUR_NS = 3600 * SECOND_NS


def test_a_flood_of_watchdog_pings_is_not_remembered() -> None:
    world = World(1, 1)
    pinger = Unit(
        "pinger", command=("/bin/x",),
        start=Start(ready=Ready("notify"), watchdog_ns=HOUR_NS),
    )  # fmt: skip
    other = Unit("other", command=("/bin/x",), restart=Restart(max_age_ns=HOUR_NS // 2))
    world.define({"pinger": pinger, "other": other})
    world.start(["pinger", "other"], "test", 1)
    for key in ("pinger", "other"):
        world.deliver(key, ev.Execed(world.instances[key].launch, 7), 1)
    world.deliver("pinger", ev.Ready(), 1)
    for now in range(2, 10 * STALE):
        world.deliver("pinger", ev.Notified(watchdog="ping"), now)
        assert world.deadline() == 1 + HOUR_NS // 2
    assert len(world._timers) < 2 * STALE
    world.expire(now + HOUR_NS)
    assert world.instances["pinger"].phase == "stopping"  # the one that counts is remembered
