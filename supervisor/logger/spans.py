"""Which ranges of a stream's offsets hold the lines that are wanted.

Law: segments are chosen by when their indexes were last written, a stat each, and opened one after
the other as reading gets there; within one, both ends are found by halves.
"""
from __future__ import annotations

import os

from supervisor.logger.form import ENTRY, ENTRY_BYTES, INDEX, LOG, segment_name
from supervisor.logger.lines import PIECE_BYTES
from supervisor.logger.segment import READ, Segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervisor.logger.cursor import Cursor
    from supervisor.logger.lines import Record
    from supervisor.logger.read import Limits

# How far an entry's time may be behind the clock that files are dated by: the logger's tolerance of
# a clock that is set back, and a tick of the file system's. A server's clock may differ more: then
# its dates say nothing.
TOLERANCE_NS = 5_000_000_000
FIRST_BYTES = 4096  # looked through for the last lines; twice as much each time
MOST_BYTES = 1 << 20
_NEVER = 1 << 64
KINDS = 2  # of which one each may be within a long line


class Span:
    """Lines that begin at an offset from `begin` to before `end`, none of them earlier than
    `time_ns`. `within`: what is at `begin` is a line, whatever was before it."""

    __slots__ = ("begin", "end", "time_ns", "within")

    def __init__(self, begin: int, end: int, time_ns: int, *, within: bool = False) -> None:
        self.begin = begin
        self.end = end
        self.time_ns = time_ns
        self.within = within


def spans(cursor: Cursor, limits: Limits, *, last_first: bool = False) -> Iterator[Span]:
    """One for each segment that may hold such lines, in order: of time too but where the clock was
    set back. Those of adjacent segments are adjacent."""
    since_ns, until_ns = limits.since_ns, limits.until_ns
    starts = cursor.starts()
    newest = starts[-1] if starts else 0
    dated: bool | None = None
    for start in reversed(starts) if last_first else starts:
        if since_ns is not None and dated is not False and _older(
                cursor.directory, start, since_ns - TOLERANCE_NS, newest=start == newest):
            if dated is None:
                dated = _dated(cursor.directory, start)
            if dated:
                continue
        try:
            segment = Segment(cursor.directory, start)
        except FileNotFoundError:
            continue
        try:
            found = _span(segment, since_ns, until_ns)
        finally:
            segment.close()
        if found:
            yield found


def _span(segment: Segment, since_ns: int | None, until_ns: int | None) -> Span | None:
    begin = segment.start if since_ns is None else segment.since(since_ns)
    end = segment.end if until_ns is None else segment.until(until_ns)
    if begin >= end:
        return None
    time_ns, _, _ = next(segment.arrivals(begin, begin + 1))
    return Span(begin, end, time_ns)


def last_spans(
    cursor: Cursor, limits: Limits, count: int, *, hold: bool
) -> tuple[list[Span], int]:
    """The end of all spans, with `count` lines or a few more; with `hold`, and those beside them
    that have no end yet. And a time since which there are so many; 0 if there are less."""
    chosen: list[Span] = []
    if hold:
        count += KINDS
    least_ns = _NEVER
    for span in spans(cursor, limits, last_first=True):
        if count <= 0:
            break
        found, first_ns = _shorten(cursor, span, limits, count)
        count -= found
        least_ns = min(least_ns, first_ns)
        chosen.insert(0, span)
    cursor.close()
    return chosen, least_ns if count <= 0 and least_ns < _NEVER else 0


def _shorten(cursor: Cursor, span: Span, limits: Limits, count: int) -> tuple[int, int]:
    """Move the begin of `span` up to the last `count` lines in it; returns how many it has, and the
    time of the first."""
    least = span.begin
    if limits.keep is None:  # any piece of a long line is a line
        least = max(least, span.end - KINDS * (count + 2) * PIECE_BYTES)
    found, first_ns = 0, _NEVER
    top, size = span.end, FIRST_BYTES
    while top > least and found < count:
        low = max(least, top - size)
        cursor.seek(low)
        for record in limits.choose(_begun(cursor, top)):
            found += 1
            first_ns = min(first_ns, record[0])
        if found < count and low == least > span.begin:
            span.within = True
            found, first_ns = count, span.time_ns
        top, size = low, min(2 * size, MOST_BYTES)
    span.begin = top
    return found, first_ns


def _begun(cursor: Cursor, end: int) -> Iterator[Record]:
    yield from cursor.lines(end)
    yield from cursor.rest()


def _older(directory: str, start: int, time_ns: int, *, newest: bool) -> bool:
    """Whether nothing in that segment came after `time_ns`. Only in the newest one may there be
    bytes that are not noted."""
    path = directory + "/" + segment_name(start, "")
    try:
        return os.stat(path + INDEX).st_mtime_ns < time_ns and not (
            newest and os.stat(path + LOG).st_mtime_ns >= time_ns)
    except FileNotFoundError:
        return False


def _dated(directory: str, start: int) -> bool:
    """Whether files here are dated by the clock that entries have their times from."""
    try:
        index = os.open(directory + "/" + segment_name(start, INDEX), READ)
    except FileNotFoundError:
        return False
    try:
        found = os.fstat(index)
        at = found.st_size // ENTRY_BYTES * ENTRY_BYTES - ENTRY_BYTES
        last = os.pread(index, ENTRY_BYTES, at)
    except OSError:  # it is empty
        return False
    finally:
        os.close(index)
    return len(last) == ENTRY_BYTES and ENTRY.unpack(last)[0] <= found.st_mtime_ns + TOLERANCE_NS
