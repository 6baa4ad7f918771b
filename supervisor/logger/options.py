"""How a stream is kept: the text that comes with it, words such as `keep=BYTES full=drop`.

Law: what is missing or unreadable has its default; words that are not known are for other versions.
"""
from __future__ import annotations

KEEP_BYTES = 256 << 20
SEGMENT_BYTES = 16 << 20
LEAST_SEGMENT_BYTES = 4096
SECOND_NS = 1_000_000_000
SPANS = 4  # segments in `max_age_s`
MOST_SEGMENT_BYTES = 1 << 30  # an arrival's length has 32 bits


class Options:
    """`keep_bytes` at least 8192, `segment_bytes` at least 4096. `max_age_s` seconds, `rate_bytes`
    a second; 0: no limit. `drop`: what storage does not take is dropped when the pipe is full,
    instead of having its writer wait. `span_ns`: of one segment, where `max_age_s` is set, so that
    what is deleted is at most that much older."""

    __slots__ = ("compress", "drop", "keep_bytes", "max_age_s", "rate_bytes", "segment_bytes",
                 "span_ns")

    def __init__(self) -> None:
        self.keep_bytes = KEEP_BYTES
        self.segment_bytes = SEGMENT_BYTES
        self.max_age_s = 0
        self.span_ns = 0
        self.compress = True
        self.drop = False
        self.rate_bytes = 0


def parse(text: str) -> Options:
    """A segment is at most half of what is kept, so that half is left whenever one is deleted."""
    found = Options()
    for word in text.split():
        name, _, value = word.partition("=")
        if name == "full":
            found.drop = value == "drop"
        elif not (value.isascii() and value.isdigit()):
            continue
        elif name == "keep":
            found.keep_bytes = int(value)
        elif name == "segment":
            found.segment_bytes = int(value)
        elif name == "max_age":
            found.max_age_s = int(value)
        elif name == "compress":
            found.compress = value != "0"
        elif name == "rate":
            found.rate_bytes = int(value)
    found.keep_bytes = max(found.keep_bytes, 2 * LEAST_SEGMENT_BYTES)
    most = min(found.keep_bytes // 2, MOST_SEGMENT_BYTES)
    found.span_ns = found.max_age_s * SECOND_NS // SPANS
    found.segment_bytes = max(LEAST_SEGMENT_BYTES, min(found.segment_bytes, most))
    return found
