"""Feeds that cannot do their work, or have none left: nobody else notices."""
from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

from tests.scenario.agents.kit import Collector, feeds
from tests.stack import ROOT, Stack, command_line

LOGS = '[agent]\nreceives = ["logs"]\n'
DRAIN = 'stop.drain = "50ms"\n'
SAYS = 'command = ["/bin/sh", "-c", "echo hello from $UNBOXED_UNIT; exec sleep 1000"]\n'


def test_an_agent_that_closes_its_input_gets_no_more(tmp_path: Path) -> None:
    script = f"read line; exec <&-; touch {tmp_path}/closed; exec sleep 1000"
    closes = json.dumps(["/bin/sh", "-c", script])
    units = {"web": SAYS, "ship": f'command = {closes}\nattach = "web"\n{DRAIN}{LOGS}'}
    with Stack(tmp_path, units) as stack:
        stack.until((tmp_path / "closed").exists, "its first line")
        seen: set[int] = set()

        def none_for_long() -> bool:
            """A second one may look whether that was a stranger's doing."""
            since = time.monotonic()
            while not feeds(stack) and time.monotonic() < since + 0.5:
                time.sleep(0.01)
            seen.update(feeds(stack))
            return not feeds(stack)

        stack.until(none_for_long, "the end of the feed")
        stack.call("Restart", units=["web"])
        assert none_for_long()
        assert len(seen) <= 2
        assert stack.row("ship")["restarts"] == 0
        stack.call("Stop", units=["ship"])
        assert "cannot feed" not in stack.errors.read_text()


def test_a_feed_that_a_stranger_ends_is_replaced(tmp_path: Path) -> None:
    ship = Collector(tmp_path)
    with Stack(tmp_path, {"web": SAYS, "ship": ship.unit + LOGS}) as stack:
        ship.wait(stack, "hello from web")
        (feed,) = feeds(stack)
        os.kill(feed, signal.SIGTERM)
        stack.until(lambda: feeds(stack) not in ([], [feed]), "another feed")
        stack.call("Restart", units=["web"])
        stack.until(lambda: ship.messages() == ["hello from web"] * 2, "both lines")
        assert len(ship.life("begin")) == 1


def test_a_feed_that_cannot_work_is_tried_ever_more_rarely(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT / "supervisor", source / "supervisor",
                    ignore=shutil.ignore_patterns("__pycache__", "agents"))
    feed = source / "supervisor" / "logger" / "feed.py"
    good = feed.read_text()
    feed.write_text("import sys\nsys.exit(3)\n")
    ship = Collector(tmp_path)
    stack = Stack(tmp_path, {"web": SAYS, "ship": ship.unit + LOGS}, source=source)
    with stack:
        began = time.monotonic()
        words = "its feed ended: exit 3"
        stack.until(lambda: stack.errors.read_text().count(words) >= 4, "4 tries")
        assert time.monotonic() - began > 0.2
        assert {row["state"] for row in stack.rows().values()} == {"running"}
        stack.call("Restart", units=["web"])
        feed.write_text(good)
        ship.wait(stack, "hello from web")
        assert len(ship.life("begin")) == 1


def test_a_group_is_followed_as_its_members_change(tmp_path: Path) -> None:
    ship = Collector(tmp_path, '"shop"')
    group = 'kind = "group"\nneeds.wants = {}\n'
    units = {"web": SAYS, "db": SAYS, "ship": ship.unit + LOGS, "shop": group.format('["web"]')}
    with Stack(tmp_path, units) as stack:
        ship.wait(stack, "hello from web")
        (feed,) = feeds(stack)
        assert "-- web" in command_line(feed)
        stack.write("shop", group.format('["web", "db"]'))
        stack.call("ReloadUnits")
        assert stack.row("ship")["attached"] == ["db", "web"]
        stack.until(lambda: len(feeds(stack)) == 1 and feeds(stack) != [feed], "another feed")
        stack.call("Restart", units=["db"])
        ship.wait(stack, "hello from db")
        assert stack.row("ship")["restarts"] == 0


def test_the_manager_has_no_more_descriptors_after_many_agents(tmp_path: Path) -> None:
    ship = Collector(tmp_path)
    every = '[agent]\nreceives = ["logs", "cgroup", "pidfd", "endpoints"]\ncursor = true\n'

    def held() -> int:
        return len(os.listdir(f"/proc/{stack.manager}/fd"))

    with Stack(tmp_path, {"web": SAYS, "ship": ship.unit + every}) as stack:
        ship.wait(stack, "hello from web")
        stack.call("Restart", units=["ship"])
        before = held()  # perhaps with the connection that was just answered
        for _ in range(4):
            stack.call("Restart", units=["ship"])
        stack.until(lambda: len(feeds(stack)) == 1, "one feed")
        stack.until(lambda: held() <= before, "no more descriptors than before")


def test_whoever_may_only_look_sees_whose_agent_it_is_and_how_far_behind(tmp_path: Path) -> None:
    ship = Collector(tmp_path)
    with Stack(tmp_path, {"web": SAYS, "ship": ship.unit + LOGS}) as stack:
        ship.wait(stack, "hello from web")
        stack.until(lambda: stack.row("ship")["behind_bytes"] == 0, "all of it")
        with stack.connect("status") as sock:
            sock.sendall(b'{"method": "io.unboxed.Supervisor.Status", "parameters": {}}\0')
            data = b""
            while not data.endswith(b"\0"):
                data += sock.recv(65536)
        rows = {row["key"]: row for row in json.loads(data[:-1])["parameters"]["instances"]}
        assert rows["ship"]["attached"] == ["web"]
        assert rows["ship"]["behind_bytes"] == 0
        assert rows["web"]["agents"] == ["ship"]
        assert rows["web"]["behind_bytes"] is None
        stack.call("Stop", units=["ship"])
        assert stack.row("ship")["behind_bytes"] is None
