"""The open end of one stream: its newest segment, and how it grows.

Law: at any instant a byte is in the pipe or in a segment, so a SIGKILL loses none (splice(2) takes
from the pipe exactly what it gave to the file). The index entry follows the bytes; if it is missing
because we were killed or had no space, `reopen` adds it with the file's own time. So every failure
has one remedy: close the tail, and open it again later.

There is no fsync: it would make every unit wait for the disk of one. A power failure costs what the
kernel had not written back (by default up to 30 s), and `_recover` makes the rest consistent.
"""
from __future__ import annotations

import errno
import posix

from supervisor.logger.directory import LogDirectory
from supervisor.logger.form import (
    ENTRY,
    ENTRY_BYTES,
    INDEX,
    LOG,
    OUTPUT,
    RECOVERED,
    segment_name,
    segment_start,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervisor.logger.options import Options

MODE = 0o640
OPEN = posix.O_RDWR | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
FLAGS = posix.SPLICE_F_MOVE | posix.SPLICE_F_NONBLOCK

SEEK_SET = 0

# A clock that is set back by less only has its entries held at the last time (they never decrease).
CLOCK_STEP_NS = 1_000_000_000


class Tail:
    """`size` and `noted` are the bytes in segment and index, `end` the stream offset of the next
    byte, `home` the directory's device and inode, `checked_ns` when that was last compared."""

    __slots__ = ("checked_ns", "home", "index", "log", "noted", "size", "start", "time_ns")

    def __init__(self, home: tuple[int, int], start: int, log: int, index: int) -> None:
        self.home = home
        self.start = start
        self.log = log
        self.index = index
        self.size = 0
        self.noted = 0
        self.time_ns = 0
        self.checked_ns = 0

    @property
    def end(self) -> int:
        return self.start + self.size

    def room(self, segment_bytes: int, now_ns: int) -> int:
        """Bytes that may still be added, each arrival's index entry counted; 0: rotate first."""
        if self.size and now_ns < self.time_ns - CLOCK_STEP_NS:
            return 0
        return max(0, segment_bytes - self.size - self.noted - ENTRY_BYTES)

    def take(self, pipe: int, most: int) -> int:
        """Move up to `most` bytes here; 0 if the pipe is empty. They are not noted yet.

        Raises OSError if the file cannot take them; then they are still in the pipe.
        """
        try:
            taken = posix.splice(pipe, self.log, most, offset_dst=self.size, flags=FLAGS)
        except BlockingIOError:
            return 0
        self.size += taken
        return taken

    def copy(self, source: int, offset: int, length: int, now_ns: int) -> int:
        """Take bytes of a file instead; returns how many. They are noted."""
        posix.lseek(self.log, self.size, SEEK_SET)
        taken = posix.sendfile(self.log, source, offset, length)
        self.size += taken
        self.note(taken, now_ns)
        return taken

    def note(self, length: int, now_ns: int, flags: int = 0) -> None:
        """Write the entry of the last `length` bytes."""
        if now_ns > self.time_ns or not self.noted:
            self.time_ns = now_ns
        entry = ENTRY.pack(self.time_ns, self.end - length, length, OUTPUT, flags)
        if posix.pwrite(self.index, entry, self.noted) != ENTRY_BYTES:
            raise OSError(errno.ENOSPC, "no space left for the index")
        self.noted += ENTRY_BYTES

    def unlinked(self) -> bool:
        """Whether somebody removed the segment; what went in since is in no directory."""
        return posix.fstat(self.log).st_nlink == 0

    def close(self) -> None:
        posix.close(self.log)
        posix.close(self.index)


def reopen(directory: LogDirectory, name: str, end: int, options: Options) -> Tail:
    """The tail of the stream in directory `name`: its newest segment, or a new one.

    `end` is the offset of the stream's next byte as far as the caller knows (0: not at all); bytes
    before it that are gone from the directory leave a gap, so that offsets are never used twice.
    """
    home = directory.enter(name)
    try:
        start = max(map(segment_start, posix.listdir(home)), default=-1)
        if start >= 0:
            tail = _open(home, start)
            try:
                _recover(tail)
            except OSError:
                tail.close()
                raise
            if tail.end >= end:
                return tail
            tail.close()
        return _begin(home, end, options.keep_bytes - options.segment_bytes)
    finally:
        posix.close(home)


def rotate(directory: LogDirectory, name: str, end: int, options: Options) -> Tail:
    """A new segment at offset `end`, after deleting what would exceed `keep` with it."""
    home = directory.enter(name)
    try:
        return _begin(home, end, options.keep_bytes - options.segment_bytes)
    finally:
        posix.close(home)


def _begin(home: int, start: int, closed_bytes: int) -> Tail:
    _expire(home, closed_bytes)
    tail = _open(home, start)
    try:
        # An index that is already there under that name is one whose segment is gone.
        posix.ftruncate(tail.index, 0)
        _recover(tail)
    except OSError:
        tail.close()
        raise
    return tail


def _open(home: int, start: int) -> Tail:
    log = posix.open(segment_name(start, LOG), OPEN, MODE, dir_fd=home)
    try:
        index = posix.open(segment_name(start, INDEX), OPEN, MODE, dir_fd=home)
    except OSError:
        posix.close(log)
        raise
    found = posix.fstat(home)
    return Tail((found.st_dev, found.st_ino), start, log, index)


def _recover(tail: Tail) -> None:
    """Find the true end, and note what a killed logger had no time to note."""
    log, index = posix.fstat(tail.log), posix.fstat(tail.index)
    tail.size = log.st_size
    noted = index.st_size - index.st_size % ENTRY_BYTES  # the rest is a torn entry
    unnoted = tail.size
    while noted:
        entry = posix.pread(tail.index, ENTRY_BYTES, noted - ENTRY_BYTES)
        time_ns, offset, length, _, _ = ENTRY.unpack(entry)
        if tail.start <= offset and offset + length <= tail.end:
            tail.noted, tail.time_ns = noted, time_ns
            unnoted = tail.end - offset - length
            break
        noted -= ENTRY_BYTES  # after a power failure an index can know of bytes that never came
    if noted < index.st_size:
        posix.ftruncate(tail.index, noted)
    if unnoted:
        tail.note(unnoted, log.st_mtime_ns, RECOVERED)


def _expire(home: int, keep_bytes: int) -> None:
    """Delete the oldest segments until the rest holds at most `keep_bytes`, indexes included."""
    sizes: dict[int, int] = {}
    for name in posix.listdir(home):
        start = segment_start(name.replace(INDEX, LOG))
        if start >= 0:
            found = posix.stat(name, dir_fd=home, follow_symlinks=False)
            sizes[start] = sizes.get(start, 0) + found.st_size
    total = sum(sizes.values())
    for start in sorted(sizes):
        if total <= keep_bytes:
            return
        total -= sizes[start]
        for suffix in (LOG, INDEX):  # in this order: an index alone is nobody's, and goes next time
            try:
                posix.unlink(segment_name(start, suffix), dir_fd=home)
            except FileNotFoundError:
                continue
