"""The log directory, held by descriptor, so that nobody can lead the logger elsewhere.

Law: the last part of its path and everything below are opened without following links. A link or
file that stands where a directory of ours belongs is moved aside, never followed and never deleted.
A directory that is gone is made again. (Links in the parents of the log directory are the
administrator's choice and are followed.)
"""
from __future__ import annotations

import errno
import fcntl
import posix
import time

from supervisor.logger import boots
from supervisor.logger.holdings import Holdings
from supervisor.logger.notice import say

DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
MODE = 0o750


class LogDirectory:
    """`fd` is -1 until the first `refresh`. `path` is absolute. `boot` is the number of this boot
    there, `holdings` what is known of what lies there."""

    __slots__ = ("boot", "fd", "holdings", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = -1
        self.boot = 0
        self.holdings = Holdings()

    def refresh(self) -> int:
        """The directory that `path` names now, made and locked if it is a new one.

        Raises OSError, EBUSY if another supervisor's logger has it.
        """
        if self.fd >= 0:
            if _same(self.fd, self.path):
                return self.fd
            posix.close(self.fd)  # removed or moved away; its lock goes with it
            self.fd = -1
        parent = self.path.rpartition("/")[0]
        try:
            fd = _open(self.path, None)
        except FileNotFoundError:
            _make_parents(parent)
            fd = _open(self.path, None)
        try:
            _lock(fd)
            self.boot = boots.number(fd)
        except OSError:
            posix.close(fd)
            raise
        self.fd = fd
        self.holdings.clear()
        return fd

    def enter(self, name: str) -> int:
        """A new descriptor of the directory `name` below, made if missing. The caller closes it."""
        return _open(name, self.refresh())

    def holds(self, name: str, identity: tuple[int, int]) -> bool:
        """Whether `name` below is still the directory with that device and inode number."""
        try:
            found = posix.stat(name, dir_fd=self.refresh(), follow_symlinks=False)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == identity


def _open(name: str, parent: int | None) -> int:
    for _ in range(4):
        try:
            return posix.open(name, DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            try:
                posix.mkdir(name, MODE, dir_fd=parent)
            except FileExistsError:
                continue  # a link into the void, or somebody was faster: look again
        except OSError as error:
            if error.errno not in {errno.ELOOP, errno.ENOTDIR}:
                raise
            _move_aside(name, parent)
    raise OSError(errno.ELOOP, "somebody keeps replacing it", name)


def _move_aside(name: str, parent: int | None) -> None:
    above, slash, last = name.rpartition("/")
    aside = f"{above}{slash}.{last}.moved-{time.time_ns():x}"
    try:
        posix.rename(name, aside, src_dir_fd=parent, dst_dir_fd=parent)
    except FileNotFoundError:
        return
    say(f"{name} is no directory (links are not followed); moved to {aside}, made anew")


def _make_parents(path: str) -> None:
    at = path.find("/", 1)
    while path:
        try:
            posix.mkdir(path if at < 0 else path[:at], 0o755)
        except FileExistsError:
            pass
        if at < 0:
            return
        at = path.find("/", at + 1)


def _same(fd: int, path: str) -> bool:
    mine = posix.fstat(fd)
    try:
        named = posix.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (mine.st_dev, mine.st_ino) == (named.st_dev, named.st_ino)


def _lock(fd: int) -> None:
    """Two loggers in one directory would write over each other's bytes."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OSError(
            errno.EBUSY, "another supervisor logs there; give one of them its own --log-dir"
        ) from None
    except OSError as error:
        if error.errno not in {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}:
            raise
        # A file system without locks: then the runtime directory's lock has to do.
