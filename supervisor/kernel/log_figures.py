"""RUNTIME/log-figures: what the logger has stored and lost of each stream, for whoever shows it.

Rows of 128 bytes: the key, padded with NUL to 96, then four u64: bytes stored, bytes lost, how
often some were lost, and when something came last (realtime ns). The logger writes in place, so a
row may be read while it changes: its figures are not of one moment. A row without a key is free.
"""
from __future__ import annotations

import struct

from supervisor.kernel.host import read_bytes

ROW = struct.Struct("<96s4Q")
Figures = tuple[int, int, int, int]  # stored bytes, lost bytes, losses, last arrival ns
_MOST_BYTES = ROW.size * 65536


def read(path: str) -> dict[str, Figures]:
    """By key; nothing if there is no such file."""
    data = read_bytes(path, _MOST_BYTES)
    whole = memoryview(data)[: len(data) - len(data) % ROW.size]
    return {
        row[0].rstrip(b"\0").decode(errors="replace"): (row[1], row[2], row[3], row[4])
        for row in ROW.iter_unpack(whole) if row[0][0]
    }
