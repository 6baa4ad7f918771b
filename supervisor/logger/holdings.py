"""What lies in the log directory, and how much that is: kept in memory, so nothing is listed twice.

Law: a stream is looked at when its files are opened; from then on what is written, begun and
deleted is counted here. Others may delete files too, so a stream is looked at once more before
anything of it is deleted. Sizes are those on disk, compressed or not, with their indexes.
"""
from __future__ import annotations

import posix

from supervisor.logger.form import (
    INDEX,
    LOG,
    PACKED,
    SEQ_DIGITS,
    TEMPORARY,
    segment_name,
    segment_start,
)

LEAST_PACKED_BYTES = 64 << 10  # below that, compressing saves less than it costs to start it


class Stock:
    """One stream. `segments`: bytes of each, oldest first, the newest one too; `total` is their
    sum. `plain`: closed ones that are to be compressed, oldest first."""

    __slots__ = ("plain", "segments", "total")

    def __init__(self) -> None:
        self.segments: dict[int, int] = {}
        self.plain: tuple[int, ...] = ()  # almost always, and of many streams
        self.total = 0


class Holdings:
    """`total` is in bytes, of all streams that were looked at. `packs` tells whether a stream's
    closed segments are to be compressed; `packing` the one where that is being done ("" none)."""

    __slots__ = ("packing", "packs", "stocks", "total", "waiting")

    def __init__(self) -> None:
        self.stocks: dict[str, Stock] = {}
        self.packs: set[str] = set()
        self.packing = ""
        self.waiting: dict[str, None] = {}  # streams that have something to compress
        self.total = 0

    def newest(self, name: str, home: int) -> int:
        """As `look`, but lists the directory only if it is not known, or not what it was."""
        stock = self.stocks.get(name)
        if stock and stock.segments:
            start = next(reversed(stock.segments))
            try:
                posix.stat(segment_name(start, LOG), dir_fd=home, follow_symlinks=False)
            except FileNotFoundError:
                return self.look(name, home)
            return start
        return self.look(name, home)

    def look(self, name: str, home: int) -> int:
        """List the stream's directory; returns where its newest segment begins, -1 if it has none.

        A temporary file is removed, unless somebody is writing it for us.
        """
        sizes: dict[int, int] = {}
        plain: dict[int, int] = {}
        for file in posix.listdir(home):
            if file[:1] == ".":
                if file.endswith(PACKED + TEMPORARY) and name != self.packing:
                    _clean(file, home)
                continue
            suffix = file[SEQ_DIGITS:]
            start = segment_start(file[:SEQ_DIGITS] + LOG if suffix == INDEX else file)
            if start < 0:
                continue
            try:
                size = posix.stat(file, dir_fd=home, follow_symlinks=False).st_size
            except FileNotFoundError:  # replaced just now; its successor is counted next time
                continue
            sizes[start] = sizes.get(start, 0) + size
            if suffix == LOG:
                plain[start] = size
            elif suffix == PACKED:
                plain.setdefault(start, 0)
        stock = Stock()
        stock.segments = {start: sizes[start] for start in sorted(sizes)}
        stock.total = sum(sizes.values())
        newest = max(plain, default=-1)
        if name in self.packs:
            stock.plain = tuple(
                start for start in sorted(plain)
                if start < newest and plain[start] >= LEAST_PACKED_BYTES
            )
        self.forget(name)
        self.stocks[name] = stock
        self.total += stock.total
        if stock.plain:
            self.waiting[name] = None
        return newest

    def clear(self) -> None:
        """Another directory has taken the place of the one that was counted."""
        self.stocks.clear()
        self.waiting.clear()
        self.total = 0

    def forget(self, name: str) -> None:
        stock = self.stocks.pop(name, None)
        if stock:
            self.total -= stock.total
        self.waiting.pop(name, None)

    def began(self, name: str, start: int) -> None:
        """A new segment, still empty. What was the newest one is closed."""
        stock = self.stocks.setdefault(name, Stock())
        before = max(stock.segments, default=start)
        large = before < start and stock.segments[before] >= LEAST_PACKED_BYTES
        if large and name in self.packs:
            stock.plain += (before,)
            self.waiting[name] = None
        stock.segments.setdefault(start, 0)

    def grew(self, name: str, size: int) -> None:
        """The newest segment and its index took that many bytes."""
        stock = self.stocks.get(name)
        if stock:
            stock.segments[next(reversed(stock.segments))] += size
            stock.total += size
            self.total += size

    def make_room(self, name: str, home: int, keep_bytes: int) -> None:
        """Delete the oldest segments until the rest holds at most `keep_bytes`, or only the newest
        is left."""
        if name not in self.stocks or self.stocks[name].total <= keep_bytes:
            return
        newest = self.look(name, home)
        stock = self.stocks[name]
        for start in list(stock.segments):
            if stock.total <= keep_bytes or start == newest:
                return
            self.delete(name, home, start)

    def delete(self, name: str, home: int, start: int) -> None:
        for suffix in (LOG, PACKED, INDEX):  # an index alone is nobody's, and goes next time
            _unlink(segment_name(start, suffix), home)
        stock = self.stocks[name]
        size = stock.segments.pop(start, 0)
        stock.total -= size
        self.total -= size
        if start in stock.plain:
            stock.plain = tuple(each for each in stock.plain if each != start)
            if not stock.plain:
                self.waiting.pop(name, None)

    def largest(self) -> str:
        """The stream that holds most; "" if all are empty."""
        name = max(self.stocks, key=lambda each: self.stocks[each].total, default="")
        return name if name and self.stocks[name].total else ""


def _clean(name: str, home: int) -> None:
    try:
        posix.unlink(name, dir_fd=home)
    except OSError:  # it only takes space, and nothing may hinder writing
        return


def _unlink(name: str, home: int) -> None:
    try:
        posix.unlink(name, dir_fd=home)
    except FileNotFoundError:
        return
