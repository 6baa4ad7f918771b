"""One segment and its index, open for reading. They may grow, and be deleted, meanwhile.

Law: what has no index entry is not lost. Bytes behind the last entry (the logger was killed, or is
just about to write it) came when the file was last changed; bytes of a segment that has no index at
all too.
"""
from __future__ import annotations

import os
from bisect import bisect_left, bisect_right

from supervisor.logger.form import ENTRY, ENTRY_BYTES, INDEX, LOG, OUTPUT, segment_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK_ENTRIES = 1024
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Segment:
    """Offsets are those of the stream. Raises FileNotFoundError if the segment is gone."""

    def __init__(self, directory: str, start: int) -> None:
        self.start = start
        self._index = -1
        path = directory + "/" + segment_name(start, "")
        self._log = os.open(path + LOG, READ)
        try:
            self._index = os.open(path + INDEX, READ)
        except FileNotFoundError:
            pass
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        for fd in (self._log, self._index):
            if fd >= 0:
                os.close(fd)
        self._log = self._index = -1

    @property
    def end(self) -> int:
        return self.start + os.fstat(self._log).st_size

    @property
    def noted_end(self) -> int:
        """Where the last index entry ends."""
        count = self._count()
        if not count:
            return self.start
        _, offset, length, _, _ = self._entry(count - 1)
        return min(offset + length, self.end)

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._log, length, offset - self.start)

    def since(self, time_ns: int) -> int:
        """The offset of the first arrival at or after that time (of what follows them all: then the
        unnoted bytes, if any, are left)."""
        count = self._count()
        at = bisect_left(range(count), time_ns, key=lambda i: self._entry(i)[0])
        return self._entry(at)[1] if at < count else self.noted_end

    def until(self, time_ns: int) -> int:
        """The offset of the first arrival after that time, or the end."""
        count = self._count()
        at = bisect_right(range(count), time_ns, key=lambda i: self._entry(i)[0])
        return self._entry(at)[1] if at < count else self.end

    def arrivals(self, offset: int, end: int) -> Iterator[tuple[int, int, int]]:
        """(time, stream, end of it) for all bytes from `offset` to `end`."""
        count = self._count()
        at = max(0, bisect_right(range(count), offset, key=lambda i: self._entry(i)[1]) - 1)
        changed_ns = os.fstat(self._log).st_mtime_ns
        time_ns, stream, noted = changed_ns, OUTPUT, offset
        first = True
        for entry_ns, begin, length, kind, _ in self._entries(at, count):
            if begin > offset:
                if first:  # nothing says when they came, but not after this
                    time_ns, stream = entry_ns, kind
                yield time_ns, stream, min(begin, end)
                offset = begin
                if offset >= end:
                    return
            time_ns, stream, noted, first = entry_ns, kind, begin + length, False
        if offset < noted and offset < end:
            yield time_ns, stream, min(noted, end)
            offset = noted
        if offset < end:
            yield (changed_ns if first else max(time_ns, changed_ns)), stream, end

    def _count(self) -> int:
        return 0 if self._index < 0 else os.fstat(self._index).st_size // ENTRY_BYTES

    def _entry(self, number: int) -> tuple[int, int, int, int, int]:
        data = os.pread(self._index, ENTRY_BYTES, number * ENTRY_BYTES)
        return ENTRY.unpack(data)

    def _entries(self, at: int, count: int) -> Iterator[tuple[int, ...]]:
        while at < count:
            block = min(count - at, BLOCK_ENTRIES)
            data = os.pread(self._index, block * ENTRY_BYTES, at * ENTRY_BYTES)
            data = data[: len(data) - len(data) % ENTRY_BYTES]
            if not data:
                return
            yield from ENTRY.iter_unpack(data)
            at += len(data) // ENTRY_BYTES
