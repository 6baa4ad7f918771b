"""One log stream: a pipe of the keeper's, and where its bytes go.

Law: `move` either moves bytes and notes them, or raises OSError and leaves them where they are; the
next `move` goes on. What a removed file took in the meantime is still `owed` to its successor.
"""
from __future__ import annotations

import fcntl
import posix
import time

from supervisor.logger import tail as tails
from supervisor.logger.directory import LogDirectory
from supervisor.logger.form import ENTRY_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervisor.logger.options import Options
    from supervisor.logger.tail import Tail

FIONREAD = 0x541B  # ioctl_tty(2): bytes that can be read
TURN_BYTES = 1 << 20  # at most that much before others have their turn
CHECK_NS = 1_000_000_000  # how often a stream that is written looks whether its directory was moved


def waiting(pipe: int) -> int:
    """Bytes in a pipe."""
    return int.from_bytes(fcntl.ioctl(pipe, FIONREAD, bytes(4)), "little")


class Stream:
    """`name` is the directory's. `end` is the offset of the next byte (-1: not known yet).
    `owed` is (descriptor, offset, length) of bytes in an unlinked file.

    The rest belongs to the loop: `queued`: it waits for a turn, not for its pipe; then `wait_ns`
    between turns and the `capacity` of the pipe mean something. `delay_ns` while its storage fails
    (0: it does not), `moved_ns` the monotonic time of the last bytes; `gone`: nobody writes any
    more; `successor`: another pipe under its name, to be read when this one is empty.
    """

    __slots__ = (
        "capacity", "delay_ns", "end", "gone", "moved_ns", "name", "options", "owed", "pipe",
        "queued", "successor", "tail", "wait_ns",
    )

    def __init__(self, name: str, pipe: int, options: Options) -> None:
        self.name = name
        self.pipe = pipe
        self.options = options
        self.end = -1
        self.tail: Tail | None = None
        self.owed: tuple[int, int, int] | None = None
        self.wait_ns = 0
        self.delay_ns = 0
        self.moved_ns = 0
        self.capacity = 0
        self.queued = False
        self.gone = False
        self.successor: tuple[int, Options] | None = None

    def move(self, directory: LogDirectory) -> int:
        """Move what the pipe holds, at most TURN_BYTES; returns how many bytes, 0 if it was empty.

        Raises OSError if they cannot be stored now; the tail is closed then.
        """
        if self.tail is None and self.owed is None and not waiting(self.pipe):
            return 0  # nothing was ever written, or all is stored: no file is made for that
        try:
            return self._move(directory)
        except OSError:
            self.close_tail()
            raise

    def _move(self, directory: LogDirectory) -> int:
        now_ns = time.time_ns()
        while self.owed:
            self._settle(self.owed, directory, now_ns)
        tail = self._usable_tail(directory, now_ns)
        taken = tail.take(self.pipe, min(tail.room(self.options, now_ns), TURN_BYTES))
        if not taken:
            return 0
        if tail.unlinked():
            # Somebody removed the file, perhaps before these bytes went in. They are safe as long
            # as it is open, and go into its successor first of all.
            posix.close(tail.index)
            self.tail = None
            self.owed = (tail.log, tail.size - taken, taken)
            return taken
        self.end = tail.end
        tail.note(taken, now_ns)
        directory.holdings.grew(self.name, taken + ENTRY_BYTES)
        return taken

    def _settle(self, owed: tuple[int, int, int], directory: LogDirectory, now_ns: int) -> None:
        source, offset, length = owed
        tail = self._usable_tail(directory, now_ns)
        most = min(tail.room(self.options, now_ns), length)
        copied = tail.copy(source, offset, most, now_ns)
        directory.holdings.grew(self.name, copied + ENTRY_BYTES)
        self.end = tail.end
        if 0 < copied < length:
            self.owed = (source, offset + copied, length - copied)
        else:
            posix.close(source)
            self.owed = None

    def _usable_tail(self, directory: LogDirectory, now_ns: int) -> Tail:
        """A tail with room, in the directory that has the stream's name."""
        tail = self.tail
        if tail and abs(now_ns - tail.checked_ns) >= CHECK_NS:
            tail.checked_ns = now_ns
            if not directory.holds(self.name, tail.home):
                self.close_tail()
                tail = None
        if not tail:
            tail = self.tail = tails.reopen(directory, self.name, self.end, self.options)
            self.end = tail.end
        if not tail.room(self.options, now_ns):
            end = tail.end
            self.close_tail()
            tail = self.tail = tails.rotate(directory, self.name, end, self.options)
        tail.checked_ns = tail.checked_ns or now_ns
        return tail

    def close_tail(self) -> None:
        """Give the files back; the next byte opens them again."""
        if self.tail:
            self.tail.close()
            self.tail = None
