"""One log stream: its newest segment, to which one pipe or two bring bytes, and what it lost.

Law: `move` either moves bytes and notes them, or raises OSError and leaves them where they are; the
next `move` goes on. What a removed file took in the meantime is still `owed` to its successor. A
byte that leaves a pipe is stored or counted as lost, and a loss is declared before anything that
came after it is stored.
"""
from __future__ import annotations

import posix
import time

from supervisor.logger import tail as tails
from supervisor.logger.directory import LogDirectory
from supervisor.logger.form import ENTRY_BYTES, LOSS
from supervisor.logger.losses import RATE, declared_from
from supervisor.logger.meter import Meter
from supervisor.logger.notice import reason as words
from supervisor.logger.pipe import waiting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervisor.logger.losses import Ledger, Loss
    from supervisor.logger.options import Options
    from supervisor.logger.tail import Tail
    from supervisor.logger.tally import Tally

TURN_BYTES = 1 << 20  # at most that much before others have their turn
CHECK_NS = 1_000_000_000  # how often a stream that is written looks whether its directory was moved


class Stream:
    """`name` is the directory's. `end` is the offset of the next byte (-1: not known yet). `owed`
    is (descriptor, offset, length, kind) of bytes in an unlinked file, `losses` what is not
    declared yet, oldest first, `pipes` how many feed it."""

    __slots__ = (
        "_ledger", "_meter", "_row", "_tally", "end", "last_ns", "losses", "losses_begun", "lost",
        "name", "options", "owed", "pipes", "stored", "tail",
    )

    def __init__(self, name: str, options: Options, ledger: Ledger, tally: Tally) -> None:
        self.name = name
        self.options = options
        self.end = -1
        self.tail: Tail | None = None
        self.owed: tuple[int, int, int, int] | None = None
        self.pipes = 0
        self._ledger = ledger
        self._meter = Meter()
        self._tally = tally
        self.losses: list[Loss] = ledger.left(name)
        self._row, self.stored, self.lost, self.losses_begun, self.last_ns = tally.row(name)
        if not self.losses_begun:
            self.losses_begun = len(self.losses)
            self.lost = sum(loss.size for loss in self.losses)

    def move(self, fd: int, kind: int, directory: LogDirectory, most: int = TURN_BYTES) -> int:
        """Move what the pipe holds, at most `most`; returns how many bytes, 0 if it was empty. What
        is more than `logs.rate` allows is dropped instead.

        Raises OSError if they cannot be stored now; the tail is closed then.
        """
        rate_bytes = self.options.rate_bytes
        if not rate_bytes:
            return self._store(fd, kind, directory, most)
        now_ns = time.monotonic_ns()
        allowed = self._meter.allowed(rate_bytes, now_ns)
        if not allowed:
            if not waiting(fd):
                return 0
            if now_ns >= self._meter.shut_until_ns:
                self._meter.shut(rate_bytes, now_ns)
            return self.lose(fd, RATE)
        moved = self._store(fd, kind, directory, min(most, allowed))
        self._meter.took(moved)
        if moved == allowed and waiting(fd):
            self._meter.shut(rate_bytes, now_ns)
        return moved

    def lose(self, fd: int, reason: str) -> int:
        """Drop what the pipe holds; returns how many bytes. Raises OSError if nothing can be
        counted; then they are still in it."""
        loss = next((one for one in self.losses if one.reason == reason and not one.old), None)
        try:
            if loss is None:
                loss = self._ledger.begin(self.name, reason)
                self.losses.append(loss)
                self.losses_begun += 1
            taken = loss.take(fd, TURN_BYTES)
        except OSError as error:
            why = f"its losses cannot be counted in {self._ledger.path}: {words(error)}"
            raise OSError(error.errno, why) from error
        self.lost += taken
        self._count()
        return taken

    def declare(self, directory: LogDirectory) -> None:
        """Write down all that is lost. Raises OSError if that cannot be stored now."""
        try:
            self._declare(directory, time.time_ns())
        except OSError:
            self.close_tail()
            raise

    def _store(self, fd: int, kind: int, directory: LogDirectory, most: int) -> int:
        if not (self.tail or self.owed or self.losses or waiting(fd)):
            return 0  # nothing was ever written, or all is stored: no file is made for that
        try:
            return self._move(fd, kind, directory, most)
        except OSError:
            self.close_tail()
            raise

    def _move(self, fd: int, kind: int, directory: LogDirectory, most: int) -> int:
        now_ns = time.time_ns()
        while self.owed:
            self._settle(self.owed, directory, now_ns)
        if self.losses:
            self._declare(directory, now_ns)
        tail = self._usable_tail(directory, now_ns, 1)
        if kind != tail.kind and not waiting(fd):
            return 0
        tail.expect(kind, now_ns)
        taken = tail.take(fd, min(tail.room(self.options, now_ns), most))
        if not taken:
            return 0
        if tail.unlinked():
            # Somebody removed the file, perhaps before these bytes went in. They are safe as long
            # as it is open, and go into its successor first of all.
            posix.close(tail.index)
            self.tail = None
            self.owed = (tail.log, tail.size - taken, taken, kind)
            return taken
        self._note(tail, taken, directory, now_ns)
        self.stored += taken
        self._count()
        return taken

    def _note(self, tail: Tail, count: int, directory: LogDirectory, now_ns: int) -> None:
        self.end = tail.end
        self.last_ns = now_ns
        tail.note(count, now_ns)
        directory.holdings.grew(self.name, count + ENTRY_BYTES)

    def _count(self) -> None:
        self._tally.count(self._row, self.stored, self.lost, self.losses_begun, self.last_ns)

    def _settle(
        self, owed: tuple[int, int, int, int], directory: LogDirectory, now_ns: int
    ) -> None:
        source, offset, length, kind = owed
        tail = self._usable_tail(directory, now_ns, 1)
        tail.expect(kind, now_ns)
        copied = tail.copy(source, offset, min(tail.room(self.options, now_ns), length))
        if copied:
            self._note(tail, copied, directory, now_ns)
            self.stored += copied
        if 0 < copied < length:
            self.owed = (source, offset + copied, length - copied, kind)
        else:
            posix.close(source)
            self.owed = None

    def _declare(self, directory: LogDirectory, now_ns: int) -> None:
        while self.losses:
            loss = self.losses[0]
            record = loss.record()
            ended = self._newest_tail(directory, now_ns).last_loss() if loss.old else b""
            if loss.size and declared_from(ended) != loss.from_ns:
                tail = self._usable_tail(directory, now_ns, len(record))
                tail.expect(LOSS, now_ns)
                tail.append(record)
                loss.old = True  # it may be there, so it must not grow
                if tail.unlinked():
                    self.close_tail()
                    continue
                self._note(tail, len(record), directory, now_ns)
            loss.forget()
            del self.losses[0]

    def _usable_tail(self, directory: LogDirectory, now_ns: int, least: int) -> Tail:
        """A tail with room for so many bytes."""
        tail = self._newest_tail(directory, now_ns)
        if tail.room(self.options, now_ns) < least:
            end = tail.end
            self.close_tail()
            tail = self.tail = tails.rotate(directory, self.name, end, self.options)
        tail.checked_ns = tail.checked_ns or now_ns
        return tail

    def _newest_tail(self, directory: LogDirectory, now_ns: int) -> Tail:
        """The tail in the directory that has the stream's name."""
        tail = self.tail
        if tail and abs(now_ns - tail.checked_ns) >= CHECK_NS:
            tail.checked_ns = now_ns
            if not directory.holds(self.name, tail.home):
                self.close_tail()
                tail = None
        if not tail:
            tail = self.tail = tails.reopen(directory, self.name, self.end, self.options)
            self.end = tail.end
        return tail

    def close_tail(self) -> None:
        """Give the files back; the next byte opens them again."""
        if self.tail:
            self.tail.close()
            self.tail = None

    def close(self) -> None:
        """Give back all that is open."""
        self.close_tail()
        for loss in self.losses:
            loss.close()

    def forget(self) -> None:
        """Nothing feeds it any more, nor will."""
        self.close()
        self._tally.free(self._row)
