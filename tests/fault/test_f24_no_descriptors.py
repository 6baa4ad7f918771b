"""Fault 24: a process of the supervisor has no descriptor left. Control answers, nothing spins, and
all that was refused meanwhile is made up for once there are some."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator

import pytest

from tests.blame import Watch
from tests.fault.lifecycle import SLEEP, cpu_s, descriptors, limited, supervisor, three
from tests.fault.witness import at_rest
from tests.stack import Stack

SECONDS = 4.0
CALLS = 5
SHARE = 0.02
ANSWER_S = 1.5  # with nothing to accept with, the listeners rest for a second
CLIENTS = 30
TALKER = "command = ['/bin/sh', '-c', 'echo hello; exec sleep 1000']\nautostart = false\n"


@contextlib.contextmanager
def nothing_left(stack: Stack, pid: int) -> Iterator[None]:
    """Whatever the process opens in here is refused with EMFILE."""
    taken = at_rest(stack, lambda: descriptors(pid))
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


PARKER = """
import array, os, signal, socket
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def park(name):
    fd = array.array("i", [os.memfd_create(name)])
    text = f"FDSTORE=1\\nFDNAME={name}\\nSTATUS=parked {name}".encode()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fd)]
    sock.sendmsg([text], rights, 0, os.environ["NOTIFY_SOCKET"])
signal.signal(signal.SIGHUP, lambda *_: park("without"))
signal.signal(signal.SIGUSR1, lambda *_: park("with"))
sock.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while True:
    signal.pause()
"""


def test_f24_what_a_service_says_counts_though_its_descriptors_cannot_be_taken() -> None:
    words = json.dumps([sys.executable, "-I", "-S", "-c", PARKER])
    unit = f'command = {words}\n[start]\nready = "notify"\n'
    with supervisor("cgroup", {"parker": unit}) as stack:
        row = stack.wait("parker", "running")
        with nothing_left(stack, stack.manager):
            os.kill(row["pid"], signal.SIGHUP)
            stack.until(lambda: told(stack) == "parked without", "its word")
        os.kill(row["pid"], signal.SIGUSR1)
        stack.until(lambda: told(stack) == "parked with", "its word")
        assert stack.row("parker")["pid"] == row["pid"]
        assert "cannot take the descriptors that parker sent" in stack.errors.read_text()
        assert stack.process is not None
        kept = descriptors(stack.process.pid).values()
        assert "/memfd:with (deleted)" in kept
        assert "/memfd:without (deleted)" not in kept


def told(stack: Stack) -> str:
    return str(stack.row("parker")["status_text"])


def stored(stack: Stack, key: str) -> bytes:
    return b"".join(path.read_bytes() for path in sorted((stack.log / key).glob("*.log")))


@pytest.mark.parametrize(
    "mode, victim",
    [("cgroup", "keeper"), ("cgroup", "manager"), ("session", "manager"), ("cgroup", "logger")],
)
def test_f24_control_answers_and_nothing_spins(mode: str, victim: str) -> None:
    units = {"old": SLEEP + "[restart]\ndelay = 0\n"}
    units["new"] = TALKER + '[restart]\ndelay = "400ms"\nfactor = 1\nlimit = "none"\n'
    with supervisor(mode, units) as stack:
        pids = three(stack)
        stack.wait("old", "running")
        with nothing_left(stack, pids[victim]), demand(stack):
            began, used = time.monotonic(), {name: cpu_s(pid) for name, pid in pids.items()}
            for number in range(CALLS):
                watch = Watch(*pids.values())
                assert stack.call("Status", units=["old"])["instances"]
                assert watch.blamed_s() < ANSWER_S
                time.sleep(max(0.0, began + SECONDS * (number + 1) / CALLS - time.monotonic()))
            took = time.monotonic() - began
            for name, pid in pids.items():
                share = (cpu_s(pid) - used[name]) / took
                assert share < SHARE, f"the {name} used {share:.1%} of a CPU"
        stack.wait("old", "running", test=lambda row: row["restarts"] >= 1)
        stack.wait("new", "running")
        stack.until(lambda: b"hello\n" in stored(stack, "new"), "what it said")
        assert three(stack) == pids, "none of them ended"
