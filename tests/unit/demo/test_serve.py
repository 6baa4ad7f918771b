"""The demo's HTTP server on sockets that it was given: turns, full house, bad clients, the end."""
from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from units.demo.app import serve

ROOT = Path(__file__).resolve().parents[3]

# Answers its pid; /slow does when the test says so, over a pipe, and tells that it has begun.
PROGRAM = """
import os, sys
from units.demo.app import sd
from units.demo.app.serve import Response, Server
os.environ["LISTEN_PID"] = str(os.getpid())
def handle(request):
    if request.path == "/slow":
        print("asked", flush=True)
        os.read(int(sys.argv[1]), 1)
    if request.path == "/broken":
        raise ZeroDivisionError
    return Response(200, str(os.getpid()))
server = Server(handle)
for one in sd.listeners():
    server.listen(one)
server.serve(lambda: print("open", flush=True), lambda: print("closing", flush=True))
"""


class House:
    """Instances of PROGRAM on one listening socket."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.gate, self.open_gate = os.pipe()
        self.instances: list[subprocess.Popen[str]] = []

    def start(self) -> subprocess.Popen[str]:
        number = self.listener.fileno()
        code = f"import os; os.dup2({number}, 3, inheritable=True)" if number != 3 else ""
        os.set_inheritable(self.gate, True)
        child = subprocess.Popen(
            [sys.executable, "-c", f"{code}\n{PROGRAM}", str(self.gate)], cwd=ROOT, text=True,
            env={"LISTEN_FDS": "1", "PATH": os.environ["PATH"]}, stdout=subprocess.PIPE,
            pass_fds={number, self.gate})
        self.instances.append(child)
        assert said(child) == "open"
        return child

    def close(self) -> None:
        os.close(self.open_gate)
        for child in self.instances:
            child.kill()
            child.wait()
            assert child.stdout is not None
            child.stdout.close()
        os.close(self.gate)
        self.listener.close()


def said(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def page(url: str) -> str:
    with urlopen(url, timeout=20) as answer:  # noqa: S310 - a loopback http address
        text: str = answer.read().decode()
        return text


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.close()


def test_instances_on_one_socket_take_turns(house: House) -> None:
    pids = {str(house.start().pid), str(house.start().pid)}
    answered = [page(house.url) for _ in range(8)]
    assert set(answered) == pids
    assert min(answered.count(pid) for pid in pids) >= 2


def test_a_killed_instance_costs_no_request(house: House) -> None:
    first, second = house.start(), house.start()
    first.kill()
    first.wait()
    assert {page(house.url) for _ in range(5)} == {str(second.pid)}


def test_what_was_asked_is_answered_after_sigterm(house: House) -> None:
    child = house.start()
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(page(house.url + "/slow")))
    asking.start()
    assert said(child) == "asked"
    child.send_signal(signal.SIGTERM)
    assert said(child) == "closing"
    assert child.poll() is None
    os.write(house.open_gate, b"!")
    asking.join()
    assert answers == [str(child.pid)]
    assert child.wait(timeout=5) == 0


def test_a_silent_connection_does_not_hold_up_the_end(house: House) -> None:
    child = house.start()
    with socket.create_connection(house.listener.getsockname()):
        assert page(house.url) == str(child.pid)
        started = time.monotonic()
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=10) == 0
    assert time.monotonic() - started < serve.DRAIN_S - 1


def test_above_the_limit_connections_wait_and_are_served_later(house: House) -> None:
    child = house.start()
    address = house.listener.getsockname()
    silent = [socket.create_connection(address) for _ in range(serve.MAX_CONNECTIONS)]
    late = socket.create_connection(address)
    late.sendall(b"GET / HTTP/1.0\r\n\r\n")
    late.settimeout(0.3)
    with pytest.raises(TimeoutError):
        late.recv(1)
    for one in silent:
        one.close()
    late.settimeout(10)
    assert late.makefile().read().endswith(str(child.pid))
    late.close()


@pytest.mark.parametrize("words, status", [
    (b"GET / HTTP/1.0\r\nContent-Length: 99999999\r\n\r\n", b"413"),
    (b"GET / HTTP/1.0\r\nContent-Length: -1\r\n\r\n", b"413"),
    (b"GET / HTTP/1.0\r\nContent-Length: many\r\n\r\n", b"413"),
    (b"BREW / HTTP/1.0\r\n\r\n", b"501"),
    (b"\0\1\2\r\n\r\n", b""),
    (b"GET " + b"/" * 70_000 + b" HTTP/1.0\r\n\r\n", b"414"),
])
def test_a_bad_client_is_answered_and_hurts_nobody(
    house: House, words: bytes, status: bytes
) -> None:
    child = house.start()
    with socket.create_connection(house.listener.getsockname()) as client:
        client.sendall(words)
        client.settimeout(10)
        try:
            answer = client.recv(65536)
        except ConnectionResetError:
            answer = b""
    assert status in answer.split(b"\r\n")[0]
    assert page(house.url) == str(child.pid)


def test_a_handler_that_fails_is_a_500_and_the_next_request_is_served(house: House) -> None:
    child = house.start()
    with pytest.raises(HTTPError, match="500"):
        page(house.url + "/broken")
    assert page(house.url) == str(child.pid)
