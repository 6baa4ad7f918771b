"""Globs over names of units: `*` any characters, `?` exactly one, everything else itself.

No regular expression: patterns come from clients too, and this takes at most len(pattern) x
len(name) steps whatever they write (fnmatch turns them into expressions, and keeps those).
"""
from __future__ import annotations


def is_glob(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern


def matches(pattern: str, name: str) -> bool:
    """Whether the whole of `name` fits `pattern`."""
    at = here = 0
    star, retry = -1, 0  # the last `*` seen, and where in `name` it may take one character more
    while here < len(name):
        if at < len(pattern) and pattern[at] == "*":
            star, retry = at, here
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", name[here]):
            at += 1
            here += 1
        elif star >= 0:
            retry += 1
            at, here = star + 1, retry
        else:
            return False
    return all(character == "*" for character in pattern[at:])
