"""How much each log stream has stored and lost: rows in a file that the logger keeps mapped.

Law: whoever may read the file reads it without asking the logger, which may be stopped. Counters
are absolute and only grow while a stream lives; a killed logger's successor goes on with them (what
was stored in the instant of its death may not be counted). A row whose key is empty is free.
"""
from __future__ import annotations

import posix
from _struct import Struct

# Key, NUL-padded; bytes stored; bytes lost; losses; realtime ns of the last arrival.
ROW = Struct("<96s4Q")
ROW_BYTES = ROW.size  # 128
COUNTERS = Struct("<4Q")
COUNTERS_AT = 96  # in a row
NAME = "log-figures"  # in the runtime directory


def parse(data: bytes) -> dict[str, tuple[int, int, int, int]]:
    """Key -> (stored bytes, lost bytes, losses, ns of the last arrival)."""
    found: dict[str, tuple[int, int, int, int]] = {}
    whole = len(data) - len(data) % ROW_BYTES
    for key, stored, lost, losses, last_ns in ROW.iter_unpack(memoryview(data)[:whole]):
        if name := key.rstrip(b"\0"):
            found[name.decode(errors="replace")] = stored, lost, losses, last_ns
    return found


def read(path: str) -> dict[str, tuple[int, int, int, int]]:
    """As `parse`; empty if there is no such file (no logger has begun yet). Raises OSError."""
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW)
    except FileNotFoundError:
        return {}
    try:
        return parse(posix.read(fd, posix.fstat(fd).st_size))
    finally:
        posix.close(fd)
