"""An HTTP server for sockets that somebody else opened: a thread for each connection, and a
graceful end.

Law: a request that was read is answered, also after SIGTERM. The main thread waits for connections
and signals and does nothing else; above `MAX_CONNECTIONS` it leaves new ones in the kernel's queue,
where another instance may take them. One request a connection, so the end has no idle ones to cut.
"""
from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

MAX_CONNECTIONS = 64
MAX_BODY_BYTES = 16 * 1024
SILENCE_S = 10  # a client that sends nothing for so long is dropped
LAST_CALL_S = 1  # at the end, for open connections to ask something
DRAIN_S = 8  # for requests under way at the end; the unit's stop ladder allows 10

# One process is woken for a connection, not all; and in the order in which they began to wait. Who
# has taken one goes to the end of that line, so the instances take turns.
TURN = select.EPOLLIN | select.EPOLLEXCLUSIVE

HEADERS = {
    "Content-Security-Policy":
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Request(NamedTuple):
    method: str
    path: str
    query: Mapping[str, str]
    kind: str  # content type of the body
    body: bytes

    def form(self) -> dict[str, str]:
        """The fields of a posted form; the last of each name. Raises UnicodeDecodeError."""
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))


class Response(NamedTuple):
    status: int
    body: str
    kind: str = "text/html; charset=utf-8"
    location: str = ""


Handle = Callable[[Request], Response]


class Server:
    """`handle` answers a request, in any thread; `seen` hears of each answer, with its seconds."""

    def __init__(
        self, handle: Handle, *, seen: Callable[[str, str, int, float], None] | None = None,
        reload: Callable[[], None] | None = None,
    ) -> None:
        self._handle = handle
        self.seen = seen
        self._reload = reload
        self._epoll = select.epoll()
        self._listeners: dict[int, socket.socket] = {}
        self._listening = True
        self._open = 0
        self._asked = 0  # of the open ones, those whose request has come
        self._changed = threading.Condition()
        self._stopping = False
        self._wake_up, self._wake = socket.socketpair()
        for end in (self._wake_up, self._wake):
            end.setblocking(False)
        self._epoll.register(self._wake, select.EPOLLIN)

    def listen(self, listener: socket.socket) -> None:
        self._listeners[listener.fileno()] = listener
        self._epoll.register(listener, TURN)

    def serve(self, started: Callable[[], None], stopping: Callable[[], None]) -> None:
        """Serve until SIGTERM or SIGINT, then answer what is under way. Called once."""
        signal.set_wakeup_fd(self._wake_up.fileno())
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)
        started()
        while not self._stopping:
            for number, _ in self._epoll.poll():
                if number in self._listeners:
                    self._accept(self._listeners[number])
                else:
                    self._wake.recv(4096)
        stopping()
        self._drain()

    def _on_stop(self, _number: int, _frame: object) -> None:
        self._stopping = True

    def _on_reload(self, _number: int, _frame: object) -> None:
        if self._reload:
            self._reload()

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # another instance was faster, or the client has gone
        with self._changed:
            self._open += 1
            if self._open >= MAX_CONNECTIONS:
                self._listen(on=False)
            elif self._listening:  # to the end of the line of those that wait
                self._epoll.unregister(listener)
                self._epoll.register(listener, TURN)
        threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(SILENCE_S)
                Conversation(connection, "", self)  # type: ignore[arg-type]
        except OSError:
            pass  # the client went away: its loss
        finally:
            with self._changed:
                self._open -= 1
                if not self._stopping:
                    self._listen(on=True)
                self._changed.notify_all()

    def _listen(self, *, on: bool) -> None:
        if on != self._listening:
            for one in self._listeners:
                if on:
                    self._epoll.register(one, TURN)
                else:
                    self._epoll.unregister(one)
            self._listening = on

    def answer(self, request: Request) -> Response:
        """The answer of `handle`, or a word of regret if it fails."""
        try:
            return self._handle(request)
        except Exception as error:  # noqa: BLE001 - one bad request must not end the shop
            print(f"error {request.method} {request.path}: {error!r}", file=sys.stderr, flush=True)
            return Response(500, "Something broke; it is in the log.\n", "text/plain")

    def under_way(self, change: int) -> None:
        """`change` 1: a request has come; -1: its answer is sent."""
        with self._changed:
            self._asked += change
            self._changed.notify_all()

    def _drain(self) -> None:
        for one in self._listeners.values():
            one.close()
        with self._changed:
            self._changed.wait_for(lambda: self._open == 0, LAST_CALL_S)
            self._changed.wait_for(lambda: self._asked == 0, DRAIN_S)


class Conversation(BaseHTTPRequestHandler):
    """One connection: one request and its answer."""

    server: Server  # type: ignore[assignment]
    server_version = "corner-shop"
    sys_version = ""

    def _converse(self) -> None:
        self.server.under_way(1)
        try:
            self._answer()
        finally:
            self.server.under_way(-1)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _converse  # noqa: N815 - http.server's names

    def _answer(self) -> None:
        started = time.monotonic()
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        try:
            length = int(self.headers.get("Content-Length") or 0)
        except ValueError:
            length = -1
        if 0 <= length <= MAX_BODY_BYTES:
            kind = (self.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
            request = Request(
                self.command, path, dict(parse_qsl(parts.query)), kind, self.rfile.read(length))
            response = self.server.answer(request)
        else:
            response = Response(413, "That is too much.\n", "text/plain")
        self._send(response)
        if self.server.seen:
            self.server.seen(self.command, path, response.status, time.monotonic() - started)

    def _send(self, response: Response) -> None:
        body = response.body.encode()
        self.send_response(response.status)
        self.send_header("Content-Type", response.kind)
        self.send_header("Content-Length", str(len(body)))
        if response.location:
            self.send_header("Location", response.location)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Said by `seen` instead, in one line for each request."""


def private_listener(path: str) -> socket.socket:
    """A unix socket of this process alone; what a killed predecessor left there is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    listener.bind(path)
    listener.listen(16)
    listener.setblocking(False)
    return listener
