"""What comes from the feed: JSON Lines in, acknowledgements out.

Law: a line that is no JSON is none (a feed that was replaced leaves a torn one). What a replaced
feed sends once more is left out. An acknowledgement never waits: if its pipe is full the newest of
each stream is kept, and goes out with the next.
"""
from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

READ_BYTES = 64 << 10
LINE_BYTES = 1 << 20  # far more than a feed ever writes for one line
PIPE_BUF = 4096  # pipe(7): as much is written whole or not at all


class Line(NamedTuple):
    """One line of a unit's log. `stream`: output, error or lost. `seq` is unique in its instance,
    and rises. `loss` is what a "lost" line tells of: from, to, bytes, reason."""

    time_ns: int
    unit: str
    instance: int
    stream: str
    message: str
    seq: int
    partial: bool
    loss: dict[str, Any]


class Intake:
    """`acks` is the descriptor for acknowledgements, or -1."""

    def __init__(self, acks: int) -> None:
        self._acks = acks
        self._rest = b""
        self._cursors: dict[str, str] = {}  # of what was taken, by stream
        self._unsaid: dict[str, str] = {}  # acknowledgements that found no room
        self._last: dict[tuple[str, int, str], tuple[int, int, bool]] = {}
        if acks >= 0:
            os.set_blocking(acks, False)

    def parse(self, data: bytes) -> list[Line]:
        """The lines that end in `data`; the begin of another is kept."""
        lines, newline, rest = data.rpartition(b"\n")
        if not newline:
            self._rest = (self._rest + rest)[-LINE_BYTES:]
            return []
        whole = self._rest + lines
        self._rest = rest
        return [line for text in whole.split(b"\n") if (line := self._line(text))]

    def _line(self, text: bytes) -> Line | None:
        try:
            found = json.loads(text)
            line = Line(
                found["time_ns"], found["unit"], found["instance"], found["stream"],
                found["message"], found["seq"], found.get("partial", False),
                found if found["stream"] == "lost" else {},
            )
            cursor = found["cursor"]
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
        self._cursors[cursor.rpartition("@")[0]] = cursor
        source = line.unit, line.instance, line.stream
        seq, time_ns, partial = self._last.get(source, (-1, -1, False))
        # A stream that began anew has lower numbers at later times: that is not the same again.
        again = line.seq <= seq and line.time_ns <= time_ns
        if again and not (line.seq == seq and partial and not line.partial):
            return None
        self._last[source] = line.seq, line.time_ns, line.partial
        return line

    def owes(self) -> bool:
        """Whether acknowledgements wait for room in their pipe."""
        return bool(self._unsaid)

    def acknowledge(self) -> None:
        """All that `parse` returned, and what it left out, is done with."""
        self._unsaid.update(self._cursors)
        self._cursors.clear()
        if self._acks < 0:
            self._unsaid.clear()
        while self._unsaid:
            keys: list[str] = []
            size = 0
            for key, cursor in self._unsaid.items():
                size += len(cursor.encode()) + 1
                if size > PIPE_BUF:
                    break
                keys.append(key)
            try:
                os.write(self._acks, "".join(f"{self._unsaid[key]}\n" for key in keys).encode())
            except BlockingIOError:
                return
            except OSError:  # the feed is gone; what its successor sends again is known
                self._unsaid.clear()
                return
            for key in keys:
                del self._unsaid[key]
