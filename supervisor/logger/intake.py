"""What the keeper has to say, taken only when there is room for the pipes that come along.

Law: no pipe is lost for want of descriptors. While there is no room the keeper is not heard: its
datagrams stay in the socket, and its streams in their pipes.
"""
from __future__ import annotations

import posix
import select
import time
from _socket import CMSG_LEN, MSG_CMSG_CLOEXEC, MSG_CTRUNC, MSG_DONTWAIT, SCM_RIGHTS, socket

from supervisor.kernel.wire import MAX_FDS, MAX_FRAME
from supervisor.logger import frames
from supervisor.logger.form import directory_of
from supervisor.logger.notice import say
from supervisor.logger.room import Room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

DEAF_NS = 500_000_000


class Intake:
    """`most`: how many descriptors there may be. `make_room` closes those that can be opened again.
    `deaf_until_ns`: the keeper is not heard until then (monotonic; 0: it is)."""

    def __init__(
        self, keeper: socket, most: int, epoll: select.epoll, make_room: Callable[[], None]
    ) -> None:
        self._keeper = keeper
        self.fd = keeper.fileno()
        self._room = Room(most)
        self._epoll = epoll
        self._make_room = make_room
        self.deaf_until_ns = 0
        epoll.register(self.fd, select.EPOLLIN)

    def hear(self) -> None:
        """Look for room once more."""
        if self._room.is_there(self.fd):
            self.deaf_until_ns = 0
            self._epoll.modify(self.fd, select.EPOLLIN)
        else:
            self._deafen()

    def _deafen(self) -> None:
        if not self.deaf_until_ns:
            say("cannot take a log pipe: too many open files; its unit waits when the pipe is full")
            self._epoll.modify(self.fd, 0)
        self.deaf_until_ns = time.monotonic_ns() + DEAF_NS

    def receive(self) -> list[tuple[int, str, str, int]] | None:
        """(op, stream's name, options, descriptor or -1) of one datagram's frames; None when the
        keeper has closed its end. Keys in names are those of directories."""
        if not (self.deaf_until_ns or self._room.is_there(self.fd)):
            self._make_room()
            if not self._room.is_there(self.fd):
                self._deafen()
                return []
        try:
            datagram, control, flags, _ = self._keeper.recvmsg(
                MAX_FRAME, CMSG_LEN(4 * MAX_FDS), MSG_DONTWAIT | MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return []
        except ConnectionResetError:
            return None
        fds: list[int] = []
        for _, kind, data in control:
            if kind == SCM_RIGHTS:
                fds += memoryview(data[: len(data) & ~3]).cast("i")
        if not datagram:
            return None
        if flags & MSG_CTRUNC:
            say("cannot take a log pipe: too many open files; starting anew, to be given it again")
            raise SystemExit(1)
        known, unwanted = frames.decode(datagram, fds)
        for fd in unwanted:
            posix.close(fd)
        return [row for row in map(_named, known) if row[1]]


def _named(row: tuple[int, str, str, int]) -> tuple[int, str, str, int]:
    op, key, text, fd = row
    try:
        return op, directory_of(key), text, fd
    except ValueError as error:
        say(str(error))
        if fd >= 0:
            posix.close(fd)
        return op, "", "", -1
