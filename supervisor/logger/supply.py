"""The records that a feed has not delivered yet, stream by stream.

Law: nothing is left out silently. A stream goes on where its agent had got to; what retention
deleted before that is a LOSS record of that many bytes, with the reason "expired". Streams have
turns, and one is read at a time, no further than whoever takes the records wants: memory does not
grow with the number of streams or with what waits to be delivered.
"""
from __future__ import annotations

import os
import time

from supervisor.logger.cursor import Cursor
from supervisor.logger.feed_line import PARTIAL, loss
from supervisor.logger.form import BOOT_BYTES, LOSS, missing_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from supervisor.logger.lines import Record

TURN_BYTES = 256 << 10  # read from one stream before others have their turn
SETTLE_SECONDS = 0.2  # bytes that nobody notes are read after that long: the logger was killed
PARTIAL_SECONDS = 1.0  # a line without an end (a prompt, last words) is delivered after that long
SAVED_MARGIN_NS = 60_000_000_000


class Source:
    """One stream. `end`: as far as its stored bytes are known to go. `last_ns`: the time of the
    last record, None before the first. `settle_at` 0: nothing is unnoted. `flush_at`: of each kind
    whose line waits for its end, (begin and bytes of that, until when). `home`: its directory's
    device and inode. `stop`: nothing behind that is wanted; None: all is."""

    __slots__ = ("cursor", "end", "flush_at", "home", "last_ns", "settle_at", "stop")

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.home = _identity(cursor)
        self.end = cursor.offset
        self.last_ns: int | None = None
        self.settle_at = 0.0
        self.stop: int | None = None
        self.flush_at: dict[int, tuple[tuple[int, int], float]] = {}

    def began_anew(self, end: int) -> bool:
        """Whether its directory was removed, and offsets count from an earlier one again."""
        before, self.home = self.home, _identity(self.cursor)
        if self.cursor.offset > end:
            return end > 0
        return self.home != before and min(self.cursor.starts(), default=end) < self.cursor.offset

    def times(self) -> list[float]:
        """At which it is to be looked at without news."""
        found = [at for _, at in self.flush_at.values()]
        return [self.settle_at, *found] if self.settle_at else found

    def note_held(self, now: float) -> None:
        held = self.cursor.held()
        for kind in self.flush_at.keys() - held.keys():
            del self.flush_at[kind]
        for kind, size in held.items():
            if kind not in self.flush_at or self.flush_at[kind][0] != size:
                self.flush_at[kind] = size, now + PARTIAL_SECONDS


class Supply:
    """`places`: the offsets to go on at, as they were at `saved_ns`. Other streams: those that are
    added first begin with the first line since `since_ns`, all later ones with their oldest."""

    def __init__(
        self, logdir: str, places: dict[str, int], saved_ns: int, since_ns: int | None
    ) -> None:
        self._logdir = logdir
        self._places = places
        self._saved_ns = saved_ns
        self._since_ns = since_ns
        self._sources: dict[str, Source] = {}
        self._news: dict[str, None] = {}
        self._waiting: set[str] = set()  # those that have times
        self._last = False  # see `finish`

    def close(self) -> None:
        for source in self._sources.values():
            source.cursor.close()

    def add(self, keys: dict[str, None]) -> dict[str, int]:
        """These streams have news. Returns where those of them begin that are new."""
        new = [key for key in keys if key not in self._sources]
        for key in new:
            self._sources[key] = Source(self._place(key))
        self._news.update(keys)
        self._since_ns = None
        return {key: self._sources[key].end for key in new}

    def finish(self) -> None:
        """What is stored now is all that there will be: no end of a line is waited for."""
        self._last = True
        for key, source in self._sources.items():
            source.stop = source.cursor.ends()[0]
            self._news[key] = None

    def wanted_in(self) -> float | None:
        """Seconds after which there may be records without news; None: never."""
        if self._news:
            return 0.0
        times = [at for key in self._waiting for at in self._sources[key].times()]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def behind_bytes(self, places: Mapping[str, int]) -> int:
        """How many bytes are stored behind these offsets, as far as it is known by now."""
        for key in self._news:
            source = self._sources[key]
            source.end = source.cursor.ends()[0]
        return sum(
            _stored(source.cursor, places[key], source.end)
            for key, source in self._sources.items() if places[key] < source.end
        )

    def records(self) -> Iterator[Record]:
        """All that there are now, in turns. May be left for a while, and gone on with."""
        now = time.monotonic()
        self._news.update(dict.fromkeys(self._due(now)))
        while self._news:
            key = next(iter(self._news))
            del self._news[key]
            source = self._sources[key]
            yield from self._turn(key, source)
            source.cursor.close()  # an open file keeps inotify from telling of a removed directory

    def _due(self, now: float) -> list[str]:
        return [
            key for key in self._waiting if any(at <= now for at in self._sources[key].times())
        ]

    def _turn(self, key: str, source: Source) -> Iterator[Record]:
        cursor, now = source.cursor, time.monotonic()
        end, noted = cursor.ends()
        if source.began_anew(end):
            yield from cursor.flush()
            cursor.seek(min(cursor.starts(), default=0), within=True)
        if source.stop is not None:
            end = noted = min(end, source.stop)
        if end <= max(noted, cursor.offset):
            source.settle_at = 0.0
        elif 0 < source.settle_at <= now:
            noted, source.settle_at = end, 0.0
        elif not source.settle_at:
            source.settle_at = now + SETTLE_SECONDS
        source.end = end
        before = cursor.offset
        for record in cursor.lines(min(noted, before + TURN_BYTES)):
            if cursor.gap:
                yield from self._expired(key, source, cursor.gap, record[0])
            source.last_ns = record[0]
            yield record
        if cursor.gap:
            yield from self._expired(key, source, cursor.gap, None)
        more = before < cursor.offset < noted
        if more:
            self._news[key] = None  # after the others
        source.note_held(now)
        over = [
            kind for kind, (_, at) in source.flush_at.items()
            if at <= now or (self._last and not more)
        ]
        for time_ns, _, kind, line, begin, resume in cursor.flush(over) if over else ():
            source.flush_at.pop(kind, None)
            yield time_ns, key, kind | PARTIAL, line, begin, resume
        if source.times():
            self._waiting.add(key)
        else:
            self._waiting.discard(key)

    def _expired(
        self, key: str, source: Source, gap: tuple[int, int], next_ns: int | None
    ) -> Iterator[Record]:
        """What the cursor had to leave out."""
        source.cursor.gap = None
        begin, end = gap
        lost = missing_bytes(begin, end)
        if lost:
            line = loss(source.last_ns, next_ns, lost, "expired")
            yield next_ns or source.last_ns or time.time_ns(), key, LOSS, line, begin, end

    def _place(self, key: str) -> Cursor:
        cursor = Cursor(self._logdir, key)
        offset = self._places.get(key)
        if offset is None:
            if self._since_ns is not None:
                cursor.seek(_since(cursor, self._since_ns))
            else:
                cursor.seek(min(cursor.starts(), default=0), within=True)
        elif offset <= cursor.ends()[0]:
            cursor.seek(offset, within=True)
        else:
            # Shorter than what was delivered: removed, or its unsynced end was lost with the
            # power. What came since the place was written cannot have been delivered.
            cursor.seek(_since(cursor, self._saved_ns - SAVED_MARGIN_NS), within=True)
        return cursor


def _since(cursor: Cursor, time_ns: int) -> int:
    """The offset of the first arrival at or after that time, in the oldest segment that has one;
    the end, if there is none. What is written meanwhile is behind that."""
    begin = 0
    for segment in cursor.segments():
        begin = segment.since(time_ns)
        if begin < segment.end:
            break
    return begin


def _identity(cursor: Cursor) -> tuple[int, int]:
    try:
        found = os.stat(cursor.directory)
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


def _stored(cursor: Cursor, begin: int, end: int) -> int:
    if begin // BOOT_BYTES == end // BOOT_BYTES:
        return end - begin
    return sum(max(0, each.end - max(each.start, begin)) for each in cursor.segments())
