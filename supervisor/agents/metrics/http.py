"""A small HTTP server, for scrapers: one thread, its own epoll, no wake-up while nobody asks.

Law: whoever asks can cost little. So many connections, so many bytes of a request and so many
seconds for it; the answer is sent as it is taken, and who does not take it is cut off. One request
a connection. While one answer is made the others wait: they would wait for the supervisor anyhow.
"""
from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

MOST = 32  # connections; those beyond wait in the kernel's queue
REQUEST_BYTES = 16 * 1024
REQUEST_S = 5.0
ANSWER_S = 30.0  # to take one
_LINGER_BYTES = 64 * 1024
_REASONS = {
    200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
    431: "Request Header Fields Too Large", 500: "Internal Server Error",
    503: "Service Unavailable", 505: "HTTP Version Not Supported",
}  # fmt: skip


class Request(NamedTuple):
    """`headers`: names in small letters; of one that comes twice, both values with a comma."""

    path: str
    headers: dict[str, str]


class Response(NamedTuple):
    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/plain; charset=utf-8"),)


Handler = Callable[[Request], Response]


class _Refused(Exception):
    """`response` says why."""

    def __init__(self, status: int, reason: str, *headers: tuple[str, str]) -> None:
        super().__init__(reason)
        plain = ("Content-Type", "text/plain; charset=utf-8")
        self.response = Response(status, f"{reason}\n".encode(), (plain, *headers))


class _Client:
    def __init__(self, sock: socket.socket, due: float) -> None:
        self.sock = sock
        self.due = due  # when it is cut off
        self.inbox = bytearray()
        self.out = memoryview(b"")
        self.done = False  # answered: what else it says is thrown away until it hangs up


class Server:
    """`listener`: listening; it stays the caller's. `clock`: monotonic seconds."""

    def __init__(
        self, listener: socket.socket, handler: Handler, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._listener = listener
        self._handler = handler
        self._clock = clock
        self._clients: dict[socket.socket, _Client] = {}
        self._selector = selectors.DefaultSelector()
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        self._accepting = True

    def serve(self) -> None:
        """Until the end of the process."""
        while True:
            self.turn()

    def turn(self, wait_s: float | None = None) -> None:
        """Wait (at most so long) for something to do, and do it."""
        now = self._clock()
        due = min((client.due for client in self._clients.values()), default=None)
        if due is not None:
            left = max(0.0, due - now)
            wait_s = left if wait_s is None else min(wait_s, left)
        for key, _ in self._selector.select(wait_s):
            if key.fileobj is self._listener:
                self._accept()
            else:
                self._go_on(key.data)
        now = self._clock()
        for client in [c for c in self._clients.values() if c.due <= now]:
            self._drop(client)

    def close(self) -> None:
        for client in list(self._clients.values()):
            self._drop(client)
        self._selector.close()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return  # it hung up before its turn, or there is no descriptor left: it comes again
        sock.setblocking(False)
        client = self._clients[sock] = _Client(sock, self._clock() + REQUEST_S)
        self._selector.register(sock, selectors.EVENT_READ, client)
        if len(self._clients) >= MOST:
            self._selector.unregister(self._listener)
            self._accepting = False

    def _drop(self, client: _Client) -> None:
        del self._clients[client.sock]
        self._selector.unregister(client.sock)
        client.sock.close()
        if not self._accepting:
            self._accepting = True
            self._selector.register(self._listener, selectors.EVENT_READ)

    def _go_on(self, client: _Client) -> None:
        try:
            if client.out:
                self._send(client)
                return
            data = client.sock.recv(REQUEST_BYTES)
            if not data:
                self._drop(client)
                return
            client.inbox += data
            if client.done:
                if len(client.inbox) > _LINGER_BYTES:
                    self._drop(client)
                return
            answer = self._answer(client.inbox)
            if answer is not None:
                client.out = memoryview(answer)
                client.due = self._clock() + ANSWER_S
                self._send(client)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)

    def _send(self, client: _Client) -> None:
        """As much as it takes. Then it is to hang up: to close first, with something of it unread,
        would take the answer away from it (RFC 9112, 9.6)."""
        client.out = client.out[client.sock.send(client.out) :]
        if client.out:
            self._selector.modify(client.sock, selectors.EVENT_WRITE, client)
        else:
            client.done = True
            client.due = self._clock() + REQUEST_S
            client.sock.shutdown(socket.SHUT_WR)
            self._selector.modify(client.sock, selectors.EVENT_READ, client)

    def _answer(self, inbox: bytearray) -> bytes | None:
        """None: the request is not complete."""
        head, end, _ = bytes(inbox).partition(b"\r\n\r\n")
        method = ""
        try:
            if not end:
                if len(inbox) < REQUEST_BYTES:
                    return None
                raise _Refused(431, f"A request here has at most {REQUEST_BYTES} bytes.")
            method, request = _parse(head)
            response = self._handler(request)
        except _Refused as refused:
            response = refused.response
        except Exception as error:  # noqa: BLE001 - what breaks over one request ends no other
            response = Response(500, f"{type(error).__name__}\n".encode())
        lines = [
            f"HTTP/1.1 {response.status} {_REASONS[response.status]}",
            *(f"{name}: {value}" for name, value in response.headers),
            f"Content-Length: {len(response.body)}", "Connection: close", "", "",
        ]  # fmt: skip
        return "\r\n".join(lines).encode("latin-1", "replace") + (
            b"" if method == "HEAD" else response.body)


def _parse(head: bytes) -> tuple[str, Request]:
    """Raises _Refused."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[1].startswith("/") or not words[2].startswith("HTTP/"):
        raise _Refused(400, "That is no HTTP request.")
    method, target, version = words
    if version not in {"HTTP/1.0", "HTTP/1.1"}:
        raise _Refused(505, "HTTP/1.1 is spoken here.")
    if method not in {"GET", "HEAD"}:
        raise _Refused(405, "Only GET and HEAD are answered here.", ("Allow", "GET, HEAD"))
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip() or "\n" in line or "\r" in line:
            raise _Refused(400, "That is no header line.")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return method, Request(target.partition("?")[0], headers)
