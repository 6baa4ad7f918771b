"""inotify(7) for readers that follow, through ctypes: the standard library has no call for it.

ctypes is imported here only, so that nothing but following pays for it.
"""
from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

IN_MODIFY = 0x2
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x1000000
IN_ISDIR = 0x40000000
IN_DONT_FOLLOW = 0x2000000

MASK = (
    IN_MODIFY | IN_MOVED_TO | IN_CREATE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR
    | IN_DONT_FOLLOW
)
HEADER_BYTES = 16  # struct inotify_event: i32 wd, u32 mask, u32 cookie, u32 len, then the name


class Watch:
    """Raises OSError if there can be no (further) inotify instance: EMFILE, ENOSYS."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._call(self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)

    def add(self, directory: str) -> int:
        """The number of a watch on a directory. OSError: ENOENT, ENOTDIR, ENOSPC (too many)."""
        path = ctypes.c_char_p(os.fsencode(directory))
        return self._call(self._libc.inotify_add_watch(self._fd, path, ctypes.c_uint32(MASK)))

    def remove(self, number: int) -> None:
        self._libc.inotify_rm_watch(self._fd, number)

    def events(self) -> Iterator[tuple[int, int, str]]:
        """(number of the watch, mask, name in the directory) of all that happened, not waiting."""
        while True:
            try:
                data = os.read(self._fd, 64 << 10)
            except BlockingIOError:
                return
            at = 0
            while at < len(data):
                number = int.from_bytes(data[at : at + 4], "little", signed=True)
                mask = int.from_bytes(data[at + 4 : at + 8], "little")
                length = int.from_bytes(data[at + 12 : at + 16], "little")
                at += HEADER_BYTES
                yield number, mask, os.fsdecode(data[at : at + length].rstrip(b"\0"))
                at += length

    def _call(self, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result
