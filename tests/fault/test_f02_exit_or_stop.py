"""Fault 2: services end by themselves just as they are stopped, 10,000 times: each end is told
exactly once, each run is followed by at most one more, and what was to be stopped is."""

from __future__ import annotations

import itertools
import json
import os
import random
import socket
import time
from collections import Counter
from typing import Any

import pytest

from tests.fault.lifecycle import both_modes, supervisor, three
from tests.stack import PATIENCE, Stack, children

INSTANCES = 50
# 10,000 races; with the other way of tracking, where only the look for what is left differs, 2,000.
ROUNDS = {"cgroup": 200, "session": 40}
# All wait at a barrier: the end of a FIFO that the test holds open.
UNIT = (
    "command = ['/bin/sh', '-c', 'read x < {home}/barrier; exit 0']\n"
    f"instances = {INSTANCES}\nautostart = false\n"
    '[restart]\nwhen = "{when}"\ndelay = 0\nlimit = "none"\n'
)
ENDS = {"exit 0", "killed by SIGTERM"}


class Events:
    """The stream of transitions, from when it was opened."""

    def __init__(self, stack: Stack) -> None:
        self.sock = stack.connect()
        self.data = b""
        call = {"method": "io.unboxed.Supervisor.Events", "more": True}
        self.sock.sendall(json.dumps(call).encode() + b"\0")
        assert self.next() == {"ready": True}

    def next(self) -> dict[str, Any]:
        while b"\0" not in self.data:
            part = self.sock.recv(1 << 20)
            assert part
            self.data += part
        text, _, self.data = self.data.partition(b"\0")
        found: dict[str, Any] = json.loads(text)["parameters"]
        return found

    def until_all_are(self, phase: str) -> list[dict[str, Any]]:
        """Everything up to when the last instance has entered `phase`."""
        now: dict[str, str] = {}
        seen = []
        while list(now.values()).count(phase) < INSTANCES:
            event = self.next()["event"]
            now[event["key"]] = event["to"]
            seen.append(event)
        return seen


def barrier(stack: Stack) -> int:
    """Its end that holds back whoever reads."""
    return os.open(stack.home / "barrier", os.O_RDWR)


def ask(sock: socket.socket, method: str) -> None:
    call = {"method": f"io.unboxed.Supervisor.{method}", "parameters": {"units": ["one"]}}
    sock.sendall(json.dumps(call).encode() + b"\0")


def judge(events: list[dict[str, Any]], when: str) -> None:
    for key in {event["key"] for event in events}:
        path = [event for event in events if event["key"] == key]
        for before, after in itertools.pairwise(path):
            assert before["to"] == after["from"], path
        steps = [event["to"] for event in path]
        assert steps.count("down") == 1, path
        assert steps[-1] == "down", path
        assert "failed" not in steps, path
        again = steps.count("launching")
        assert again <= (when == "always"), path


@pytest.mark.slow
@pytest.mark.timeout(200)
@both_modes
def test_f02_each_end_counts_once_and_the_stop_wins(mode: str) -> None:
    chance = random.Random(2)
    ends: Counter[str] = Counter()
    with supervisor(mode, {}) as stack:
        os.mkfifo(stack.home / "barrier")
        (stack.home / "barrier").chmod(0o666)
        events = Events(stack)
        spared = set(three(stack).values())
        with stack.connect() as sock:
            for number in range(ROUNDS[mode]):
                when = "always" if number % 2 else "never"
                stack.write("one", UNIT.format(home=stack.home, when=when))
                stack.call("ReloadUnits")
                held = barrier(stack)
                ask(sock, "Start")
                events.until_all_are("up")
                first, second = (chance.random() < 0.5, chance.random() * 0.004)
                if first:
                    os.close(held)
                until = time.monotonic() + second
                while time.monotonic() < until:
                    pass
                ask(sock, "Stop")
                if not first:
                    os.close(held)
                judge(events.until_all_are("down"), when)
                sock.recv(1 << 16)
                rows = stack.rows().values()
                assert {row["state"] for row in rows} == {"stopped"}
                ends.update(row["last_exit"] for row in rows)
                assert not any(row["pid"] for row in rows)
        assert set(ends) == ENDS
        assert min(ends.values()) > max(ends.values()) / 20, f"hardly a race: {ends}"
        keeper = three(stack)["keeper"]
        stack.until(lambda: set(children(keeper)) <= spared, "an empty table", PATIENCE)
        events.sock.close()
        stack.write("one", 'command = ["/bin/true"]\nautostart = false\n')
        stack.call("ReloadUnits")
