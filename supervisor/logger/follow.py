"""Logs as they come: what is stored, then each new line, over rotation, restarts and new units.

Law: bytes are read when their index entry is there, so that their time is right; if none comes (the
logger was killed just then) they are read SETTLE_SECONDS later. A quiet log costs nothing (news).
"""
from __future__ import annotations

import select
import time

from supervisor.logger.news import News
from supervisor.logger.read import Limits, by_time, matches, open_cursors, stored

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

    from supervisor.logger.cursor import Cursor
    from supervisor.logger.lines import Record
    from supervisor.logger.read import Keep

SETTLE_SECONDS = 0.2
PARTIAL_SECONDS = 1.0  # a line without an end (a prompt, last words) is shown after that long
TURN_BYTES = 1 << 20  # read from one stream before others have their turn


class Follower:
    """Call `stored()` once and to its end, then `poll()` whenever `fileno()` is readable or
    `timeout()` seconds have passed; `wait()` does that waiting for who has nothing else to do.

    `since_ns` and `last_n` limit what is stored, as for `read.records`; `last_n` 0: only new lines.
    `keep` limits both.
    """

    def __init__(
        self,
        logdir: str,
        patterns: Sequence[str] = (),
        *,
        since_ns: int | None = None,
        last_n: int | None = None,
        keep: Keep | None = None,
    ) -> None:
        self._logdir = logdir
        self._limits = Limits(since_ns, None, keep)
        self._last_n = last_n
        self._cursors: dict[str, Cursor] = {}
        self._left: dict[str, None] = {}  # those that were not read to their end
        self._settle_at: dict[str, float] = {}
        # By key and kind: (begin, bytes) of a line that waits for its end, and how long it may.
        self._flush_at: dict[tuple[str, int], tuple[tuple[int, int], float]] = {}
        wanted = tuple(patterns)
        self._news = News(logdir, lambda key: matches(key, wanted))
        self._take_news()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for cursor in self._cursors.values():
            cursor.close()
        self._news.close()

    def fileno(self) -> int:
        """Readable when there is news; -1 without inotify."""
        return self._news.fileno()

    def timeout(self) -> float | None:
        """Seconds after which `poll` is wanted though `fileno()` says nothing; None: never."""
        if self._left:
            return 0
        times = [*self._settle_at.values(), *(at for _, at in self._flush_at.values())]
        until = max(0.0, min(times) - time.monotonic()) if times else None
        look = self._news.timeout()
        return min((each for each in (until, look) if each is not None), default=None)

    def wait(self) -> None:
        readable = [self] if self.fileno() >= 0 else []
        select.select(readable, [], [], self.timeout())

    def stored(self) -> Iterator[Record]:
        cursors = list(self._cursors.values())
        yield from stored(cursors, self._limits, self._last_n, hold=True)
        self._left.update(dict.fromkeys(self._cursors))

    def poll(self) -> list[Record]:
        """The lines that are new, in order of time; does not wait."""
        self._take_news()
        found: list[Record] = []
        news, self._left = self._left, {}
        for key in news:
            self._read(key, found)
        now = time.monotonic()
        for key in [key for key, at in self._settle_at.items() if at <= now]:
            self._read(key, found, unnoted=True)
        for key, kind in [place for place, (_, at) in self._flush_at.items() if at <= now]:
            found.extend(self._cursors[key].flush((kind,)))
            del self._flush_at[key, kind]
        if self._limits.keep is not None:
            found = list(filter(self._limits.keep, found))
        found.sort(key=by_time)
        return found

    def _read(self, key: str, found: list[Record], *, unnoted: bool = False) -> None:
        cursor = self._cursors[key]
        end, noted = cursor.ends()
        if cursor.offset > end > 0:  # the directory was removed, and offsets began anew
            found.extend(cursor.flush())
            cursor.seek(min(cursor.starts(), default=0))
        if unnoted:
            noted = end
        if end <= max(noted, cursor.offset):
            self._settle_at.pop(key, None)
        elif key not in self._settle_at:
            self._settle_at[key] = time.monotonic() + SETTLE_SECONDS
        stop = min(noted, cursor.offset + TURN_BYTES)
        before = cursor.offset
        found.extend(cursor.lines(stop))
        cursor.close()  # an open file keeps inotify from telling that its directory is removed
        if stop < noted and cursor.offset > before:
            self._left[key] = None
        self._note_unfinished(key, cursor.held())

    def _note_unfinished(self, key: str, held: dict[int, tuple[int, int]]) -> None:
        for _, kind in [place for place in self._flush_at if place[0] == key]:
            if kind not in held:
                del self._flush_at[key, kind]
        for kind, size in held.items():
            known = self._flush_at.get((key, kind))
            if known is None or known[0] != size:
                self._flush_at[key, kind] = size, time.monotonic() + PARTIAL_SECONDS

    def _take_news(self) -> None:
        news = self._news.take()
        for key in news:
            if key not in self._cursors:
                self._cursors.update({key: open_cursors(self._logdir, [key])[0]})
        self._left.update(news)
