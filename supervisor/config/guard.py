"""What is refused before any parser sees it, so that no file costs more than a moment.

Law: any file of at most MAX_BYTES is parsed or refused within 100 ms and 32 MiB. tomli is linear
in most things; what is not, or takes a thousand bytes of memory for two of text (dotted keys,
tables, nesting), is counted here, on a skeleton of the text without its strings and comments. A
file of up to SMALL bytes can do no harm and is not looked at. tests/fault/test_f41_* measures
both.
"""
from __future__ import annotations

import re

from supervisor.config.table import Refused

MAX_BYTES = 64 * 1024
SMALL = 2048
MAX_LINE = 16 * 1024
MAX_LINES = 4096
MAX_DEPTH = 32  # brackets within brackets
MAX_BRACKETS = 4096
MAX_KEY_PARTS = 8
MAX_DOTS = 4096  # outside texts: of numbers and dotted keys

# An open quote reaches to the end of its line (or of the file), so that the expression always
# matches and never goes back: linear, whatever the text.
STRINGS_AND_COMMENTS = (
    r'"""(?:[^"\\]++|\\[\s\S]|"(?!""))*+(?:"{3,5})?'
    r"|'''(?:[^']++|'(?!''))*+(?:'{3,5})?"
    r'|"(?:[^"\\\n]++|\\[^\n])*+"?'
    r"|'[^'\n]*+'?"
    r"|#[^\n]*+"
)
_NO_KEY_BREAK = bytes(c for c in range(256) if c > 127 or chr(c).isalnum() or chr(c) in "-_ \t")


def check(data: bytes) -> None:
    """Raises Refused for text that is too large, or too intricate, for a unit file."""
    if len(data) <= SMALL:
        return
    if len(data) > MAX_BYTES:
        raise too_large()
    if b"\0" in data:  # tomli would refuse it as well, and not say why
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise _refuse(f"line {line} holds the control character 0x00")
    lines = data.split(b"\n")
    if len(lines) > MAX_LINES:
        raise _refuse(f"it has more than {MAX_LINES} lines")
    if max(map(len, lines)) > MAX_LINE:
        raise _refuse(f"one of its lines has more than {MAX_LINE} bytes")
    del lines
    bare = re.sub(STRINGS_AND_COMMENTS.encode(), b"s", data)
    if bare.count(b".") > MAX_DOTS:
        raise _refuse(f"it has more than {MAX_DOTS} dotted keys")
    if b"." * MAX_KEY_PARTS in bare.translate(None, _NO_KEY_BREAK):
        raise _refuse(f"a key has more than {MAX_KEY_PARTS} parts")
    _brackets(bare)


def _brackets(bare: bytes) -> None:
    brackets = re.sub(rb"[^][{}]++", b"", bare)
    if len(brackets) > MAX_BRACKETS:
        raise _refuse(f"it has more than {MAX_BRACKETS} brackets")
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise _refuse(f"it nests more than {MAX_DEPTH} brackets")
        depth = max(depth, 0)


def too_large() -> Refused:
    return _refuse(f"it has more than {MAX_BYTES // 1024} KiB")


def _refuse(why: str) -> Refused:
    return Refused(f"cannot read it: {why}; no unit needs that")
