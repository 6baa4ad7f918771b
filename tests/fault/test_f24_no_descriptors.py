"""Fault 24: a process of the supervisor has no descriptor left. Control answers, nothing spins, and
all that was refused meanwhile is made up for once there are some."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.fault.lifecycle import SLEEP, cpu_s, descriptors, limited, supervisor, three
from tests.stack import Stack

SECONDS = 2.0
CALLS = 5
SHARE = 0.02
ANSWER_S = 1.5  # with nothing to accept with, the listeners rest for a second
CLIENTS = 30
TALKER = "command = ['/bin/sh', '-c', 'echo hello; exec sleep 1000']\nautostart = false\n"


@contextlib.contextmanager
def nothing_left(pid: int) -> Iterator[None]:
    """Whatever the process opens in here is refused with EMFILE."""
    taken = descriptors(pid)
    lowest_free = next(number for number in range(len(taken) + 1) if number not in taken)
    with limited(pid, "Max open files", lowest_free):
        yield


@contextlib.contextmanager
def demand(stack: Stack) -> Iterator[None]:
    """A new service with a new log, one that has to be started again, and idle clients."""
    old = stack.row("old")["pid"]
    stack.call("Start", units=["new"], wait=False)
    os.kill(old, signal.SIGKILL)
    with contextlib.ExitStack() as idle:
        for _ in range(CLIENTS):
            idle.enter_context(stack.connect())
        yield


def stored(stack: Stack, key: str) -> bytes:
    return b"".join(path.read_bytes() for path in sorted((stack.log / key).glob("*.log")))


@pytest.mark.parametrize(
    "mode, victim",
    [("cgroup", "keeper"), ("cgroup", "manager"), ("session", "manager"), ("cgroup", "logger")],
)
def test_f24_control_answers_and_nothing_spins(mode: str, victim: str) -> None:
    units = {"old": SLEEP + "[restart]\ndelay = 0\n"}
    units["new"] = TALKER + '[restart]\ndelay = "200ms"\nfactor = 1\nlimit = "none"\n'
    with supervisor(mode, units) as stack:
        pids = three(stack)
        stack.wait("old", "running")
        with nothing_left(pids[victim]), demand(stack):
            began, used = time.monotonic(), {name: cpu_s(pid) for name, pid in pids.items()}
            for number in range(CALLS):
                asked = time.monotonic()
                assert stack.call("Status", units=["old"])["instances"]
                assert time.monotonic() - asked < ANSWER_S
                time.sleep(max(0.0, began + SECONDS * (number + 1) / CALLS - time.monotonic()))
            took = time.monotonic() - began
            for name, pid in pids.items():
                share = (cpu_s(pid) - used[name]) / took
                assert share < SHARE, f"the {name} used {share:.1%} of a CPU"
        stack.wait("old", "running", test=lambda row: row["restarts"] >= 1)
        stack.wait("new", "running")
        stack.until(lambda: b"hello\n" in stored(stack, "new"), "what it said")
        assert three(stack) == pids, "none of them ended"
