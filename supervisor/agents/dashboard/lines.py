"""The last lines of each instance, from the feed on standard input (docs/agents.md).

Law: pure, and bounded whatever comes: LINE_CHARS of a line, RING_CHARS and RING_LINES of an
instance, TOTAL_CHARS in all. A line is known by its number, which only grows; a browser is the
number of the last line it has seen.
"""
from __future__ import annotations

import json
from collections import deque
from typing import Any

Line = tuple[int, int, str, str]  # number, ms since 1970, kind, text
KINDS = frozenset({"output", "error", "lost"})
LINE_CHARS = 8192
RING_CHARS = 256 * 1024
RING_LINES = 2000
TOTAL_CHARS = 24 * 1024 * 1024
_LEAST_CHARS = 2 * LINE_CHARS
_PER_LINE = 200  # what a line costs beside its text
_MOST_RINGS = 4096
_LONGEST = 1 << 20  # bytes of one line of the feed; what is longer is no feed


class Lines:
    """`last`: the number of the last line of all."""

    def __init__(self) -> None:
        self.last = 0
        self._rings: dict[str, deque[Line]] = {}
        self._chars: dict[str, int] = {}
        self._dropped: dict[str, int] = {}  # the number of the last line that is gone again

    def add(self, key: str, time_ms: int, kind: str, text: str) -> None:
        ring = self._rings.get(key)
        if ring is None:
            if len(self._rings) >= _MOST_RINGS:
                oldest = min(self._rings, key=lambda one: self._rings[one][-1][0])
                del self._rings[oldest], self._chars[oldest]
                self._dropped.pop(oldest, None)
            ring = self._rings[key] = deque()
            self._chars[key] = 0
        if len(text) > LINE_CHARS:
            text = f"{text[:LINE_CHARS]}… ({len(text) - LINE_CHARS} more characters)"
        self.last += 1
        ring.append((self.last, time_ms, kind, text))
        self._chars[key] += len(text) + _PER_LINE
        room = max(_LEAST_CHARS, min(RING_CHARS, TOTAL_CHARS // len(self._rings)))
        while self._chars[key] > room or len(ring) > RING_LINES:
            gone = ring.popleft()
            self._chars[key] -= len(gone[3]) + _PER_LINE
            self._dropped[key] = gone[0]

    def after(self, key: str, number: int, most: int) -> tuple[list[Line], bool]:
        """Lines of `key` with greater numbers, the last `most` of them, and whether there were
        others between, which are not here any more or too many."""
        ring = self._rings.get(key)
        if not ring or ring[-1][0] <= number:
            return [], False
        found: list[Line] = []
        for line in reversed(ring):
            if line[0] <= number:
                return found[::-1], False
            if len(found) == most:
                return found[::-1], True
            found.append(line)
        return found[::-1], self._dropped.get(key, 0) > number


class Feed:
    """Bytes in, lines out. What is no line of a feed is skipped (docs/agents.md)."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._begun = b""
        self._skipping = False

    def take(self, data: bytes) -> set[str]:
        """The keys that have lines now that they had not."""
        first, *others = data.split(b"\n")
        if not others:
            self._begun += first
            if len(self._begun) > _LONGEST:
                self._begun, self._skipping = b"", True
            return set()
        whole = [*([] if self._skipping else [self._begun + first]), *others[:-1]]
        self._begun, self._skipping = others[-1], False
        return {key for line in whole if (key := self._line(line))}

    def _line(self, data: bytes) -> str:
        try:
            found: Any = json.loads(data)
            key = found["cursor"].rpartition("@")[0] or found["unit"]
            time_ms, kind = int(found["time_ns"]) // 1_000_000, found["stream"]
            text = _lost(found) if kind == "lost" else found["message"]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError):
            return ""
        if kind not in KINDS or not isinstance(text, str) or not isinstance(key, str):
            return ""
        self._lines.add(key, time_ms, kind, text)
        return key


def _lost(found: dict[str, Any]) -> str:
    during = ""
    if found["from"] is not None and found["to"] is not None:  # null: nobody knows
        during = f" within {(int(found['to']) - int(found['from'])) // 1_000_000} ms"
    return f"{int(found['bytes'])} bytes lost{during}: {found['reason']}"
