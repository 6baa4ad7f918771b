"""A scraper gets its answer; who is slow, silent or no HTTP client costs nobody else one."""
from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from supervisor.agents.metrics import http
from supervisor.agents.metrics.http import Request, Response, Server

BIG = b"x" * (8 << 20)  # more than a socket's buffers hold


class Site:
    """A server that the test turns, on a clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.requests: list[Request] = []
        self.server = Server(self.listener, self.answer, lambda: self.now)
        self.clients: list[socket.socket] = []

    def answer(self, request: Request) -> Response:
        self.requests.append(request)
        if request.path == "/broken":
            raise ZeroDivisionError
        return Response(200, BIG if request.path == "/big" else b"hello")

    def client(self, data: bytes = b"") -> socket.socket:
        sock = socket.create_connection(self.listener.getsockname(), 5)
        self.clients.append(sock)
        if data:
            sock.sendall(data)
        self.turn()
        return sock

    def turn(self, times: int = 8) -> None:
        for _ in range(times):
            self.server.turn(0.002)

    def get(self, data: bytes) -> bytes:
        """All that it is answered, until the server has nothing more to say."""
        sock = self.client(data)
        sock.setblocking(False)
        parts: list[bytes] = []
        for _ in range(10_000):
            self.server.turn(0.001)
            try:
                part = sock.recv(1 << 20)
            except BlockingIOError:
                continue
            if not part:
                return b"".join(parts)
            parts.append(part)
        raise AssertionError(f"no end of the answer: {parts}")

    def close(self) -> None:
        self.server.close()
        for sock in (*self.clients, self.listener):
            sock.close()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


def test_a_get_is_answered_and_the_connection_ends(site: Site) -> None:
    text = site.get(b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nAccept: a\r\nACCEPT:  b \r\n\r\n")
    assert text == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n"
        b"Connection: close\r\n\r\nhello")
    assert site.requests == [Request("/a", {"host": "x", "accept": "a,b"})]


def test_head_is_answered_without_the_body(site: Site) -> None:
    text = site.get(b"HEAD / HTTP/1.0\r\n\r\n")
    assert text.endswith(b"Content-Length: 5\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize("data, status", [
    (b"POST /metrics HTTP/1.1\r\n\r\n", 405), (b"BREW / HTTP/1.1\r\n\r\n", 405),
    (b"GET http://x/ HTTP/1.1\r\n\r\n", 400), (b"hello\r\n\r\n", 400),
    (b"GET / HTTP/2.0\r\n\r\n", 505), (b"GET / HTTP/1.1\r\nno header\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n folded: x\r\n\r\n", 400), (b"GET / HTTP/1.1\r\na: b\nc: d\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\r\n\r\n", 400), (b"GET /broken HTTP/1.1\r\n\r\n", 500),
    (b"GET / HTTP/1.1\r\nA: " + b"x" * http.REQUEST_BYTES, 431),
])  # fmt: skip
def test_what_is_no_request_for_us_is_refused_and_ends_nothing(
    site: Site, data: bytes, status: int
) -> None:
    assert site.get(data).startswith(b"HTTP/1.1 %d " % status)
    assert site.get(b"GET / HTTP/1.1\r\n\r\n").endswith(b"hello")


def test_a_request_may_come_in_pieces(site: Site) -> None:
    sock = site.client()
    for byte in b"GET / HTTP/1.1\r\n\r\n":
        sock.sendall(bytes([byte]))
        site.turn(2)
    site.turn()
    assert sock.recv(4096).endswith(b"hello")


def test_who_does_not_finish_a_request_is_cut_off(site: Site) -> None:
    slow = site.client(b"GET / HT")
    site.now = http.REQUEST_S - 0.1
    slow.sendall(b"T")
    site.turn()
    assert not gone(slow)
    site.now = http.REQUEST_S
    site.turn()
    assert gone(slow)


def test_who_does_not_take_the_answer_holds_up_nobody_and_is_cut_off(site: Site) -> None:
    idle = site.client(b"GET /big HTTP/1.1\r\n\r\n")
    assert site.get(b"GET / HTTP/1.1\r\n\r\n").endswith(b"hello")
    site.now = http.ANSWER_S
    site.turn()
    taken = 0
    with contextlib.suppress(ConnectionResetError):
        while data := idle.recv(1 << 20):
            taken += len(data)
    assert taken < len(BIG)
    assert idle.getsockname() not in [one.getpeername() for one in site.server._clients]


def test_a_big_answer_is_sent_as_it_is_taken(site: Site) -> None:
    text = site.get(b"GET /big HTTP/1.1\r\n\r\n")
    assert text.partition(b"\r\n\r\n")[2] == BIG


def test_silent_connections_keep_nobody_out_for_long(site: Site) -> None:
    silent = [site.client() for _ in range(http.MOST)]
    late = site.client(b"GET / HTTP/1.1\r\n\r\n")
    assert site.requests == []
    site.now = http.REQUEST_S
    site.turn()
    site.turn()
    assert all(map(gone, silent))
    assert late.recv(4096).endswith(b"hello")


def test_what_comes_after_a_request_is_thrown_away(site: Site) -> None:
    sock = site.client(b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    site.turn()
    assert sock.recv(4096).endswith(b"hello")
    assert len(site.requests) == 1
    sock.sendall(b"x" * 1000)
    site.turn()
    sock.close()
    site.turn()
    assert site.server._clients == {}


def test_nobody_asks_and_nothing_wakes_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.get(b"GET / HTTP/1.1\r\n\r\n")
    for sock in site.clients:
        sock.close()
    site.turn()
    waited: list[float | None] = []

    def select(wait: float | None = None) -> list[Any]:
        waited.append(wait)
        return []

    monkeypatch.setattr(site.server._selector, "select", select)
    site.server.turn()
    assert waited == [None]


def gone(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return not sock.recv(1)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
