"""The shipper as a real process, fed by the test, and receivers for it on loopback."""
from __future__ import annotations

import contextlib
import gzip
import json
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 20.0


def fed(number: int, message: str = "", **more: Any) -> bytes:
    """A line as the feed writes it."""
    line = {
        "time": "2026-11-21T13:00:00.000000000Z", "time_ns": 1_795_266_000_000_000_000 + number,
        "unit": "web", "instance": 0, "stream": "output", "message": message or f"line {number}",
        "seq": number, "cursor": f"web@{number + 1:x}", **more}
    return json.dumps(line).encode() + b"\n"


class Shipper:
    """`lines` is what it reads, `acks` what it acknowledges to."""

    def __init__(self, home: Path, settings: str, *arguments: str) -> None:
        self.settings = home / "shipper.toml"
        self.settings.write_text(settings)
        self.log = home / "shipper.log"
        self._arguments = arguments

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self) -> None:
        theirs, self.lines = os.pipe2(os.O_CLOEXEC)
        self.acks, acks = os.pipe2(os.O_CLOEXEC)
        os.set_inheritable(acks, True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "supervisor.cli", "agent", "shipper", *self._arguments,
                 str(self.settings)],
                stdin=theirs, stdout=log, stderr=log, pass_fds=[acks], cwd=ROOT,
                env={**os.environ, "UNBOXED_ACK_FD": str(acks), "PYTHONPATH": str(ROOT)})
        os.close(theirs)
        os.close(acks)
        os.set_blocking(self.acks, False)
        self._acknowledged = ""

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for descriptor in (self.lines, self.acks):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def feed(self, *lines: bytes) -> None:
        data = memoryview(b"".join(lines))
        while data:
            data = data[os.write(self.lines, data) :]

    def end_input(self) -> None:
        os.close(self.lines)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    def acknowledged(self) -> str:
        """The newest cursor, "" for none yet."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.acks, 1 << 16):
                self._acknowledged = data.decode().split()[-1]
        return self._acknowledged

    def wait_acknowledged(self, cursor: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.acknowledged() != cursor:
            left = deadline - time.monotonic()
            assert left > 0, (self._acknowledged, self.said())
            select.select([self.acks], [], [], left)

    def said(self) -> str:
        return self.log.read_text()

    def wait_said(self, words: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while words not in self.said():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.01)

    def memory_kib(self) -> int:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line[:6] == "VmHWM:")


class Request:
    def __init__(self, path: str, headers: dict[str, str], body: bytes) -> None:
        self.path = path
        self.headers = headers
        self.data = body

    @property
    def body(self) -> Any:
        packed = self.headers.get("content-encoding") == "gzip"
        return json.loads(gzip.decompress(self.data) if packed else self.data)


Answer = Callable[[BaseHTTPRequestHandler], None]  # what becomes of one request


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


OK = status(204)


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def half_an_answer(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 2")
    hang_up(handler)


def garbage(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"\0\xff nonsense\r\n\r\n")
    hang_up(handler)


def last_answer(handler: BaseHTTPRequestHandler) -> None:
    """It is taken, and then the connection is closed, which nobody told of."""
    OK(handler)
    hang_up(handler)


def silence(handler: BaseHTTPRequestHandler) -> None:
    """Until the shipper hangs up."""
    select.select([handler.connection], [], [], PATIENCE)
    handler.close_connection = True


class Receiver:
    """`answers` one request each, then all are taken. `taken` are the requests with a 2xx."""

    def __init__(
        self, *answers: Answer, port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.requests.append(Request(self.path, headers, body))
                answer = receiver.answers.pop(0) if receiver.answers else OK
                with contextlib.suppress(OSError):
                    answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name above
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                return  # a shipper that was killed, or does not trust us

        self._server = Server(("127.0.0.1", port), Handler)
        if tls:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def loki_lines(self) -> list[str]:
        """The messages of all requests, in order."""
        return [
            value[1] for request in self.requests for stream in request.body["streams"]
            for value in stream["values"]
        ]


@contextlib.contextmanager
def free_port() -> Iterator[int]:
    """A port that nobody listens on, and nobody else is given meanwhile."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def certificates(directory: Path) -> None:
    """ca.pem, and cert.pem with key.pem for the name "receiver.test" that it signed."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes certificates, is not installed")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority", "-days", "2",
            "-addext", "keyUsage=critical,keyCertSign")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=receiver.test", "-days", "2",
            "-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE",
            "-addext", "subjectAltName=DNS:receiver.test,DNS:localhost")
