"""Logs as they come: what is stored, then each new line, over rotation, restarts and new units.

Law: nothing is polled while inotify works, so a quiet log costs nothing. Without it (exhausted, or
the log directory is gone for now) everything is looked at each POLL_SECONDS, in the reader only.
Bytes are read when their index entry is there, so that their time is right; if none comes (the
logger was killed just then) they are read SETTLE_SECONDS later.
"""
from __future__ import annotations

import select
import time

from supervisor.logger.form import key_of
from supervisor.logger.read import Limits, by_time, matches, open_cursors, stored, streams
from supervisor.logger.watch import (
    IN_CREATE,
    IN_DELETE_SELF,
    IN_IGNORED,
    IN_ISDIR,
    IN_MOVE_SELF,
    IN_MOVED_TO,
    IN_Q_OVERFLOW,
    Watch,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

    from supervisor.logger.cursor import Cursor
    from supervisor.logger.lines import Record
    from supervisor.logger.read import Keep

POLL_SECONDS = 0.2
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
        self._patterns = tuple(patterns)
        self._limits = Limits(since_ns, None, keep)
        self._last_n = last_n
        self._cursors: dict[str, Cursor] = {}
        self._keys: dict[int, str] = {}  # by number of watch; "" is the log directory
        self._unwatched = {""}
        self._news: set[str] = set()
        self._settle_at: dict[str, float] = {}
        # By key and kind: (begin, bytes) of a line that waits for its end, and how long it may.
        self._flush_at: dict[tuple[str, int], tuple[tuple[int, int], float]] = {}
        try:
            self._watch: Watch | None = Watch()
        except OSError:
            self._watch = None
        self._look_around()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for cursor in self._cursors.values():
            cursor.close()
        if self._watch:
            self._watch.close()
            self._watch = None

    def fileno(self) -> int:
        """Readable when there is news; -1 without inotify."""
        return self._watch.fileno() if self._watch else -1

    def timeout(self) -> float | None:
        """Seconds after which `poll` is wanted though `fileno()` says nothing; None: never."""
        if self._news:
            return 0
        times = [*self._settle_at.values(), *(at for _, at in self._flush_at.values())]
        until = max(0.0, min(times) - time.monotonic()) if times else None
        if self._watch and not self._unwatched:
            return until
        return POLL_SECONDS if until is None else min(until, POLL_SECONDS)

    def wait(self) -> None:
        readable = [self._watch] if self._watch else []
        select.select(readable, [], [], self.timeout())

    def stored(self) -> Iterator[Record]:
        cursors = list(self._cursors.values())
        yield from stored(cursors, self._limits, self._last_n, hold=True)
        self._news.update(self._cursors)

    def poll(self) -> list[Record]:
        """The lines that are new, in order of time; does not wait."""
        self._take_events()
        if self._unwatched or not self._watch:
            self._look_around()
        found: list[Record] = []
        news, self._news = self._news, set()
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
            self._news.add(key)
        self._note_unfinished(key, cursor.held())

    def _note_unfinished(self, key: str, held: dict[int, tuple[int, int]]) -> None:
        for _, kind in [place for place in self._flush_at if place[0] == key]:
            if kind not in held:
                del self._flush_at[key, kind]
        for kind, size in held.items():
            known = self._flush_at.get((key, kind))
            if known is None or known[0] != size:
                self._flush_at[key, kind] = size, time.monotonic() + PARTIAL_SECONDS

    def _take_events(self) -> None:
        if not self._watch:
            return
        for number, mask, name in self._watch.events():
            if mask & IN_Q_OVERFLOW:
                self._look_around(everything=True)
                continue
            key = self._keys.get(number)
            if key is None:
                continue
            if mask & (IN_MOVE_SELF | IN_DELETE_SELF):
                self._watch.remove(number)
            elif mask & IN_IGNORED:
                del self._keys[number]
                if not key:
                    self._unwatched.add(key)
            elif not key:
                if mask & (IN_CREATE | IN_MOVED_TO) and mask & IN_ISDIR:
                    self._meet(key_of(name))
            else:
                self._news.add(key)

    def _look_around(self, *, everything: bool = False) -> None:
        """Watch what is not watched, and look at all streams that nobody watches for us."""
        if "" in self._unwatched:
            everything |= self._start_watch("", self._logdir)
        if everything or not self._watch or self._unwatched:
            for key in streams(self._logdir):
                if key not in self._cursors or key in self._unwatched or everything:
                    self._meet(key)

    def _meet(self, key: str) -> None:
        """A stream's directory is there: perhaps for the first time, perhaps once more."""
        if not key or not matches(key, self._patterns):
            return
        if key not in self._cursors:
            self._cursors.update({key: open_cursors(self._logdir, [key])[0]})
        self._start_watch(key, self._cursors[key].directory)
        self._news.add(key)

    def _start_watch(self, key: str, directory: str) -> bool:
        if not self._watch:
            self._unwatched.add(key)
            return False
        try:
            number = self._watch.add(directory)
        except (FileNotFoundError, NotADirectoryError):
            if key:  # a stream that is gone: the log directory's watch will tell when it is back
                self._unwatched.discard(key)
            else:
                self._unwatched.add(key)
            return False
        except OSError:  # too many watches
            self._unwatched.add(key)
            return False
        self._keys[number] = key
        self._unwatched.discard(key)
        return True
