"""On which line a key stands. tomli does not say, so this looks for it, when there is an error.

Law: lenient and linear. It is asked only about text that tomli has read, it may be wrong in a
corner (a key inside a value that spans lines is found on the value's first line), and it never
fails.
"""
from __future__ import annotations

import re

from supervisor.config.guard import STRINGS_AND_COMMENTS
from supervisor.config.table import Where

_TOKENS = re.compile(rf"({STRINGS_AND_COMMENTS})|[\[\]{{}}\n]")
_KEY_PART = re.compile(r"""[ \t]*(?:"((?:[^"\\\n]|\\.)*)"|'([^'\n]*)'|([\w-]+))[ \t]*(\.?)""")


class Lines:
    """Lines of one file's keys, counted from 1."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Where, int] = {}
        header: Where = ()
        counts: dict[Where, int] = {}
        for line, at in _statements(text):
            inside = text[at : at + 2]
            if inside == "[[":
                array, _ = _key(text, at + 2)
                path = _with_indexes(array, counts)
                counts[path] = counts.get(path, -1) + 1
                header = (*path, counts[path])
                self._lines.setdefault(path, line)
                self._lines[header] = line
            elif inside[:1] == "[":
                table, _ = _key(text, at + 1)
                header = _with_indexes(table, counts)
                self._add(header, line)
            else:
                self._add((*header, *_key(text, at)[0]), line)

    def find(self, where: Where) -> int:
        """The line of `where`, or of the nearest thing above it that has one; 0 for none."""
        while where:
            if where in self._lines:
                return self._lines[where]
            where = where[:-1]
        return 0

    def _add(self, path: Where, line: int) -> None:
        for length in range(1, len(path) + 1):
            self._lines.setdefault(path[:length], line)


def _statements(text: str) -> list[tuple[int, int]]:
    """(line, position) of each line that begins a statement."""
    found = [(1, 0)]
    line = 1
    depth = 0
    for match in _TOKENS.finditer(text):
        found_text = match[0]
        if match[1]:
            line += found_text.count("\n")
        elif found_text in "[{":
            depth += 1
        elif found_text in "]}":
            depth -= 1
        else:
            line += 1
            if depth <= 0:
                depth = 0
                found.append((line, match.end()))
    return [(number, _skip_blanks(text, at)) for number, at in found]


def _skip_blanks(text: str, at: int) -> int:
    while text[at : at + 1] in {" ", "\t"}:
        at += 1
    return at


def _key(text: str, at: int) -> tuple[tuple[str, ...], int]:
    """The dotted key at `at` and where it ends; () for none. Escapes in quoted parts stay."""
    parts: list[str] = []
    while match := _KEY_PART.match(text, at):
        parts.append(match[1] or match[2] or match[3] or "")
        at = match.end()
        if not match[4]:
            break
    return tuple(parts), at


def _with_indexes(key: tuple[str, ...], counts: dict[Where, int]) -> Where:
    """`key` with the index of the current item behind each array of tables above its end."""
    path: Where = ()
    for part in key[:-1]:
        path = (*path, part)
        if path in counts:
            path = (*path, counts[path])
    return (*path, *key[-1:])
