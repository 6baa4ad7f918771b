"""One HTTP connection that requests are posted over, and what the answers mean.

Law: a status that a later try, or an administrator, can change means Later; only a receiver that
says that it will never take these lines (400, 422) makes them lost.
"""
from __future__ import annotations

import http.client
import socket
import ssl
import time
import zlib
from email.utils import parsedate_to_datetime

from supervisor.agents.shipper.outcome import Later, Never, TooLarge, words
from supervisor.agents.shipper.settings import Settings, Tls

ANSWER_BYTES = 64 << 10
REASON_CHARACTERS = 300
MOST_SECONDS = 600.0  # that Retry-After is believed
NEVER = {400, 422}
TOO_LARGE = 413
GZIP = 31  # zlib's window bits for gzip's format
LEVEL = 3


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Raises OSError, with `ssl.SSLError` among them, for files that are no certificates."""
    context = ssl.create_default_context(cafile=tls.ca or None)
    if tls.cert:
        context.load_cert_chain(tls.cert, tls.key)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _Secure(http.client.HTTPSConnection):
    """With a name to verify that may be another than the host's."""

    def __init__(self, settings: Settings, context: ssl.SSLContext) -> None:
        super().__init__(
            settings.host, settings.port, timeout=settings.timeout_seconds, context=context)
        self._given = context
        self._name = settings.tls.server_name or settings.host

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), self.timeout)
        try:
            self.sock = self._given.wrap_socket(plain, server_hostname=self._name)
        except BaseException:
            plain.close()
            raise


class Post:
    """Raises OSError at once if the TLS files cannot be used."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.path
        self._gzip = settings.gzip
        self._headers = {"Content-Type": "application/json", "User-Agent": "unboxed-shipper",
                         **settings.headers}
        if settings.gzip:
            self._headers["Content-Encoding"] = "gzip"
        self._connection: http.client.HTTPConnection
        if settings.scheme == "https":
            self._connection = _Secure(settings, tls_context(settings.tls))
        else:
            self._connection = http.client.HTTPConnection(
                settings.host, settings.port, timeout=settings.timeout_seconds)
        self._used = False

    def close(self) -> None:
        self._connection.close()
        self._used = False

    def send(self, body: bytes, timeout_seconds: float) -> bytes:
        """The answer's body. Raises Later, TooLarge or Never."""
        if self._gzip:
            packer = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP)
            body = packer.compress(body) + packer.flush()
        self._connection.timeout = timeout_seconds
        if self._connection.sock:
            self._connection.sock.settimeout(timeout_seconds)
        try:
            status, after_seconds, answer = self._request(body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Later(_words(error)) from None
        if 200 <= status < 300:
            return answer
        said = " ".join(answer[:REASON_CHARACTERS].decode("utf-8", "replace").split())
        why = f"it answers {status} {http.client.responses.get(status, '')}".rstrip()
        why = f"{why}: {said}" if said else why
        if status == TOO_LARGE:
            raise TooLarge(why)
        if status in NEVER:
            raise Never(why)
        raise Later(why, after_seconds)

    def _request(self, body: bytes) -> tuple[int, float, bytes]:
        """(status, seconds of Retry-After, answer)."""
        try:
            return self._exchange(body)
        except (ConnectionError, http.client.BadStatusLine):
            if not self._used:
                raise
            self.close()  # an idle connection may be closed by the other side at any time
            return self._exchange(body)

    def _exchange(self, body: bytes) -> tuple[int, float, bytes]:
        self._connection.request("POST", self._path, body, self._headers)
        with self._connection.getresponse() as response:
            answer = response.read(ANSWER_BYTES)
            self._used = True
            if not response.isclosed():
                self.close()  # there is more than anybody wants to read
            return response.status, _seconds(response.getheader("Retry-After")), answer


def _seconds(text: str | None) -> float:
    """Of Retry-After: a number, or a date (RFC 9110, 10.2.3). 0: there is none."""
    if not text:
        return 0
    try:
        found = float(text) if text.strip().isdecimal() else (
            parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0
    return min(max(0.0, found), MOST_SECONDS)


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, OSError) and error.strerror:
        return words(error)
    if isinstance(error, http.client.HTTPException) and not isinstance(error, ConnectionError):
        return f"what it answers is no HTTP ({type(error).__name__})"
    return str(error) or type(error).__name__
