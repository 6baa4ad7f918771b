"""Syslog, RFC 5424, over TCP (RFC 6587, octet counting) or TLS (RFC 5425).

Law: the protocol has no answers. A batch counts as delivered when the receiver's kernel has
confirmed all of it, which is the most that can be known: what a receiver has in its memory when it
dies is lost, and only a receiver that answers (Loki, OTLP) can do better.
"""
from __future__ import annotations

import fcntl
import re
import select
import socket
import ssl
import time

from supervisor.agents.shipper.intake import Line
from supervisor.agents.shipper.outcome import Later, words
from supervisor.agents.shipper.post import tls_context
from supervisor.agents.shipper.settings import Settings
from supervisor.agents.shipper.severity import INFO, WARNING, split

SIOCOUTQ = 0x5411  # tcp(7): bytes in the send queue that are not confirmed
CONFIRM_SECONDS = 0.002  # between two looks at it, then twice as long each time
SECOND_NS = 1_000_000_000
ENTERPRISE = "32473"  # the number that RFC 5612 keeps for examples; nobody else's
_NOT_NAME = re.compile(r"[^!-~]")
_ESCAPED = re.compile(r'(["\\\]])')


class Syslog:
    """Raises OSError if the TLS files cannot be used."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._host = _name(settings.host_name, 255)
        self._context = tls_context(settings.tls) if settings.scheme == "tls" else None
        self._labels = "".join(
            f' {_name(key, 32)}="{_escape(value)}"' for key, value in settings.labels.items())
        self._socket: socket.socket | None = None

    def close(self) -> None:
        if self._socket:
            self._socket.close()
            self._socket = None

    def send(self, lines: list[Line], timeout_seconds: float) -> int:
        data = b"".join([self._frame(line) for line in lines])
        deadline = time.monotonic() + timeout_seconds
        try:
            connected = self._connected(timeout_seconds)
            connected.sendall(data)
            self._confirmed(connected, deadline)
        except OSError as error:
            self.close()
            raise Later(_words(error)) from None
        return 0

    def _connected(self, timeout_seconds: float) -> socket.socket:
        if self._socket and _ended(self._socket):
            self.close()
        if not self._socket:
            where = (self._settings.host, self._settings.port)
            made = socket.create_connection(where, timeout_seconds)
            try:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                if self._context:
                    name = self._settings.tls.server_name or self._settings.host
                    made = self._context.wrap_socket(made, server_hostname=name)
            except BaseException:
                made.close()
                raise
            self._socket = made
        self._socket.settimeout(timeout_seconds)
        return self._socket

    def _confirmed(self, connected: socket.socket, deadline: float) -> None:
        wait = CONFIRM_SECONDS
        while int.from_bytes(fcntl.ioctl(connected, SIOCOUTQ, bytes(4)), "little"):
            if _ended(connected):
                raise ConnectionResetError
            if time.monotonic() >= deadline:
                raise TimeoutError
            time.sleep(wait)
            wait = min(0.1, 2 * wait)

    def _frame(self, line: Line) -> bytes:
        severity, message = split(line.message)
        if severity is None:
            severity = WARNING if line.stream == "lost" else INFO
        seconds, rest_ns = divmod(line.time_ns, SECOND_NS)
        year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
        partial = ' partial="true"' if line.partial else ""
        text = (
            f"<{self._settings.facility * 8 + severity}>1 "
            f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}."
            f"{rest_ns // 1000:06}Z {self._host} {_name(line.unit, 48)} {line.instance} "
            f'{line.stream} [unboxed@{ENTERPRISE} unit="{_escape(line.unit)}"'
            f' instance="{line.instance}" seq="{line.seq}"{partial}{self._labels}] {message}'
        ).encode("utf-8", "replace")
        return b"%d %b" % (len(text), text)


def _name(text: str, most: int) -> str:
    """Printable ASCII without spaces; "-" is syslog's nothing."""
    return _NOT_NAME.sub("_", text)[:most] or "-"


def _escape(text: str) -> str:
    return _ESCAPED.sub(r"\\\1", text)


def _ended(connected: socket.socket) -> bool:
    """Whether the receiver has closed the connection. It says nothing else, ever."""
    poll = select.poll()
    poll.register(connected, select.POLLIN)
    if not poll.poll(0):
        return False
    try:
        connected.setblocking(False)
        while connected.recv(4096):
            continue
    except (BlockingIOError, ssl.SSLWantReadError):  # TLS' own talk
        return False
    except OSError:
        return True
    return True


def _words(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "it does not take them in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return words(error) or str(error) or "it closed the connection"
