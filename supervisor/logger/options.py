"""How much of a stream is kept: the text `keep=BYTES segment=BYTES` that comes with it."""
from __future__ import annotations

KEEP_BYTES = 256 << 20
SEGMENT_BYTES = 16 << 20
LEAST_SEGMENT_BYTES = 4096
MOST_SEGMENT_BYTES = 1 << 30  # an arrival's length has 32 bits


def parse(text: str) -> tuple[int, int]:
    """(keep, segment) in bytes, at least (8192, 4096).

    A segment is at most half of what is kept, so that half is left whenever one is deleted. What is
    missing or unreadable has its default; other words are for other versions.
    """
    keep, segment = KEEP_BYTES, SEGMENT_BYTES
    for word in text.split():
        name, _, value = word.partition("=")
        if not (value.isascii() and value.isdigit()):
            continue
        if name == "keep":
            keep = int(value)
        elif name == "segment":
            segment = int(value)
    keep = max(keep, 2 * LEAST_SEGMENT_BYTES)
    return keep, max(LEAST_SEGMENT_BYTES, min(segment, keep // 2, MOST_SEGMENT_BYTES))
