"""receives = ["logs"]: what an agent gets, in which order, and what is left when it is gone."""
from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from tests.scenario.agents.kit import Collector, feeds, stored
from tests.stack import Stack, alive

LOGS = '[agent]\nreceives = ["logs"]\n'
CURSOR = LOGS + "cursor = true\n"
LAST = """\
command = ["/bin/sh", "-c", "trap 'echo last; exit' TERM; echo first; while :; do sleep 0.05; done"]
stop.scope = "main"
"""


def _another(stack: Stack, pid: int) -> bool:
    return stack.row("ship")["pid"] not in (0, pid)


def test_lines_come_with_their_origin_and_the_last_ones_before_the_end(tmp_path: Path) -> None:
    ship = Collector(tmp_path)
    with Stack(tmp_path, {"web": LAST, "ship": ship.unit + LOGS}) as stack:
        ship.wait(stack, "first")
        (row,) = ship.rows()
        assert (row["unit"], row["instance"], row["stream"], row["seq"]) == ("web", 0, "output", 0)
        assert ship.life("begin")[0]["env"]["UNBOXED_ATTACHED"] == "web"
        history = stack.call("Describe", unit="ship")["history"]
        other = stack.call("Describe", unit="web")["history"]
        started = [moved["to"] for moved in other]
        assert started == ["waiting", "launching", "up"]  # and nothing else happened to it
        assert history[0]["id"] < other[0]["id"]
    assert ship.messages() == ["first", "last"]
    assert len(ship.life("end of file")) == 1


def test_an_agent_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    ship = Collector(tmp_path)
    with Stack(tmp_path, {"web": LAST, "ship": ship.unit + CURSOR}) as stack:
        ship.wait(stack, "first")
        stack.until((tmp_path / "state/agents/ship/cursor").exists, "a cursor")
        os.kill(stack.row("ship")["pid"], signal.SIGKILL)
        stack.until(lambda: len(ship.life("begin")) == 2, "another agent")
        stack.call("Restart", units=["web"])
        stack.until(lambda: len(ship.rows()) >= 3, "the lines of both runs")
        assert stack.row("web")["restarts"] == 0
    seen = {(row["seq"], row["message"]) for row in ship.rows()}
    assert sorted(seen) == [(0, "first"), (6, "last"), (11, "first"), (17, "last")]


def test_a_feed_that_was_killed_is_replaced_and_the_agent_does_not_notice(tmp_path: Path) -> None:
    ship = Collector(tmp_path)
    with Stack(tmp_path, {"web": LAST, "ship": ship.unit + CURSOR}) as stack:
        ship.wait(stack, "first")
        (feed,) = feeds(stack)
        os.kill(feed, signal.SIGKILL)
        stack.until(lambda: feeds(stack) not in ([], [feed]), "another feed")
        stack.call("Stop", units=["web"])
        ship.wait(stack, "last")
        assert len(ship.life("begin")) == 1
        assert stack.row("ship")["restarts"] == 0


@pytest.mark.parametrize("when", ["it runs", "the feed was killed too", "it is stopped"])
def test_a_manager_that_was_killed_costs_nobody_anything(tmp_path: Path, when: str) -> None:
    ship = Collector(tmp_path)
    with Stack(tmp_path, {"web": LAST, "ship": ship.unit + CURSOR}) as stack:
        ship.wait(stack, "first")
        if when == "the feed was killed too":
            os.kill(stack.manager, signal.SIGSTOP)
            os.kill(feeds(stack)[0], signal.SIGKILL)
        if when == "it is stopped":
            stack.call("Stop", units=["ship"], wait=False)
        os.kill(stack.manager, signal.SIGKILL)
        stack.until(stack.answers, "the next manager")
        if when == "it is stopped":
            stack.wait("ship", "stopped")
            stack.until(lambda: not feeds(stack), "the end of the feed")
        else:
            stack.until(lambda: len(feeds(stack)) == 1, "a feed")
        stack.call("Stop", units=["web"])
        stack.call("Start", units=["ship"])
        ship.wait(stack, "last")


def test_nothing_of_an_agent_outlives_it(tmp_path: Path) -> None:
    ship = Collector(tmp_path)
    units = {"web": LAST, "ship": ship.unit + CURSOR}
    with Stack(tmp_path, units) as stack:
        ship.wait(stack, "first")
        stack.call("Stop", units=["ship"])
        stack.until(lambda: not feeds(stack), "the end of the feed")
        before = stored(stack)
        for _ in range(3):
            stack.call("Start", units=["ship"])
            stack.call("Stop", units=["ship"])
        stack.call("Start", units=["ship"])
        for _ in range(3):
            pid = stack.wait("ship", "running", test=lambda row: row["pid"])["pid"]
            os.kill(pid, signal.SIGKILL)
            another = partial(_another, stack, pid)
            stack.until(another, "the next one")
        stack.call("Stop", units=["ship"])
        stack.until(lambda: not feeds(stack), "the end of all feeds")
        stack.until(lambda: stored(stack) == before, "the same descriptors")
        stack.until(lambda: not list((stack.runtime / "agents").iterdir()), "no progress")
    assert not (stack.runtime / "agents").exists()


def test_an_agent_that_takes_nothing_holds_up_nobody(tmp_path: Path) -> None:
    ship = Collector(tmp_path)
    flood = 'command = ["/bin/sh", "-c", "yes 0123456789 | head -n 200000; exec sleep 1000"]\n'
    with Stack(tmp_path, {"web": flood, "ship": ship.unit + LOGS}) as stack:
        stack.until(lambda: ship.life("begin"), "the agent")
        os.kill(stack.row("ship")["pid"], signal.SIGSTOP)
        log = stack.log / "web"
        stack.until(
            lambda: sum(f.stat().st_size for f in log.glob("*.log")) == 200_000 * 11, "all of it")
        behind = 200_000 * 11 - (256 << 10)  # what pipes and buffers hold at most
        stack.until(lambda: (stack.row("ship")["behind_bytes"] or 0) > behind, "its place")
        assert stack.row("ship")["behind_bytes"] <= 200_000 * 11
        stack.call("Stop", units=["web"])
        os.kill(stack.row("ship")["pid"], signal.SIGCONT)
        stack.until(lambda: stack.row("ship")["behind_bytes"] == 0, "the agent to catch up")
    assert len(ship.rows()) == 200_000


def test_an_agent_that_hangs_is_stopped_when_its_time_is_over(tmp_path: Path) -> None:
    ship = Collector(tmp_path)
    drain = 'stop.drain = "300ms"\n'
    with Stack(tmp_path, {"web": LAST, "ship": ship.unit + drain + CURSOR}) as stack:
        ship.wait(stack, "first")
        os.kill(stack.row("ship")["pid"], signal.SIGSTOP)
        stack.call("Stop", units=["web"])
        result = stack.call("Stop", units=["ship"])["results"]
        assert result[0]["ok"]
        assert stack.row("ship")["last_exit"] == "killed by SIGTERM"
        stack.call("Start", units=["ship"])
        ship.wait(stack, "last")


def test_an_agent_of_many_gets_the_lines_of_all(tmp_path: Path) -> None:
    ship = Collector(tmp_path, '["m*"]')
    one = 'command = ["/bin/sh", "-c", "echo $UNBOXED_UNIT; exec sleep 1000"]\n'
    mains = {f"m{number}": one for number in range(40)}
    with Stack(tmp_path, {**mains, "ship": ship.unit + LOGS}) as stack:
        ship.wait(stack, *mains)
        stack.write("m40", one)
        stack.call("ReloadUnits")
        stack.call("Start", units=["m40"])
        ship.wait(stack, "m40")
        agent = stack.row("ship")["pid"]
        assert alive(agent)


def test_many_agents_of_one_each_get_all_lines(tmp_path: Path) -> None:
    ships = [Collector(tmp_path, name=f"ship{number}") for number in range(8)]
    units = {ship.name: ship.unit + LOGS for ship in ships}
    with Stack(tmp_path, {"web": LAST, **units}) as stack:
        for ship in ships:
            ship.wait(stack, "first")
    for ship in ships:
        assert ship.messages() == ["first", "last"]
