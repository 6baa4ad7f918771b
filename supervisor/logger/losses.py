"""What is lost of a stream, counted to the byte under SIGKILL at any instant.

Law: nothing leaves a pipe without being stored or counted. What is to be dropped is spliced to the
end of a file in the runtime directory (memory), whose size is the count: splice(2) takes from the
pipe exactly what that grew by. To give the memory back, an empty (sparse) file of the same size
takes its place, by rename(2). When the loss is declared in the stream, the file is removed; one
that a killed logger left is declared by the next, unless the stream's last record is its own.

    RUNTIME/logger/KEY@N.FROM.REASON.lost        FROM: realtime ns, which also is the loss's name
"""
from __future__ import annotations

import posix
import time

from supervisor.logger.notice import reason as words
from supervisor.logger.notice import say

DIRECTORY = "logger"
SUFFIX = ".lost"
FRESH = ".new"
OPEN = posix.O_RDWR | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_CLOEXEC
FLAGS = posix.SPLICE_F_MOVE | posix.SPLICE_F_NONBLOCK
MOST_BYTES = 1 << 16  # that a file may take of memory before it is replaced by an empty one

RECORD = b'{"from": '  # so each record begins
MOST_RECORD = 256  # bytes of one

FULL = "full"  # storage failed, and the pipe was full
SLOW = "slow"  # storage took long, and the pipe was full
RATE = "rate"  # it came faster than `logs.rate`


class Ledger:
    """Where losses are counted. `runtime` is the runtime directory, "" for none: then nothing can
    be lost, and writers wait."""

    __slots__ = ("_left", "path")

    def __init__(self, runtime: str) -> None:
        self.path = f"{runtime}/{DIRECTORY}" if runtime else ""
        self._left: dict[str, list[Loss]] = {}
        try:
            names = posix.listdir(self.path) if runtime else []
        except FileNotFoundError:
            names = []
        except OSError as error:
            say(f"cannot read {self.path}: {words(error)}; losses of an earlier logger that are"
                " counted there are not declared")
            names = []
        for name in names:
            if loss := _left_over(self.path, name):
                self._left.setdefault(loss.stream, []).append(loss)

    def left(self, stream: str) -> list[Loss]:
        """Losses that a killed logger counted and perhaps has not declared, oldest first. Each is
        given once."""
        return sorted(self._left.pop(stream, ()), key=lambda loss: loss.from_ns)

    def put_back(self, losses: list[Loss]) -> None:
        """They could not be declared yet."""
        for loss in losses:
            loss.close()
            self._left.setdefault(loss.stream, []).append(loss)

    def streams_left(self) -> list[str]:
        return list(self._left)

    def begin(self, stream: str, reason: str) -> Loss:
        """Raises OSError if nothing can be counted."""
        if not self.path:
            raise FileNotFoundError(2, "there is no runtime directory")
        try:
            posix.mkdir(self.path, 0o700)
        except FileExistsError:
            pass
        now_ns = time.time_ns()
        loss = Loss(self.path, stream, now_ns, reason)
        loss.open()
        return loss


class Loss:
    """One loss that goes on. `size` in bytes, `to_ns` the time of the last of them; `old`: it is
    another logger's."""

    __slots__ = ("_directory", "_empty", "_fd", "from_ns", "old", "reason", "size", "stream",
                 "to_ns")

    def __init__(self, directory: str, stream: str, from_ns: int, reason: str) -> None:
        self._directory = directory
        self.stream = stream
        self.from_ns = from_ns
        self.to_ns = from_ns
        self.reason = reason
        self.size = 0
        self.old = False
        self._fd = -1
        self._empty = 0  # so much of the file takes no memory

    @property
    def path(self) -> str:
        return f"{self._directory}/{self.stream}.{self.from_ns}.{self.reason}{SUFFIX}"

    def open(self) -> None:
        self._fd = posix.open(self.path, OPEN, 0o600)
        self._empty = self.size = posix.fstat(self._fd).st_size

    def take(self, pipe: int, most: int) -> int:
        """Drop up to `most` bytes of the pipe; returns how many. Raises OSError, and then they are
        still in it."""
        if self._fd < 0:
            self.open()
        try:
            taken = posix.splice(pipe, self._fd, most, offset_dst=self.size, flags=FLAGS)
        except BlockingIOError:
            return 0
        self.size += taken
        self.to_ns = max(time.time_ns(), self.from_ns)
        if self.size - self._empty > MOST_BYTES:
            self._give_back()
        return taken

    def _give_back(self) -> None:
        """Put an empty file in the place of this one; if that fails, it keeps its memory."""
        fresh = self.path + FRESH
        try:
            fd = posix.open(fresh, OPEN, 0o600)
            try:
                posix.ftruncate(fd, self.size)
                posix.rename(fresh, self.path)
            except OSError:
                posix.close(fd)
                raise
        except OSError:
            return
        posix.close(self._fd)
        self._fd = fd
        self._empty = self.size

    def record(self) -> bytes:
        """The line that declares it."""
        return (
            f'{{"from": {self.from_ns}, "to": {self.to_ns}, "bytes": {self.size},'
            f' "reason": "{self.reason}"}}\n'
        ).encode()

    def close(self) -> None:
        if self._fd >= 0:
            posix.close(self._fd)
        self._fd = -1

    def forget(self) -> None:
        """It is declared."""
        self.close()
        try:
            posix.unlink(self.path)
        except FileNotFoundError:
            return


def declared_from(record: bytes) -> int:
    """The `from` of a record; -1 if this is none."""
    head, comma, _ = record.partition(b",")
    number = head.removeprefix(RECORD)
    whole = len(number) < len(head) and number.isdigit() and comma and record.endswith(b"}\n")
    return int(number) if whole else -1


def _left_over(directory: str, name: str) -> Loss | None:
    """What a killed logger counted. What it only began to make is removed."""
    stream, from_ns, reason = (*name.removesuffix(SUFFIX).rsplit(".", 2), "", "")[:3]
    try:
        if name.endswith(SUFFIX + FRESH):
            posix.unlink(f"{directory}/{name}")
        if not (name.endswith(SUFFIX) and from_ns.isascii() and from_ns.isdigit()):
            return None
        found = posix.stat(f"{directory}/{name}", follow_symlinks=False)
        if not found.st_size:
            posix.unlink(f"{directory}/{name}")
            return None
    except OSError:
        return None
    loss = Loss(directory, stream, int(from_ns), reason)
    loss.size, loss.old = found.st_size, True
    loss.to_ns = max(found.st_mtime_ns, loss.from_ns)
    return loss
