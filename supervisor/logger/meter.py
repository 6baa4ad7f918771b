"""`logs.rate`: a bucket of one second's worth of bytes.

Law: once it is empty and more is there, all is dropped until it is full again. So a burst is whole
and the loss after it is one, and yet in the long run exactly the rate is stored.
"""
from __future__ import annotations

SECOND_NS = 1_000_000_000


class Meter:
    """Times are monotonic ns."""

    __slots__ = ("_at_ns", "_credit", "shut_until_ns")

    def __init__(self) -> None:
        self._credit = -1  # bytes, times SECOND_NS; -1: full
        self._at_ns = 0
        self.shut_until_ns = 0

    def allowed(self, rate_bytes: int, now_ns: int) -> int:
        """How many bytes may be stored now; none while it is shut."""
        if now_ns < self.shut_until_ns:
            return 0
        full = rate_bytes * SECOND_NS
        if self._credit < 0 or self.shut_until_ns:
            self._credit = full
            self.shut_until_ns = 0
        else:
            self._credit = min(full, self._credit + (now_ns - self._at_ns) * rate_bytes)
        self._at_ns = now_ns
        return self._credit // SECOND_NS

    def took(self, count: int) -> None:
        self._credit -= count * SECOND_NS

    def shut(self, rate_bytes: int, now_ns: int) -> None:
        """There is more than is allowed."""
        self.shut_until_ns = now_ns + SECOND_NS - self._credit // rate_bytes
