"""One segment and its index, open for reading. They may grow, be compressed or deleted meanwhile.

Law: what has no index entry is not lost. Bytes behind the last entry (the logger was killed, or is
just about to write it) came when the file was last changed; bytes of a segment that has no index at
all too. Whether a segment is compressed makes no difference to who reads it: the same bytes at the
same offsets, and whoever has it open while it is replaced goes on with what was open.
"""
from __future__ import annotations

import os
from _bisect import bisect_left, bisect_right

from supervisor.logger.form import (
    ENTRY,
    ENTRY_BYTES,
    INDEX,
    LOG,
    OUTPUT,
    PACKED,
    SEQ_DIGITS,
    segment_name,
    segment_start,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from supervisor.logger.packed import Packed

BLOCK_ENTRIES = 1024
FEW_ENTRIES = 1024
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def starts(directory: str) -> list[int]:
    """The offsets of all segments of a stream, in order; [] if there is no such directory."""
    found: set[int] = set()
    for _ in range(2):
        try:
            names = os.listdir(directory)
        except (FileNotFoundError, NotADirectoryError):
            return []
        found = {start for start in map(segment_start, names) if start >= 0}
        # A listing takes several calls if there are many names. It can miss a segment that is
        # replaced between two of them, but not its index, which stays: then look again.
        indexes = {name[:SEQ_DIGITS] for name in names if name.endswith(INDEX)}
        if indexes <= {f"{start:016x}" for start in found}:
            break
    return sorted(found)


_KIND_AT = 20  # of an entry's bytes: the lower one of its kind, and kinds are below 256


def _offset(entries: bytes, number: int) -> int:
    return int.from_bytes(entries[number * ENTRY_BYTES + 8 : number * ENTRY_BYTES + 16], "little")


class Segment:
    """Offsets are those of the stream. Raises FileNotFoundError if the segment is gone."""

    def __init__(self, directory: str, start: int) -> None:
        self.start = start
        self._index = self._log = -1
        self._first = b""  # entries of the index
        self._packed: Packed | None = None
        path = directory + "/" + segment_name(start, "")
        self._open(path)
        try:
            self._index = os.open(path + INDEX, READ)
        except FileNotFoundError:
            pass
        except OSError:
            self.close()
            raise

    def _open(self, path: str) -> None:
        try:
            self._log = os.open(path + LOG, READ)
            return
        except FileNotFoundError:
            try:
                fd = os.open(path + PACKED, READ)
            except FileNotFoundError:
                # Deleted; or somebody has unpacked it by hand just then.
                self._log = os.open(path + LOG, READ)
                return
        from supervisor.logger.packed import Packed

        try:
            self._packed = Packed(fd)
        except OSError:
            os.close(fd)
            raise

    def close(self) -> None:
        for fd in (self._log, self._index):
            if fd >= 0:
                os.close(fd)
        self._log = self._index = -1
        if self._packed:
            self._packed.close()
            self._packed = None

    @property
    def end(self) -> int:
        if self._packed:
            return self.start + self._packed.size
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
        """At most `length` bytes; none only at the end.

        Raises packed.Damaged if the next bytes of a compressed segment cannot be read any more
        (its `resume`, plus `start`, is where reading may go on), OSError (ENOTSUP) if zstandard is
        not installed.
        """
        if self._packed:
            return self._packed.read(offset - self.start, length)
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
        changed_ns = self._changed_ns()
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

    def _changed_ns(self) -> int:
        """When the bytes came last: a packed file has the time of the one that it replaced."""
        return os.fstat(self._packed.fileno() if self._packed else self._log).st_mtime_ns

    def last_of(self, kinds: Sequence[int], before: int) -> tuple[int, int]:
        """(kind, offset) of the last byte before the offset `before` that is of one of `kinds`;
        (0, -1) if there is none here."""
        count = self._count()
        at = bisect_left(range(count), before, key=lambda i: self._entry(i)[1])
        if not count:  # nothing says of what kind it is
            return (OUTPUT, before - 1) if OUTPUT in kinds and before > self.start else (0, -1)
        end = min(before, self.end)
        low = [kind for kind in kinds if kind < 256]  # others are damage, and are not looked for
        while low and at:
            first = max(0, at - BLOCK_ENTRIES * 16)
            data = os.pread(self._index, (at - first) * ENTRY_BYTES, first * ENTRY_BYTES)
            column = data[_KIND_AT::ENTRY_BYTES]
            while (found := max(column.rfind(kind) for kind in low)) >= 0:
                if found + 1 < len(column):
                    end = min(end, _offset(data, found + 1))
                if _offset(data, found) < end:
                    return column[found], end - 1
                column = column[:found]
            at, end = first, _offset(data, 0)
        kind = self._entry(0)[3]  # what is before the first entry is as that
        return (kind, end - 1) if self.start < end and kind in kinds else (0, -1)

    def _count(self) -> int:
        return 0 if self._index < 0 else os.fstat(self._index).st_size // ENTRY_BYTES

    def _entry(self, number: int) -> tuple[int, int, int, int, int]:
        if number < FEW_ENTRIES:  # of most indexes that is all: searching costs one call then
            at = number * ENTRY_BYTES
            if at + ENTRY_BYTES > len(self._first):
                self._first = os.pread(self._index, FEW_ENTRIES * ENTRY_BYTES, 0)
            return ENTRY.unpack_from(self._first, at)
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
