"""Log lines made fit for a terminal. Pure."""
from __future__ import annotations

# Everything that could move the cursor, change colours or the order of characters: C0 but for the
# tab, DEL, C1, line and paragraph separators, and the marks that override or isolate direction.
_CODES = (*range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_SHORT = {0x07: "\\a", 0x08: "\\b", 0x0A: "\\n", 0x0B: "\\v", 0x0C: "\\f", 0x0D: "\\r"}
_ESCAPES = {
    code: _SHORT.get(code) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
    for code in _CODES
    if code != 0x09
}


def escape(line: bytes) -> str:
    r"""Control characters as \x1b, bytes that are not UTF-8 as \xff, the rest as it is."""
    return line.decode("utf-8", "backslashreplace").translate(_ESCAPES)
