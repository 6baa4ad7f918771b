"""Fault 43: half frames, a message of 1 GB, 1,000 idle peers, slow readers: nobody else notices.

The hostile clients are a process of their own; with root they are another user's as well, on the
status socket, since what one uid may occupy is bounded. Without root they are the same user's, and
still may not delay anybody.
"""
from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor.control.client import connect
from supervisor.control.server import PER_UID
from supervisor.model import report
from supervisor.model.request import Call
from tests.blame import Watch
from tests.control_kit import DESCRIPTION, WEB, Loop, message

P99_S = 0.050
ROUNDS = 3  # of measuring: what the server is to blame for is in each, what the machine does is not
CALLS = 200
MEMORY_KB = 40 * 1024  # what hostile clients may cost in all: unread bytes have a bound of 16 MiB
BIG = report.Causes(tuple(
    report.Transition(n, "web", 1, "up", "stopping", "x" * 400) for n in range(1_000)
), WEB)


def _flood(call: Call) -> None:
    """A stream that is faster than most readers."""
    for number in range(400):
        transition = report.Transition(number, "web", 1, "up", "stopping", "x" * 5000)
        call.progress(report.EventReply(event=transition))


def _ponder(call: Call) -> None:
    """As long as a manager of thousands of units might take."""
    until = time.monotonic() + 0.005
    while time.monotonic() < until:
        pass
    call.reply(DESCRIPTION)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """The runtime directory and the pid of a server."""
    loop = Loop(tmp_path)
    loop.desk.scripts["Events"] = _flood
    loop.desk.scripts["Describe"] = _ponder
    loop.desk.answers["Why"] = BIG  # as large as `Status` of 1,000 units
    with loop.process() as pid:
        yield loop.directory, pid
    loop.close()


def _dial() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect("status")
    return sock


def half_frames() -> None:
    socks = [_dial() for _ in range(PER_UID - 4)]
    data = message("Status")
    for byte in data[:-1]:
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.send(bytes([byte]))
        time.sleep(0.02)
    time.sleep(60)


def gigabyte() -> None:
    chunk = b'{"method":"' + b"x" * (1 << 20)
    while True:
        sock = _dial()
        with contextlib.suppress(OSError):
            for _ in range(1024):
                sock.sendall(chunk)
        sock.close()


def idle_peers() -> None:
    socks = [_dial() for _ in range(1000)]
    time.sleep(60)
    assert socks


def slow_readers() -> None:
    socks = []
    for number in range(PER_UID - 4):
        sock = _dial()
        if number % 2:
            sock.sendall(message("Events", more=True))
        else:
            sock.sendall(message("Why", {"unit": "web"}))
        socks.append(sock)
    while True:
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.recv(1)
        time.sleep(0.1)


def pipeliner() -> None:
    """Calls without end, all of them read, on several connections."""
    data = message("Status") * 500
    socks = [_dial() for _ in range(4)]
    while True:
        for sock in socks:
            sock.sendall(data)
        for sock in socks:
            left = 500
            while left:
                left -= sock.recv(1 << 20).count(b"\0")


def expensive_calls() -> None:
    """Nothing but questions that take long to answer, on many connections."""
    socks = [_dial() for _ in range(PER_UID - 4)]
    while True:
        for sock in socks:
            sock.sendall(message("Describe", {"unit": "web"}) * 50)
        for sock in socks:
            left = 50
            while left:
                left -= sock.recv(1 << 20).count(b"\0")


def storm() -> None:
    while True:
        for sock in [_dial() for _ in range(32)]:
            sock.close()


def nonsense() -> None:
    while True:
        sock = _dial()
        with contextlib.suppress(OSError):
            sock.sendall(os.urandom(500) + b"\0")
            sock.recv(1 << 16)
        sock.close()


KINDS = (
    half_frames, gigabyte, idle_peers, slow_readers, pipeliner, expensive_calls, storm, nonsense,
)


@contextlib.contextmanager
def hostile(directory: str, *kinds: Callable[[], None]) -> Iterator[None]:
    children = []
    inside = os.open(directory, os.O_PATH)
    for number, kind in enumerate(kinds):
        child = os.fork()
        if not child:
            os.fchdir(inside)
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresuid(2000 + number, 2000 + number, 2000 + number)
            with contextlib.suppress(BaseException):
                kind()
            os._exit(0)
        children.append(child)
    os.close(inside)
    try:
        yield
        for child, kind in zip(children, kinds, strict=True):
            assert os.waitpid(child, os.WNOHANG) == (0, 0), f"{kind.__name__} gave up"
    finally:
        for child in children:
            os.kill(child, 9)
            os.waitpid(child, 0)


def p99_s(directory: str, pid: int) -> float:
    """Of a client that connects, asks and leaves, less the time without a processor."""
    times = []
    for _ in range(CALLS):
        watch = Watch(pid)
        with connect(directory) as client:
            assert client.call("Status", timeout_s=10)["instances"]
        times.append(watch.blamed_s())
    return sorted(times)[CALLS * 99 // 100]


def memory_kb(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0])


@pytest.mark.parametrize("kinds", [*((kind,) for kind in KINDS), KINDS],
                         ids=[*(kind.__name__ for kind in KINDS), "all_at_once"])
def test_hostile_clients_delay_nobody_and_cost_little(
    served: tuple[str, int], kinds: tuple[Callable[[], None], ...]
) -> None:
    if expensive_calls in kinds and os.geteuid() != 0:
        pytest.skip("needs root: the supervisor's own user may take all the time it wants")
    directory, pid = served
    p99_s(directory, pid)
    before = memory_kb(pid)
    with hostile(directory, *kinds):
        time.sleep(0.2)  # they have begun
        p99s: list[float] = []
        while not p99s or (min(p99s) >= P99_S and len(p99s) < ROUNDS):
            p99s.append(p99_s(directory, pid))
        assert min(p99s) < P99_S
        assert memory_kb(pid) - before < MEMORY_KB
