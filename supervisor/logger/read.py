"""Stored logs, read from their files: which streams there are, and their lines merged by time.

Law: reading needs no supervisor and changes nothing, and a reader never fails because the logger
rotates, expires or dies under it. Memory is bounded, however large logs and lines are.
"""
from __future__ import annotations

import os
from heapq import heapify, heappop, heapreplace
from itertools import chain, islice

from supervisor.logger.cursor import BLOCK_BYTES, Cursor
from supervisor.logger.form import key_of
from supervisor.logger.spans import last_spans, spans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from supervisor.logger.lines import Record
    from supervisor.logger.spans import Span

    Keep = Callable[[Record], bool]

MEMORY_BYTES = 16 << 20  # for the blocks of all streams that are read at once
FILES_EACH = 2  # descriptors for each stream that is read
REMEMBERED = 100_000  # of the last lines; of more, where they begin
_NEVER = 1 << 64


def by_time(record: Record) -> int:
    return record[0]


def streams(logdir: str) -> list[str]:
    """The keys of all streams that have a directory, sorted. [] if there is no log directory."""
    try:
        with os.scandir(logdir) as entries:
            found = [key_of(entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(filter(None, found))


def matches(key: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern is the key, its unit's name, or a glob for either. Without any, all do."""
    if not patterns:
        return True
    unit = key.partition("/")[0]
    for pattern in patterns:
        if pattern in {key, unit}:
            return True
        if not {"*", "?", "["}.isdisjoint(pattern):
            from fnmatch import fnmatchcase

            if fnmatchcase(key, pattern) or fnmatchcase(unit, pattern):
                return True
    return False


def records(
    logdir: str,
    patterns: Sequence[str] = (),
    *,
    since_ns: int | None = None,
    until_ns: int | None = None,
    last_n: int | None = None,
    follow: bool = False,
    keep: Keep | None = None,
) -> Iterator[Record]:
    """Records (lines.py), merged over streams by time, those of one stream in order of their ends.

    `since_ns` and `until_ns` are inclusive and refer to a line's first byte. `keep`: only those for
    which it is true. `last_n`: only the last so many of these. With `follow`, goes on with what
    comes, for ever (`until_ns` means nothing then); new lines are in order of time as far as they
    were there together.
    """
    if follow:
        from supervisor.logger.follow import Follower

        with Follower(logdir, patterns, since_ns=since_ns, last_n=last_n, keep=keep) as follower:
            yield from follower.stored()
            while True:
                follower.wait()
                yield from follower.poll()
    else:
        cursors = open_cursors(logdir, [key for key in streams(logdir) if matches(key, patterns)])
        yield from stored(cursors, Limits(since_ns, until_ns, keep), last_n)


class Limits:
    """Which records are wanted: from `since_ns` to `until_ns`, and those for which `keep` is
    true."""

    __slots__ = ("keep", "since_ns", "until_ns")

    def __init__(
        self, since_ns: int | None = None, until_ns: int | None = None, keep: Keep | None = None
    ) -> None:
        self.since_ns = since_ns
        self.until_ns = until_ns
        self.keep = keep

    def choose(self, found: Iterator[Record]) -> Iterator[Record]:
        """Those of `found` that are wanted."""
        if self.since_ns is not None or self.until_ns is not None:
            least = self.since_ns or 0
            most = _NEVER if self.until_ns is None else self.until_ns
            found = (record for record in found if least <= record[0] <= most)
        return found if self.keep is None else filter(self.keep, found)


def open_cursors(logdir: str, keys: Sequence[str]) -> list[Cursor]:
    block_bytes = min(BLOCK_BYTES, max(4096, MEMORY_BYTES // max(1, len(keys))))
    _allow_files(FILES_EACH * len(keys) + 100)
    return [Cursor(logdir, key, block_bytes) for key in keys]


def _allow_files(count: int) -> None:
    if 0 <= os.sysconf("SC_OPEN_MAX") < count:
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def stored(
    cursors: Sequence[Cursor], limits: Limits, last_n: int | None = None, *, hold: bool = False
) -> Iterator[Record]:
    """The lines that are stored now, merged. With `hold`, lines that have no end yet stay in their
    cursors, which are left open and at the end of what was read."""
    if last_n is None:
        return _merge([(cursor, spans(cursor, limits), limits) for cursor in cursors], hold=hold)
    from collections import deque

    chosen = []
    for cursor in cursors:
        found, first_ns = last_spans(cursor, limits, last_n, hold=hold)
        chosen.append((cursor, found, limits))
        if first_ns > (limits.since_ns or 0) and not hold:  # the others' last lines are no older
            limits = Limits(first_ns, limits.until_ns, limits.keep)
    if last_n <= REMEMBERED:
        return iter(deque(_merge(chosen, hold=hold), last_n))
    # Too many to remember: first they are counted.
    total = sum(1 for _ in _merge(chosen, hold=True))
    return islice(_merge(chosen, hold=hold), max(0, total - last_n), None)


def _merge(
    chosen: Sequence[tuple[Cursor, Iterable[Span], Limits]], *, hold: bool
) -> Iterator[Record]:
    """By time. No line of a stream is read before it is its turn."""
    heap: list[tuple[int, int, Record | None, Iterator[Record]]] = []
    for number, (cursor, found, limits) in enumerate(chosen):
        ahead = iter(found)
        first = next(ahead, None)
        if first is None:
            if hold:
                cursor.seek(cursor.ends()[0])
            continue
        reading = _lines(cursor, chain((first,), ahead), hold=hold)
        heap.append((first.time_ns, number, None, limits.choose(reading)))
    heapify(heap)
    while heap:
        _, number, record, reading = heap[0]
        if record is not None:
            yield record
            if len(heap) == 1:
                yield from reading
                return
        record = next(reading, None)
        if record is None:
            heappop(heap)
        else:
            heapreplace(heap, (record[0], number, record, reading))


def _lines(cursor: Cursor, found: Iterable[Span], *, hold: bool) -> Iterator[Record]:
    """All lines that begin in these spans."""
    at = -1
    for span in found:
        if span.begin != at:
            if at >= 0:
                yield from cursor.rest()
            cursor.seek(span.begin, within=span.within)
        yield from cursor.lines(span.end)
        at = span.end
    if not hold:
        yield from cursor.rest()
        cursor.close()
