"""A pipe of the keeper's: what is in it, and when its turn comes. It feeds one stream.

Law: whoever writes into it waits when it is full, and for nothing else of ours.
"""
from __future__ import annotations

import fcntl
import posix
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervisor.logger.options import Options
    from supervisor.logger.stream import Stream

FIONREAD = 0x541B  # ioctl_tty(2): bytes that can be read
F_SETPIPE_SZ = 1031  # fcntl(2)
F_GETPIPE_SZ = 1032


def waiting(fd: int) -> int:
    """Bytes in a pipe."""
    return int.from_bytes(fcntl.ioctl(fd, FIONREAD, bytes(4)), "little")


class Pipe:
    """`name` is the keeper's, with "@" for "/"; `kind` that of what comes through it.

    The rest belongs to the loop: `queued`: it waits for a turn, not for bytes; then `wait_ns`
    between turns and the `capacity` mean something. `delay_ns` while storage fails (0: it does not)
    and `retry_ns`, when it is tried again; `look_ns` between two looks whether it is full;
    `moved_ns`: monotonic time of the last bytes; `gone`: nobody writes any more; `successor`:
    another pipe under its name, to be read when this one is empty.
    """

    __slots__ = (
        "capacity", "delay_ns", "fd", "gone", "kind", "look_ns", "moved_ns", "name", "queued",
        "retry_ns", "stream", "successor", "wait_ns",
    )

    def __init__(self, name: str, fd: int, kind: int, stream: Stream) -> None:
        self.name = name
        self.fd = fd
        self.kind = kind
        self.stream = stream
        self.capacity = 0
        self.delay_ns = 0
        self.gone = False
        self.look_ns = 0
        self.moved_ns = 0
        self.queued = False
        self.retry_ns = 0
        self.successor: tuple[int, Options] | None = None
        self.wait_ns = 0

    def is_full(self) -> bool:
        """Whether a writer waits, or would soon."""
        room = select.poll()
        room.register(self.fd, select.POLLOUT)
        return not room.poll(0)

    def measure(self) -> None:
        self.capacity = fcntl.fcntl(self.fd, F_GETPIPE_SZ)

    def resize(self, size: int) -> bool:
        """May be refused: pipe(7) limits a user's pages, and a smaller pipe must hold what is in
        it."""
        try:
            self.capacity = fcntl.fcntl(self.fd, F_SETPIPE_SZ, size)
        except OSError:
            return False
        return True

    def is_same(self, fd: int) -> bool:
        mine, other = posix.fstat(self.fd), posix.fstat(fd)
        return (mine.st_dev, mine.st_ino) == (other.st_dev, other.st_ino)
