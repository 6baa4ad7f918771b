"""A place in one stream, and the lines from there on.

Law: nothing is missed but what was deleted (`gap` tells) or is damaged (a record of a loss tells).
What lines are, and what their `begin` and `resume` mean, is in lines.py.
"""
from __future__ import annotations

from supervisor.logger.form import LOSS, directory_of
from supervisor.logger.lines import PIECE_BYTES, Assembler, Record
from supervisor.logger.segment import Segment, starts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BLOCK_BYTES = 256 << 10
STEP_BYTES = 4096  # read at once to find the end of a line


class Cursor:
    """`offset` is the next byte to read. `block_bytes` are read at once. `gap` is (begin, end) of
    what was left out last because it is deleted; whoever looks at it sets it to None."""

    def __init__(self, logdir: str, key: str, block_bytes: int = BLOCK_BYTES) -> None:
        self.key = key
        self.directory = logdir + "/" + directory_of(key)
        self.offset = 0
        self.gap: tuple[int, int] | None = None
        self._block_bytes = block_bytes
        self._segment: Segment | None = None
        self._sought = 0
        self._within = False
        self._assembler = Assembler(key, self._is_cut)

    def close(self) -> None:
        if self._segment:
            self._segment.close()
            self._segment = None

    @property
    def holds(self) -> bool:
        """Whether the begin of a line waits for its end."""
        return bool(self._assembler.roots())

    @property
    def root(self) -> int:
        """The begin of the line that the record just yielded is a piece of; -1: it is whole."""
        return self._assembler.root

    def held(self) -> dict[int, tuple[int, int]]:
        """(begin, bytes so far) of each line that waits for its end, by kind."""
        return self._assembler.held()

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
        """Go there. Of each kind, the first line is the first that begins there or later. `within`
        (for an offset that was a record's `resume`): what begins there is a line, whatever was
        before it."""
        self.close()  # files of that name may be others by now
        self._go(offset, within=within)

    def _go(self, offset: int, *, within: bool) -> None:
        self.offset = self._sought = offset
        self._within = within
        self._assembler = Assembler(self.key, self._is_cut)

    def lines(self, end: int) -> Iterator[Record]:
        """All lines that end before the offset `end`; the begin of one that does not is held."""
        while self.offset < end:
            segment = self._open(self.offset)
            if segment is None:
                return
            if segment.start > self.offset:  # what was between is deleted
                yield from self._assembler.end(self.offset)
                self.gap = self.offset, segment.start
                self.offset = segment.start
            yield from self._lines_of(segment, min(end, segment.end))

    def _lines_of(self, segment: Segment, end: int) -> Iterator[Record]:
        data, at = b"", self.offset
        feed = self._assembler.feed
        for time_ns, kind, until in segment.arrivals(self.offset, end):
            while self.offset < until:
                if self.offset >= at + len(data):
                    at = self.offset
                    try:
                        data = segment.read(at, self._block_bytes)
                    except OSError as error:
                        yield from self._damaged(segment, error, time_ns)
                        data = b""
                        continue
                    if not data:
                        return
                begin = self.offset
                part = data[begin - at : until - at]
                self.offset += len(part)
                yield from feed(kind, time_ns, begin, part)

    def _damaged(self, segment: Segment, error: OSError, time_ns: int) -> Iterator[Record]:
        """Tell of what cannot be read, and go on behind it."""
        resume = getattr(error, "resume", None)  # of packed.Damaged, which is not imported for it
        if resume is None:
            raise error
        begin = self.offset
        yield from self._assembler.end(begin)
        self.offset = max(begin + 1, min(segment.start + resume, segment.end))
        line = (f'{{"from":{time_ns},"to":{time_ns},"bytes":{self.offset - begin},'
                '"reason":"damaged"}').encode()
        yield time_ns, self.key, LOSS, line, begin, self.offset

    def rest(self) -> Iterator[Record]:
        """The lines that have begun, and nothing that begins here or later. What does not end
        within a piece's length is told as far as it was read."""
        here, stop = self.offset, self.ends()[0]
        stop = min(stop, here + PIECE_BYTES)
        while self.offset < stop and any(root < here for root in self._assembler.roots()):
            before = self.offset
            for record in self.lines(min(before + STEP_BYTES, stop)):
                if (record[4] if self.root < 0 else self.root) < here:
                    yield record
            if self.offset == before:
                break
        for record in self.flush():
            if (record[4] if self.root < 0 else self.root) < here:
                yield record

    def flush(self, kinds: Iterable[int] | None = None) -> Iterator[Record]:
        """What is held, of all kinds or these, though its end has not come."""
        return self._assembler.flush(self.offset, kinds)

    def _is_cut(self, kind: int) -> bool:
        """Whether a line of that kind had begun before the place that was sought."""
        at = self._sought
        if self._within or not at:
            return False
        here = self._segment
        if here and here.start < at <= here.end:
            found = _cut(here, kind, at)
            if found is not None:
                return found
            at = here.start
        for start in reversed(self.starts()):
            if start >= at:
                continue
            try:
                segment = Segment(self.directory, start)
            except FileNotFoundError:
                return False
            try:
                found = _cut(segment, kind, at) if segment.end >= at else False
            finally:
                segment.close()
            if found is not None:
                return found
            at = start
        return False

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


def _cut(segment: Segment, kind: int, at: int) -> bool | None:
    """Whether the last byte of that kind before `at` is within a line; None if none is here. A loss
    behind it ended the line, whatever it was."""
    found, offset = segment.last_of((kind, LOSS), at)
    if not found:
        return None
    if found != kind:
        return False
    try:
        return segment.read(offset, 1) != b"\n"
    except OSError:  # damaged, which ends lines as a loss does
        return False
