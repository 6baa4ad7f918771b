"""How far an agent has got with each stream, and when that is written down.

Law: an offset says where to go on. It never goes back, but where a stream began anew. Nothing is
written that is as it was, nor more often than readers and disks want.
"""
from __future__ import annotations

import time

from supervisor.logger.feed_place import (
    delivered_into,
    parse_cursors,
    read_cursor,
    write_cursor,
    write_progress,
)
from supervisor.logger.notice import reason, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CURSOR_SECONDS = 0.1
PROGRESS_SECONDS = 0.5
PROGRESS_SHARE = 25  # or that many times what finding it out took, if that is more
RETRY_SECONDS = 5.0  # of a file that could not be written


class Memory:
    """`cursor` is "" where nothing is acknowledged; `pipe` is the inode number of the agent's.

    Its progress is to be written before anything goes into the pipe: a successor knows by that.
    `places`, as of `saved_ns`: where to go on. `goes_on`: a predecessor wrote into this pipe.
    """

    def __init__(self, progress: str, cursor: str, pipe: int) -> None:
        self._progress = progress
        self._cursor = cursor
        self._pipe = pipe
        self._begun: dict[str, int] = {}
        self._delivered: dict[str, int] = {}
        self._acknowledged: dict[str, int] = {}
        self._cursor_at: float | None = None  # None: nothing is new
        self._cursor_next = 0.0
        self._progress_at: float | None = 0.0  # before anything else: that this feed is there
        self._progress_next = 0.0
        before = delivered_into(progress, pipe)
        self.goes_on = before is not None
        self.places, self.saved_ns = before or {}, 0
        if cursor:
            self.places, self.saved_ns = self._read_cursor(cursor)
            self._acknowledged.update(self.places)

    def begins(self, places: Mapping[str, int]) -> None:
        """Streams that are new here, with the offset of the first line each is to deliver."""
        self._begun.update(places)
        self._delivered.update(places)
        self.changed()

    def delivers(self, places: Mapping[str, int]) -> None:
        """These were written into the pipe."""
        for key, offset in places.items():
            if offset < self._done(key):  # it began anew: what was acknowledged is gone
                self._begun[key] = 0
                if self._acknowledged.pop(key, None) is not None:
                    self._save_soon()
        self._delivered.update(places)
        self.changed()

    def acknowledge(self, data: bytes, sent: Mapping[str, int]) -> None:
        """Cursors, one a line. One that was never sent, or is older than another, means nothing."""
        for key, offset in dict(parse_cursors(data)).items():
            most = max(sent.get(key, -1), self._delivered.get(key, -1))
            before = self._acknowledged.get(key, -1)
            if before < offset <= most or offset <= most < before:
                self._acknowledged[key] = offset
                self._save_soon()
                self.changed()

    def all_acknowledged(self) -> bool:
        return all(
            self._done(key) >= offset
            for key, offset in self._delivered.items() if offset != self._begun[key]
        )

    def changed(self) -> None:
        """There is progress to tell of, or more that the agent is behind."""
        if self._progress_at is None:
            self._progress_at = max(time.monotonic(), self._progress_next)

    def next_write_at(self) -> float | None:
        """The monotonic time at which `write_due` has something to do; None: nothing is new."""
        times = [at for at in (self._cursor_at, self._progress_at) if at is not None]
        return min(times) if times else None

    def write_due(self, behind_bytes: Callable[[Mapping[str, int]], int]) -> None:
        """`behind_bytes` says how much is stored behind such places by now."""
        now = time.monotonic()
        if self._cursor_at is not None and self._cursor_at <= now:
            self._write_cursor(now)
        if self._progress_at is not None and self._progress_at <= now:
            self._write_progress(now, behind_bytes)

    def write_all(self, behind_bytes: Callable[[Mapping[str, int]], int]) -> None:
        now = time.monotonic()
        if self._cursor_at is not None:
            self._write_cursor(now)
        if self._progress_at is not None:
            self._write_progress(now, behind_bytes)

    def _save_soon(self) -> None:
        if self._cursor_at is None:
            self._cursor_at = max(time.monotonic(), self._cursor_next)

    def _done(self, key: str) -> int:
        return self._acknowledged.get(key, self._begun[key])

    def _read_cursor(self, path: str) -> tuple[dict[str, int], int]:
        try:
            return read_cursor(path)
        except OSError as error:
            say(f"cannot read {path}: {reason(error)}; all that is stored is sent again", "feed")
            return {}, 0

    def _write_cursor(self, now: float) -> None:
        self._cursor_at, self._cursor_next = None, now + CURSOR_SECONDS
        try:
            write_cursor(self._cursor, self._acknowledged)
        except OSError as error:
            again = f"tried again in {RETRY_SECONDS:.0f} s"
            say(f"cannot write {self._cursor}: {reason(error)}; {again}", "feed")
            self._cursor_at = now + RETRY_SECONDS

    def _write_progress(
        self, now: float, behind_bytes: Callable[[Mapping[str, int]], int]
    ) -> None:
        places = self._delivered
        if self._cursor:
            places = {key: self._done(key) for key in places}
        try:
            write_progress(self._progress, self._pipe, behind_bytes(places), self._delivered,
                           self._acknowledged)
        except OSError as error:
            say(f"cannot write {self._progress}: {reason(error)}; status does not show it", "feed")
            now += RETRY_SECONDS
        cost = time.monotonic() - now
        self._progress_at = None
        self._progress_next = now + max(PROGRESS_SECONDS, PROGRESS_SHARE * cost)
