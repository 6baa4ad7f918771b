"""A command written as one text, split as a POSIX shell would split it, and never run by one.

Quotes and backslashes mean what they mean to a shell; nothing else does. A word that only a shell
could obey (`|`, `&&`, `>`) is refused: to pass it on as an argument is never what was meant.
"""
from __future__ import annotations

from supervisor.config.table import Refused, show

OPERATORS = frozenset(
    ("|", "||", "|&", "&", "&&", ";", ";;", ">", ">>", "<", "<<", "2>", "2>>", "2>&1", "&>", "1>&2")
)
_SPACE = " \t\r\n"
_QUOTED_ESCAPES = '"\\'  # all that a backslash can hide inside double quotes; shlex agrees


def split(text: str) -> list[str]:
    """The words of `text`. Raises Refused for an open quote, a dangling backslash, an operator."""
    words: list[str] = []
    at, length = 0, len(text)
    while True:
        while at < length and text[at] in _SPACE:
            at += 1
        if at == length:
            return words
        word, behind = _word(text, at)
        if word in OPERATORS and text[at:behind] == word:
            raise Refused(
                f"cannot use {show(word)}: no shell runs this command; quote the word to pass it "
                'on, or write command = ["/bin/sh", "-c", "..."]'
            )
        words.append(word)
        at = behind


def _word(text: str, at: int) -> tuple[str, int]:
    """One word that begins at `at`, and the position behind it."""
    parts: list[str] = []
    length = len(text)
    while at < length and text[at] not in _SPACE:
        if text[at] == "'":
            end = text.find("'", at + 1)
            if end < 0:
                raise Refused("cannot split this command: a single quote is never closed")
            parts.append(text[at + 1 : end])
            at = end + 1
        elif text[at] == '"':
            at = _double_quoted(text, at + 1, parts)
        elif text[at] == "\\":
            if at + 1 == length:
                raise Refused("cannot split this command: it ends in a backslash")
            parts.append(text[at + 1])
            at += 2
        else:
            parts.append(text[at])
            at += 1
    return "".join(parts), at


def _double_quoted(text: str, at: int, parts: list[str]) -> int:
    """Append what stands before the closing quote; the position behind that."""
    length = len(text)
    while at < length and text[at] != '"':
        if text[at] == "\\" and text[at + 1 : at + 2] and text[at + 1] in _QUOTED_ESCAPES:
            at += 1
        parts.append(text[at])
        at += 1
    if at >= length:
        raise Refused("cannot split this command: a double quote is never closed")
    return at + 1
