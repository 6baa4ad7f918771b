"""The known word that somebody most likely meant. Imported only when there is an error to explain.

Our own forty lines instead of difflib: that costs 5 ms to import, and a hostile file may hold
thousands of unknown keys, so the work for one is bounded here.
"""
from __future__ import annotations

from collections.abc import Iterable

_MAX_LENGTH = 40  # no key is longer; a longer word is no slip of the finger


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The closest of `known` if it is close enough to suggest: a third of its letters may differ.

    Among equals one of the same length wins. None if nothing is close.
    """
    if not 0 < len(word) <= _MAX_LENGTH:
        return None
    word = word.lower().replace("-", "_")
    close: list[tuple[int, int, str]] = []
    for candidate in known:
        longer = abs(len(candidate) - len(word))
        allowed = max(1, max(len(candidate), len(word)) // 3)
        if longer <= allowed:
            far = distance(word, candidate)
            if far <= allowed:
                close.append((far, longer, candidate))
    return min(close)[2] if close else None


def distance(a: str, b: str) -> int:
    """Insertions, deletions, substitutions and swaps of neighbours that make `b` of `a`."""
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and y == a[i - 2]:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]
