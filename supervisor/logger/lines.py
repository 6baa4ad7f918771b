"""Lines put together from arrivals, those of each kind apart. Pure.

Law: the bytes of a kind's lines, joined by newlines, are the bytes of that kind in the stream,
whatever arrivals and segments they were cut into and whatever came between. Only a loss ends a line
that has no newline: what follows it is another one. A line's time is that of its first byte. A line
longer than PIECE_BYTES comes in pieces of that size, each a record.

`begin` is the offset of a record's first byte: its identity. `resume` is a place behind which lies
everything that was not delivered before the record or with it, and at which no record is cut in
two: who begins there gets the same records again, with the same `begin`, and misses none.
"""
from __future__ import annotations

from supervisor.logger.form import LOSS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# Time (realtime ns), key, kind (form.OUTPUT, ...), line without its newline, begin, resume.
Record = tuple[int, str, int, bytes, int, int]
PIECE_BYTES = 64 << 10
# Where unfinished lines of two kinds always overlap, `resume` does not fall behind further: then
# who begins there may get the end of a line once more, as a record of its own.
OVERLAP_BYTES = 4 << 20
_NOWHERE = 1 << 64
_NONE = -1  # `root` when no line has begun
_BROKEN = -2  # the same, but the begin of the one that goes on here was delivered


class _Line:
    """What waits for its end. `root` is the offset of the whole line, `begin` that of the piece;
    `floor` is the `resume` of others as long as this one waits."""

    __slots__ = ("begin", "data", "floor", "ns", "root", "skipping")

    def __init__(self, *, skipping: bool) -> None:
        self.data = b""
        self.ns = self.begin = self.floor = 0
        self.root = _NONE
        self.skipping = skipping


class Assembler:
    """`is_cut` tells whether a line of that kind had begun before the first byte that is fed; the
    rest of it is left out. `root`: of the record just yielded, -1 if it is no piece of a line."""

    def __init__(self, key: str, is_cut: Callable[[int], bool]) -> None:
        self.root = _NONE
        self._key = key
        self._is_cut = is_cut
        self._lines: dict[int, _Line] = {}
        self._fresh = False  # a loss or a gap came since: no kind is cut

    def held(self) -> dict[int, tuple[int, int]]:
        """(begin, bytes so far) of each line that waits for its end, by kind."""
        return {
            kind: (line.begin, len(line.data))
            for kind, line in self._lines.items() if line.root >= 0
        }

    def roots(self) -> list[int]:
        """Where the lines that wait begin."""
        return [line.root for line in self._lines.values() if line.root >= 0]

    def feed(self, kind: int, time_ns: int, at: int, data: bytes) -> Iterator[Record]:
        """`data` came at `time_ns`; its first byte has the offset `at`."""
        line = self._lines.get(kind)
        if line is None:
            line = _Line(skipping=not self._fresh and self._is_cut(kind))
            self._lines[kind] = line
        if line.skipping:
            _, newline, rest = data.partition(b"\n")
            if not newline:
                return
            line.skipping = False
            at += len(data) - len(rest)
            data = rest
        if kind == LOSS and line.root < 0:
            yield from self.end(at)
        key, floor = self._key, self._floor(line)
        parts = data.split(b"\n")
        rest = parts.pop()
        for text in parts:
            behind = at + len(text) + 1
            if line.root == _NONE and len(text) <= PIECE_BYTES:
                resume = behind if behind < floor else floor  # noqa: FURB136 - each line pays
                yield time_ns, key, kind, text, at, resume
            else:
                yield from self._grow(line, kind, time_ns, at, text, floor)
                yield from self._close(line, kind, behind, floor)
            at = behind
        if rest:
            yield from self._grow(line, kind, time_ns, at, rest, floor)

    def flush(self, at: int, kinds: Iterable[int] | None = None) -> Iterator[Record]:
        """Lines that wait, of all kinds or these, though their end has not come: `at` is as far as
        was read. What comes of them later is another record."""
        waiting = [(line.begin, kind) for kind, line in self._lines.items()
                   if line.root >= 0 and (kinds is None or kind in kinds)]
        for _, kind in sorted(waiting):
            line = self._lines[kind]
            floor = self._floor(line)
            yield from self._close(line, kind, at, floor)
            line.root = _BROKEN

    def end(self, at: int) -> Iterator[Record]:
        """No line goes on here: bytes are missing."""
        yield from self.flush(at)
        for line in self._lines.values():
            line.root = _NONE
            line.skipping = False
        self._fresh = True

    def _floor(self, but: _Line) -> int:
        floor = _NOWHERE
        for line in self._lines.values():
            if line is not but and line.root >= 0 and line.floor < floor:
                floor = line.floor
        return floor

    def _grow(
        self, line: _Line, kind: int, time_ns: int, at: int, text: bytes, floor: int
    ) -> Iterator[Record]:
        if line.root < 0:
            if not text:
                return
            line.root, line.ns = at, time_ns
            self._begin(line, at, floor)
        data = line.data + text
        at -= len(line.data)  # offset of a byte of `text`, counted in `data`
        cut = 0
        while len(data) - cut > PIECE_BYTES:
            piece = data[cut : cut + PIECE_BYTES]
            cut += PIECE_BYTES
            begin = line.begin
            self._begin(line, at + cut, floor)
            self.root = line.root
            yield line.ns, self._key, kind, piece, begin, line.floor
            self.root = _NONE
        line.data = data[cut:] if cut else data

    def _begin(self, line: _Line, at: int, floor: int) -> None:
        line.begin = line.floor = at
        if at - OVERLAP_BYTES <= floor < at:
            line.floor = floor

    def _close(self, line: _Line, kind: int, behind: int, floor: int) -> Iterator[Record]:
        if line.root >= 0:
            self.root = line.root if line.root != line.begin else _NONE
            data, line.data, line.root = line.data, b"", _NONE
            yield line.ns, self._key, kind, data, line.begin, min(behind, floor)
            self.root = _NONE
        line.root = _NONE
