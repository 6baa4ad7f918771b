"""uvicorn without its clock: it wakes up ten times a second to look whether it should end, and to
write the date. This one ends when it is told, and otherwise sleeps."""
from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

_CONNECTIONS = 256
_END_S = 2  # for answers that are under way


class QuietServer(uvicorn.Server):
    """`ending` is called once, when it is to end: what streams must end first."""

    def __init__(self, app: ASGIApp, ending: Callable[[], None]) -> None:
        super().__init__(uvicorn.Config(
            app, loop="asyncio", http="h11", ws="none", lifespan="off", log_config=None,
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
