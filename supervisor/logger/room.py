"""Whether the pipes that a datagram of the keeper's brings can be taken: one that cannot is lost.

Law: numbers are given out from the lowest on. So if the one that is MAX_FDS below the limit is
free, then so are those above it, unless there was no room at all just before.
"""
from __future__ import annotations

import fcntl
import posix

from supervisor.kernel.wire import MAX_FDS


class Room:
    """`most` is the limit of descriptors. When it is lowered there is no room until it is back."""

    __slots__ = ("_number",)

    def __init__(self, most: int) -> None:
        self._number = max(most - MAX_FDS, most // 2)

    def is_there(self, fd: int) -> bool:
        """`fd` is any open one."""
        try:
            found = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, self._number)
        except OSError:
            return False
        posix.close(found)
        return found == self._number
