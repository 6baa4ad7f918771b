"""Stored logs, read from their files: which streams there are, and their lines merged by time.

Law: reading needs no supervisor and changes nothing, and a reader never fails because the logger
rotates, expires or dies under it. Memory is bounded, however large logs and lines are.
"""
from __future__ import annotations

import os
from collections import deque
from heapq import merge
from operator import itemgetter

from supervisor.logger.cursor import BLOCK_BYTES, PIECE_BYTES, Cursor, Record
from supervisor.logger.form import key_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MEMORY_BYTES = 16 << 20  # for the blocks of all streams that are read at once
FILES_EACH = 2  # descriptors for each stream that is read

by_time = itemgetter(0)


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
) -> Iterator[Record]:
    """(time in realtime ns, key, stream, line without its newline), merged over streams by time.

    `since_ns` and `until_ns` are inclusive and refer to a line's first byte. `last_n`: only the
    last so many of these. With `follow`, goes on with what comes, for ever (`until_ns` means
    nothing then); new lines are in order of time as far as they were there together.
    """
    if follow:
        from supervisor.logger.follow import Follower

        with Follower(logdir, patterns, since_ns=since_ns, last_n=last_n) as follower:
            yield from follower.stored()
            while True:
                follower.wait()
                yield from follower.poll()
    else:
        cursors = open_cursors(logdir, [key for key in streams(logdir) if matches(key, patterns)])
        yield from stored(cursors, since_ns, until_ns, last_n)


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
    cursors: Sequence[Cursor],
    since_ns: int | None,
    until_ns: int | None,
    last_n: int | None,
    *,
    hold: bool = False,
) -> Iterator[Record]:
    """The lines that are stored now, merged. With `hold`, lines that have no end yet stay in their
    cursors, which are left open and at the end of what was read."""
    each = [_lines(cursor, since_ns, until_ns, last_n, hold=hold) for cursor in cursors]
    merged = each[0] if len(each) == 1 else merge(*each, key=by_time)
    return merged if last_n is None else iter(deque(merged, last_n))


def _lines(
    cursor: Cursor, since_ns: int | None, until_ns: int | None, last_n: int | None, *, hold: bool
) -> Iterator[Record]:
    least = since_ns if since_ns is not None else 0
    most = until_ns if until_ns is not None else 1 << 64
    stored_end, _ = cursor.ends()
    spans = _spans(cursor, since_ns, until_ns)
    whole = {begin for begin, _ in spans}
    if last_n is not None:
        spans = _last(cursor, spans, last_n)
    if not spans:
        cursor.seek(stored_end)
    for number, (begin, end) in enumerate(spans, 1):
        cursor.seek(begin, within=begin not in whole)  # a piece of a very long line
        for record in cursor.lines(end):
            if least <= record[0] <= most:
                yield record
        if hold and number == len(spans):
            return
        # The last line may have begun in time and ended later.
        for record in (*cursor.lines(cursor.line_end() if cursor.holds else 0), *cursor.flush()):
            if least <= record[0] <= most:
                yield record
    cursor.close()


def _spans(cursor: Cursor, since_ns: int | None, until_ns: int | None) -> list[tuple[int, int]]:
    """Ranges of offsets that hold all lines of that time, each as long as segments are adjacent.

    More than one if the clock was set back. Times rise within a segment only, so each one is asked.
    """
    spans: list[tuple[int, int]] = []
    for segment in cursor.segments():
        begin = segment.start if since_ns is None else segment.since(since_ns)
        end = segment.end if until_ns is None else segment.until(until_ns)
        if begin >= end:
            continue
        if spans and spans[-1][1] == begin:
            begin = spans.pop()[0]
        spans.append((begin, end))
    return spans


def _last(cursor: Cursor, spans: list[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """The end of these ranges, with `count` lines or a few more."""
    chosen: list[tuple[int, int]] = []
    for begin, end in reversed(spans):
        begin, found = _back(cursor, begin, end, count)
        chosen.insert(0, (begin, end))
        count -= found
        if count <= 0:
            break
    return chosen


def _back(cursor: Cursor, begin: int, end: int, count: int) -> tuple[int, int]:
    """(offset of the `count`-th whole line before `end`, whole lines from there).

    That is behind the newline before it. Goes back no further than `begin`, nor than `count` lines
    of a piece's length, as longer ones are several.
    """
    begin = max(begin, end - (count + 1) * PIECE_BYTES)
    found = 0
    at, block_bytes = end, 4096
    while at > begin:
        low = max(begin, at - block_bytes)
        data = cursor.bytes_between(low, at)
        position = len(data)
        while (position := data.rfind(b"\n", 0, position)) >= 0:
            if found == count:
                return at - len(data) + position + 1, found
            found += 1
        at = low
        block_bytes = min(2 * block_bytes, BLOCK_BYTES)
    return begin, found
