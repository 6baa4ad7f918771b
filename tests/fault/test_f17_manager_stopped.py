"""Fault 17, end to end: the manager stands still (SIGSTOP).

Services run on and their logs are stored. As long as nobody wants anything of it, nothing happens
(the keeper has no timer); once somebody does, or a service has ended, it is replaced. What takes
10 s there takes 0.5 s here (UNBOXED_PING_TIMEOUT_MS), so a second stands for the minute.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.witness import check, replaced, starts, witness
from tests.stack import Stack, alive

PATIENCE_S = 0.5
RUNNING = {"talker": ("running",), "victim": ("running",)}


# Shell words that print numbered lines for ever, ten thousand a second at most.
COUNTER = (
    "i=0; while :; do i=$((i + 1)); echo line $i; [ $((i % 100)) != 0 ] || sleep 0.01; done"
)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    units = {
        "talker": witness(tmp_path, "talker", after=COUNTER),
        "victim": witness(tmp_path, "victim") + "[restart]\ndelay = 0\n",
    }
    env = {"UNBOXED_PING_TIMEOUT_MS": str(int(PATIENCE_S * 1000))}
    with Stack(tmp_path, units, env=env) as stack:
        check(stack, RUNNING)
        yield stack


def logged(stack: Stack) -> list[int]:
    """The numbers of the lines stored so far."""
    segments = sorted((stack.log / "talker").glob("*.log"))
    text = b"".join(path.read_bytes() for path in segments)
    return [int(line.split()[1]) for line in text.splitlines(keepends=True) if line[-1:] == b"\n"]


def nothing_lost(stack: Stack) -> None:
    lines = logged(stack)
    assert lines == list(range(1, len(lines) + 1))


def stop(stack: Stack) -> int:
    manager = stack.manager
    os.kill(manager, signal.SIGSTOP)
    return manager


def test_f17_nobody_misses_a_stopped_manager_that_nobody_needs(stack: Stack) -> None:
    pids = {key: row["pid"] for key, row in stack.rows().items()}
    manager = stop(stack)
    before = len(logged(stack))
    time.sleep(2 * PATIENCE_S)  # the wait is the test: nothing may happen
    assert stack.manager == manager
    assert len(logged(stack)) > before, "its log is not stored"
    os.kill(manager, signal.SIGCONT)
    check(stack, RUNNING)
    assert {key: row["pid"] for key, row in stack.rows().items()} == pids
    assert stack.call("Status")["supervisor"]["manager_starts"] == 1
    nothing_lost(stack)


def test_f17_a_nudge_replaces_it(stack: Stack) -> None:
    pids = {key: row["pid"] for key, row in stack.rows().items()}
    manager = stop(stack)
    began = time.monotonic()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nudge:
        nudge.sendto(b"", str(stack.runtime / "nudge"))
    replaced(stack, manager)
    assert PATIENCE_S < time.monotonic() - began < PATIENCE_S + 2
    assert not alive(manager)
    check(stack, RUNNING)
    assert {key: row["pid"] for key, row in stack.rows().items()} == pids
    nothing_lost(stack)


def test_f17_an_end_that_waits_to_be_heard_replaces_it(stack: Stack) -> None:
    pids = {key: row["pid"] for key, row in stack.rows().items()}
    manager = stop(stack)
    os.kill(pids["victim"], signal.SIGKILL)
    replaced(stack, manager)
    assert not alive(manager)
    stack.wait("victim", "running", test=lambda row: row["pid"] not in (0, pids["victim"]))
    check(stack, RUNNING)
    assert stack.row("talker")["pid"] == pids["talker"]
    assert stack.row("victim")["restarts"] == 1
    assert len(starts(stack.home, "victim")) == 2
    nothing_lost(stack)


def test_f17_a_client_that_waits_is_answered_by_the_next_one(stack: Stack) -> None:
    """It asked the one that stands still; the socket's queue outlives that one."""
    manager = stop(stack)
    with stack.connect() as sock:
        sock.sendall(b'{"method":"io.unboxed.Supervisor.Status"}\0')
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nudge:
            nudge.sendto(b"", str(stack.runtime / "nudge"))
        answer = sock.recv(1 << 16)
    assert b'"talker"' in answer
    assert not alive(manager)
