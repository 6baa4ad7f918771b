"""Which streams have news: inotify on the log directory and on each stream that is wanted.

Law: nothing is polled while inotify works, so quiet logs cost nothing. Without it (exhausted, or
the log directory is gone for now) everything is looked at each POLL_SECONDS.
"""
from __future__ import annotations

from supervisor.logger.form import directory_of, key_of
from supervisor.logger.read import streams
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
    from collections.abc import Callable

POLL_SECONDS = 0.2


class News:
    """`wanted` tells of a key whether its stream counts. All that there are have news at first."""

    def __init__(self, logdir: str, wanted: Callable[[str], bool]) -> None:
        self._logdir = logdir
        self._wanted = wanted
        self._known: set[str] = set()
        self._keys: dict[int, str] = {}  # by number of watch; "" is the log directory
        self._unwatched = {""}
        self._found: dict[str, None] = {}  # in order
        try:
            self._watch: Watch | None = Watch()
        except OSError:
            self._watch = None
        self._look_around()

    def close(self) -> None:
        if self._watch:
            self._watch.close()
            self._watch = None

    def fileno(self) -> int:
        """Readable when there is news; -1 without inotify."""
        return self._watch.fileno() if self._watch else -1

    def timeout(self) -> float | None:
        """Seconds after which to `take` though `fileno()` says nothing; None: never."""
        return None if self._watch and not self._unwatched else POLL_SECONDS

    def take(self) -> dict[str, None]:
        """The keys of the streams that something happened to since the last call. Does not wait."""
        self._take_events()
        if self._unwatched or not self._watch:
            self._look_around()
        found, self._found = self._found, {}
        return found

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
            elif key:
                self._found[key] = None
            elif mask & (IN_CREATE | IN_MOVED_TO) and mask & IN_ISDIR:
                self._meet(key_of(name))

    def _look_around(self, *, everything: bool = False) -> None:
        """Watch what is not watched, and look at all streams that nobody watches for us."""
        if "" in self._unwatched:
            everything |= self._start_watch("", self._logdir)
        if everything or not self._watch or self._unwatched:
            for key in streams(self._logdir):
                if key not in self._known or key in self._unwatched or everything:
                    self._meet(key)

    def _meet(self, key: str) -> None:
        """A stream's directory is there: perhaps for the first time, perhaps once more."""
        if not key or not self._wanted(key):
            return
        self._known.add(key)
        self._start_watch(key, self._logdir + "/" + directory_of(key))
        self._found[key] = None

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
