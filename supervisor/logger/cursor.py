"""A place in one stream, and the lines from there on.

Law: the bytes of the lines, joined by newlines, are the bytes of the stream, whatever arrivals and
segments they were cut into; a line's time is that of its first byte. A line longer than PIECE_BYTES
comes in pieces of that size. What was deleted before it was read is left out, without an error.
"""
from __future__ import annotations

from supervisor.logger.form import directory_of
from supervisor.logger.segment import Segment, starts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

Record = tuple[int, str, int, bytes]  # time (realtime ns), key, stream (1: merged), line
PIECE_BYTES = 64 << 10
BLOCK_BYTES = 256 << 10


class Cursor:
    """`offset` is the next byte to read. `block_bytes` are read at once."""

    def __init__(self, logdir: str, key: str, block_bytes: int = BLOCK_BYTES) -> None:
        self.key = key
        self.directory = logdir + "/" + directory_of(key)
        self.offset = 0
        self._block_bytes = block_bytes
        self._segment: Segment | None = None
        self._held = b""  # the begin of a line whose end has not been read
        self._held_ns = 0
        self._held_stream = 0
        self._skipping = False  # up to the next newline

    def close(self) -> None:
        if self._segment:
            self._segment.close()
            self._segment = None

    @property
    def holds(self) -> bool:
        """Whether the begin of a line waits for its end."""
        return bool(self._held)

    def starts(self) -> list[int]:
        """The offsets of all segments that there are, in order."""
        return starts(self.directory)

    def segments(self) -> Iterator[Segment]:
        """Each segment in turn, open for the caller until it asks for the next one."""
        for start in self.starts():
            try:
                segment = Segment(self.directory, start)
            except FileNotFoundError:
                continue
            try:
                yield segment
            finally:
                segment.close()

    def ends(self) -> tuple[int, int]:
        """The offsets behind the last byte, and behind the last that has an index entry."""
        for start in reversed(self.starts()):
            try:
                segment = Segment(self.directory, start)
            except FileNotFoundError:
                continue
            try:
                noted = segment.noted_end
                return segment.end, noted
            finally:
                segment.close()
        return 0, 0

    def seek(self, offset: int, *, within: bool = False) -> None:
        """Go there. If that is within a line, the first line is the next one, unless `within`."""
        self.close()  # files of that name may be others by now
        self._held = b""
        self.offset = offset
        self._skipping = False
        if offset and not within:
            segment = self._open(offset - 1)
            if segment and segment.start < offset:
                self._skipping = segment.read(offset - 1, 1) not in {b"\n", b""}

    def lines(self, end: int) -> Iterator[Record]:
        """All lines that end before the offset `end`; the begin of one that does not is held."""
        while self.offset < end:
            segment = self._open(self.offset)
            if segment is None:
                return
            if segment.start > self.offset:  # what was between is deleted
                yield from self.flush()
                self.offset = segment.start
            stop = min(end, segment.end)
            data, at = b"", self.offset
            for time_ns, stream, until in segment.arrivals(self.offset, stop):
                while self.offset < until:
                    if self.offset >= at + len(data):
                        data, at = segment.read(self.offset, self._block_bytes), self.offset
                        if not data:
                            return
                    part = data[self.offset - at : until - at]
                    self.offset += len(part)
                    yield from self._feed(time_ns, stream, part)

    def flush(self) -> Iterator[Record]:
        """What is held, though its end has not come."""
        if self._held:
            yield self._held_ns, self.key, self._held_stream, self._held
            self._held = b""

    def bytes_between(self, begin: int, end: int) -> bytes:
        """What is stored of that range: if a part is deleted, what comes after it."""
        parts: list[bytes] = []
        at = begin
        while at < end:
            segment = self._open(at)
            if segment is None or segment.start >= end:
                return b""
            if segment.start > at:
                parts.clear()
                at = segment.start
            data = segment.read(at, end - at)
            if not data:
                return b""
            parts.append(data)
            at += len(data)
        return b"".join(parts)

    def line_end(self) -> int:
        """Where the line that is held ends, not looking further than a piece."""
        at = self.offset
        while at < self.offset + PIECE_BYTES:
            segment = self._open(at)
            if segment is None or segment.start > at:
                break
            data = segment.read(at, 4096)
            if not data:
                break
            found = data.find(b"\n")
            if found >= 0:
                return at + found + 1
            at += len(data)
        return at

    def _feed(self, time_ns: int, stream: int, data: bytes) -> Iterator[Record]:
        if self._skipping:
            _, newline, data = data.partition(b"\n")
            if not newline:
                return
            self._skipping = False
        parts = data.split(b"\n")
        if not self._held:
            self._held_ns, self._held_stream = time_ns, stream
        else:
            parts[0] = self._held + parts[0]
        self._held = b""
        last = len(parts) - 1
        for number, line in enumerate(parts):
            if number == 1:
                self._held_ns, self._held_stream = time_ns, stream
            while len(line) > PIECE_BYTES:
                yield self._held_ns, self.key, self._held_stream, line[:PIECE_BYTES]
                line = line[PIECE_BYTES:]
            if number < last:
                yield self._held_ns, self.key, self._held_stream, line
            else:
                self._held = line

    def _open(self, offset: int) -> Segment | None:
        """The segment that holds `offset`, or the first one behind it; None if there is neither."""
        segment = self._segment
        if segment and segment.start <= offset < segment.end:
            return segment
        self.close()
        for _ in range(100):
            found = self.starts()
            before = [start for start in found if start <= offset]
            for start in before[-1:] + found[len(before) :]:
                try:
                    segment = Segment(self.directory, start)
                except FileNotFoundError:
                    break  # deleted since: look again
                if segment.end > offset or start > offset:
                    self._segment = segment
                    return segment
                segment.close()
            else:
                return None
        return None
