"""Fault 14 for agents: the manager is killed at every system call while one stops and starts.

Whatever the call: the agent ends where it was asked to go, has one feed while it runs and none
after, gets every line of its main, and the keeper has as many descriptors as before.
"""
from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from tests.fault.stepper import Stepper
from tests.fault.test_f14_killed_at_every_call import LIVES, Life
from tests.fault.witness import abandon
from tests.scenario.agents.kit import Collector, feeds, stored
from tests.stack import Stack

ALL = '[agent]\nreceives = ["logs", "cgroup", "pidfd", "endpoints"]\ncursor = true\n'


class Agents(Life):
    def __init__(self, home: Path) -> None:
        home.mkdir()
        self.ship = Collector(home)
        talks = f'command = ["/bin/sh", "-c", "while read -r x; do echo $x; done <> {home}/say"]\n'
        units = {"web": talks, "ship": self.ship.unit + ALL}
        Stack.__init__(self, home, units)
        self.hold = home / "hold"
        self.said: list[str] = []

    def say(self) -> None:
        """A line of the main's, which the agent must have."""
        self.said.append(f"line {len(self.said)}")
        with (self.home / "say").open("a") as pipe:
            pipe.write(self.said[-1] + "\n")
        self.ship.wait(self, *self.said)

    def well(self) -> bool:
        row = self.row("ship")
        return row["state"] == "running" and len(feeds(self)) == 1


def operation(life: Agents, point: int, method: str) -> bool:
    killed = life.killed(life.manager, point, method, units=["ship"])
    if method == "Stop":
        life.until(lambda: life.row("ship")["state"] in ("running", "stopped"), "rest")
        life.call("Stop", units=["ship"])
        life.until(lambda: not feeds(life), "the end of the feed")
        life.call("Start", units=["ship"])
    elif killed:
        life.wait("ship", "running", "stopped")
        life.call("Start", units=["ship"])
    life.until(life.well, "the agent and its feed")
    life.say()
    assert life.row("web")["restarts"] == 0
    return killed


def boot(life: Agents, point: int) -> bool:
    """The first manager of all is killed while it starts everything."""
    os.mkfifo(life.home / "say")
    life.hold.touch()
    life.launch()
    stepper = Stepper(life.held())
    killed = stepper.run(point, lambda: b"web: up (" in life.errors.read_bytes())
    life.until(life.answers, "control to answer")
    life.until(life.well, "the agent and its feed")
    life.say()
    return killed


def _live(home: Path, point: int) -> bool:
    life = Agents(home)
    try:
        killed = [boot(life, point)]
        before = stored(life)
        killed += [operation(life, point, method) for method in ("Restart", "Stop")]
        life.until(lambda: stored(life) == before, "the same descriptors")
        life.end()
    except BaseException as exc:
        raise AssertionError(f"killed at {point}: {exc}\n{life.errors.read_text()}") from exc
    finally:
        abandon(life)
    return any(killed)


@pytest.mark.slow
def test_f14_a_manager_killed_at_any_call_costs_an_agent_nothing(tmp_path: Path) -> None:
    points, last = count(1), [0]

    def lives() -> None:
        while not last[0]:
            point = next(points)
            try:
                if not _live(tmp_path / str(point), point):
                    last[0] = point
            except BaseException:
                last[0] = point
                raise

    with ThreadPoolExecutor(LIVES) as pool:
        for done in [pool.submit(lives) for _ in range(LIVES)]:
            done.result()
    assert last[0] > 10, "the points are not counted"
    print(f"{last[0] - 1} points")
