"""Fault 45: clients die while they follow logs or events, or wait: not one descriptor is left.

Neither in the manager, nor in the logger (who knows nothing of followers), nor in the keeper.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fault.witness import at_rest, check, witness
from tests.stack import ROOT, Stack

CLIENTS = 30  # of each kind; a uid may have 64 at once
FOLLOWERS = 6  # real commands, each an interpreter to start
RUNNING = ("running",)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    units = {
        "web": witness(tmp_path, "web", after="while :; do echo hello; sleep 0.01; done"),
        "slow": "autostart = false\n" + witness(tmp_path, "slow") + '[start]\nready = "notify"\n',
        "brief": witness(tmp_path, "brief") + "[restart]\ndelay = 0\n",
    }
    with Stack(tmp_path, units) as stack:
        check(stack, {"web": RUNNING, "slow": ("stopped",), "brief": RUNNING})
        yield stack


def descriptors(stack: Stack) -> dict[str, list[str]]:
    """What each of the three processes has open."""
    assert stack.process is not None
    found = {}
    for name, pid in (
        ("keeper", stack.process.pid), ("manager", stack.manager), ("logger", stack.logger),
    ):  # fmt: skip
        paths = [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
        found[name] = sorted(os.readlink(path) for path in paths if os.path.lexists(path))
    return found


def nothing_left(stack: Stack, before: dict[str, list[str]]) -> None:
    now = before

    def same() -> bool:
        nonlocal now
        now = descriptors(stack)
        return now == before

    try:
        stack.until(same, "every descriptor to be closed")
    except AssertionError:
        left = {who: sorted(set(now[who]) ^ set(before[who])) for who in now}
        raise AssertionError(f"not as before: {left}") from None


def message(method: str, *, more: bool = False, **parameters: object) -> bytes:
    call = {"method": f"io.unboxed.Supervisor.{method}", "parameters": parameters, "more": more}
    return json.dumps(call).encode() + b"\0"


def follow_events(_stack: Stack, sock: socket.socket) -> None:
    sock.sendall(message("Events", more=True))
    assert b'"ready":true' in sock.recv(1 << 16)


def events_unread(stack: Stack, sock: socket.socket) -> None:
    """What is unread at the end makes the manager's side an error, not an end of file."""
    sock.sendall(message("Events", more=True))
    stack.call("Restart", units=["brief"])


def half_a_call(_stack: Stack, sock: socket.socket) -> None:
    sock.sendall(message("Events", more=True)[:20])


def no_word(_stack: Stack, _sock: socket.socket) -> None:
    pass


def wait_for_start(_stack: Stack, sock: socket.socket) -> None:
    sock.sendall(message("Start", more=True, units=["slow"]))
    assert b'"progress"' in sock.recv(1 << 16)


def ask_and_hang_up(_stack: Stack, sock: socket.socket) -> None:
    sock.sendall(message("Status") * 20)


def client(stack: Stack, behave: Callable[[Stack, socket.socket], None]) -> int:
    """A process that has nothing but such a connection, and waits to be killed."""
    with stack.connect() as sock:
        behave(stack, sock)
        child = os.fork()
        if not child:
            signal.pause()
        return child


@pytest.mark.parametrize("behave", [
    follow_events, events_unread, half_a_call, no_word, wait_for_start, ask_and_hang_up,
])  # fmt: skip
def test_f45_a_client_that_dies_leaves_nothing_open(
    stack: Stack, behave: Callable[[Stack, socket.socket], None]
) -> None:
    if behave is wait_for_start:  # its notify socket is there as long as it starts
        stack.call("Start", units=["slow"], wait=False)
        stack.wait("slow", "starting")
    stack.call("Restart", units=["brief"])
    before = at_rest(stack, lambda: descriptors(stack))
    for at_once in (1, CLIENTS):
        children: list[int] = []
        try:
            children.extend(client(stack, behave) for _ in range(at_once))
        finally:
            for child in children:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
        stack.call("Restart", units=["brief"])
        nothing_left(stack, before)
    assert stack.row("web")["state"] == "running"


def all_said(stack: Stack, followers: list[subprocess.Popen[bytes]]) -> bool:
    stack.call("Restart", units=["brief"])  # an event
    outputs = [one.stdout for one in followers if one.stdout is not None]
    return len(select.select(outputs, [], [], 0)[0]) == len(followers)


@pytest.mark.parametrize("words", [("logs", "-f"), ("logs", "-f", "web"), ("events",)])
def test_f45_a_killed_follower_leaves_nothing_open(stack: Stack, words: tuple[str, ...]) -> None:
    env = {
        **os.environ, "UNBOXED_RUNTIME_DIR": str(stack.runtime),
        "UNBOXED_LOG_DIR": str(stack.log), "UNBOXED_STATE_DIR": str(stack.home / "state"),
    }  # fmt: skip
    before = at_rest(stack, lambda: descriptors(stack))
    command = [sys.executable, "-m", "supervisor.cli", *words]
    followers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=env)
        for _ in range(FOLLOWERS)
    ]
    try:
        stack.until(lambda: all_said(stack, followers), "all to follow")
    finally:
        for follower in followers:
            follower.kill()
            follower.communicate()
    nothing_left(stack, before)
    lines = len((stack.home / "web.starts").read_text().splitlines())
    assert lines == 1, "the service has not noticed"
