"""uvicorn without its clock: it wakes up ten times a second to look whether it should end, and to
write the date. This one ends when it is told, and otherwise sleeps.

Law: whoever has not shown the token keeps nobody else out: a connection is closed if its request
does not come (uvicorn waits for ever), and what is no HTTP is nothing to write down.
"""
from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from types import FrameType

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S = 10.0  # from a connection, or the first byte on one that is kept, to all headers
_CONNECTIONS = 256
_END_S = 2  # for answers that are under way


class _Impatient(H11Protocol):
    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._look()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._rest()

    def _look(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._rest()
        elif self._due is None:
            self._due = self.loop.call_later(REQUEST_S, self.transport.close)

    def _rest(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None


class QuietServer(uvicorn.Server):
    """`ending` is called once, when it is to end: what streams must end first."""

    def __init__(self, app: ASGIApp, ending: Callable[[], None]) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        super().__init__(uvicorn.Config(
            app, loop="asyncio", http=_Impatient, ws="none", lifespan="off", log_config=None,
            access_log=False, server_header=False, date_header=False, proxy_headers=False,
            limit_concurrency=_CONNECTIONS, timeout_graceful_shutdown=_END_S,
        ))
        self._ending = ending
        self._told: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._told = asyncio.Event()
        if not self.should_exit:
            await self._told.wait()
        self._ending()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM and SIGINT: an orderly end, with exit code 0."""
        self.end()

    def end(self) -> None:
        self.should_exit = True
        if self._loop is not None and self._told is not None:
            self._loop.call_soon_threadsafe(self._told.set)


def listen(host: str, port: int) -> socket.socket:
    """Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(128)
    except BaseException:
        sock.close()
        raise
    return sock
