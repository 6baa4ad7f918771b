"""The open end of one stream: its newest segment, and how it grows.

Law: at any instant a byte is in the pipe or in a segment, so a SIGKILL loses none (splice(2) takes
from the pipe exactly what it gave to the file). The index entry follows the bytes; if it is missing
because we were killed or had no space, `reopen` adds it with the file's own time. So every failure
has one remedy: close the tail, and open it again later. What kind of bytes come next is in the
index before they are in the segment, so that is known of those without an entry too.

There is no fsync: it would make every unit wait for the disk of one. A power failure costs what the
kernel had not written back (by default up to 35 s), `_recover` makes the rest consistent, and no
offset is used twice, as the next boot leaves a gap (form.BOOT_BYTES).
"""
from __future__ import annotations

import errno
import posix

from supervisor.logger.directory import LogDirectory
from supervisor.logger.form import (
    BOOT_SHIFT,
    ENTRY,
    ENTRY_BYTES,
    INDEX,
    LOG,
    LOSS,
    OUTPUT,
    PACKED,
    RECOVERED,
    next_boot,
    segment_name,
)
from supervisor.logger.losses import MOST_RECORD, RECORD, declared_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervisor.logger.options import Options

MODE = 0o640
OPEN = posix.O_RDWR | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
READ = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
FLAGS = posix.SPLICE_F_MOVE | posix.SPLICE_F_NONBLOCK

SEEK_SET = 0

# A clock that is set back by less only has its entries held at the last time (they never decrease).
CLOCK_STEP_NS = 1_000_000_000


class Tail:
    """`size` and `noted` are the bytes in segment and index, `end` the stream offset of the next
    byte, `home` the directory's device and inode, `checked_ns` when that was last compared; `boot`
    is the number of the boot that entries are noted under, `kind` that of bytes which have no entry
    yet. `first_ns` and `time_ns`: of the first and the last entry."""

    __slots__ = (
        "boot", "checked_ns", "first_ns", "home", "index", "kind", "log", "noted", "size", "start",
        "time_ns",
    )

    def __init__(self, home: tuple[int, int], start: int, log: int, index: int) -> None:
        self.home = home
        self.boot = 0
        self.first_ns = 0
        self.start = start
        self.log = log
        self.index = index
        self.kind = OUTPUT
        self.size = 0
        self.noted = 0
        self.time_ns = 0
        self.checked_ns = 0

    @property
    def end(self) -> int:
        return self.start + self.size

    def room(self, options: Options, now_ns: int) -> int:
        """Bytes that may still be added, each arrival's index entry counted; 0: rotate first."""
        if self.size and now_ns < self.time_ns - CLOCK_STEP_NS:
            return 0
        # What is deleted when its last byte is too old must not have begun long before.
        if options.max_age_s and self.size and now_ns - self.first_ns > options.span_ns:
            return 0
        return max(0, options.segment_bytes - self.size - self.noted - ENTRY_BYTES)

    def expect(self, kind: int, now_ns: int) -> None:
        """What comes next is of that kind. An entry of no bytes says so until it has its own."""
        if kind != self.kind:
            self._write_entry(0, now_ns, kind, 0)
            self.kind = kind

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

    def copy(self, source: int, offset: int, length: int) -> int:
        """Take bytes of a file instead; returns how many. They are not noted yet."""
        posix.lseek(self.log, self.size, SEEK_SET)
        taken = posix.sendfile(self.log, source, offset, length)
        self.size += taken
        return taken

    def append(self, record: bytes) -> None:
        """Add a record of a loss. Raises OSError; `_recover` removes what is there of it then."""
        if posix.pwrite(self.log, record, self.size) != len(record):
            raise OSError(errno.ENOSPC, "no space left for the record of a loss")
        self.size += len(record)

    def last_loss(self) -> bytes:
        """The record that the segment ends with; empty if that is none."""
        if not self.noted:
            return b""
        entry = posix.pread(self.index, ENTRY_BYTES, self.noted - ENTRY_BYTES)
        _, offset, length, kind, _ = ENTRY.unpack(entry)
        whole = kind == LOSS and length <= MOST_RECORD
        return posix.pread(self.log, length, offset - self.start) if whole else b""

    def note(self, length: int, now_ns: int, flags: int = 0) -> None:
        """Write the entry of the last `length` bytes."""
        self._write_entry(length, now_ns, self.kind, flags)
        if not self.noted:
            self.first_ns = self.time_ns
        self.noted += ENTRY_BYTES

    def _write_entry(self, length: int, now_ns: int, kind: int, flags: int) -> None:
        if now_ns > self.time_ns or not self.noted:
            self.time_ns = now_ns
        flags |= self.boot << BOOT_SHIFT
        entry = ENTRY.pack(self.time_ns, self.end - length, length, kind, flags)
        if posix.pwrite(self.index, entry, self.noted) != ENTRY_BYTES:
            raise OSError(errno.ENOSPC, "no space left for the index")

    def unlinked(self) -> bool:
        """Whether somebody removed the segment; what went in since is in no directory."""
        return posix.fstat(self.log).st_nlink == 0

    def close(self) -> None:
        posix.close(self.log)
        posix.close(self.index)


def reopen(directory: LogDirectory, name: str, end: int, options: Options) -> Tail:
    """The tail of the stream in directory `name`: its newest segment, or a new one.

    `end` is the offset of the stream's next byte as far as the caller knows (-1: not at all); bytes
    before it that are gone from the directory leave a gap, so that offsets are never used twice.
    """
    home = directory.enter(name)
    try:
        newest = directory.holdings.newest(name, home)
        if newest >= 0 and _packed(home, newest):  # by somebody else: it cannot grow any more
            end = max(end, next_boot(_packed_end(home, newest)))
        elif newest >= 0:
            tail = _open(home, newest)
            try:
                known = end >= 0  # then it was we who wrote it, in this boot
                boot = _recover(
                    tail, directory.boot if known else _boot_before(directory, name, home)
                )
            except OSError:
                tail.close()
                raise
            if not known and boot != directory.boot:
                end = next_boot(tail.end)
            if tail.end >= end:
                tail.boot = directory.boot
                return tail
            tail.close()
        return _begin(directory, name, home, max(end, 0), options)
    finally:
        posix.close(home)


def rotate(directory: LogDirectory, name: str, end: int, options: Options) -> Tail:
    """A new segment at offset `end`, after deleting what would exceed `keep` with it."""
    home = directory.enter(name)
    try:
        return _begin(directory, name, home, end, options)
    finally:
        posix.close(home)


def renew(directory: LogDirectory, name: str, options: Options) -> None:
    """See to it that the newest segment of a stream that nobody has open is an empty one."""
    tail = reopen(directory, name, -1, options)
    size, end = tail.size, tail.end
    tail.close()
    if size:
        rotate(directory, name, end, options).close()


def _begin(
    directory: LogDirectory, name: str, home: int, start: int, options: Options
) -> Tail:
    """The newest segment before it goes last, when its successor is there to tell its end."""
    keep_bytes = options.keep_bytes - options.segment_bytes
    holdings = directory.holdings
    holdings.make_room(name, home, keep_bytes)
    tail = _open(home, start)
    try:
        # An index that is already there under that name is one whose segment is gone.
        posix.ftruncate(tail.index, 0)
        _recover(tail, directory.boot)
    except OSError:
        tail.close()
        raise
    tail.boot = directory.boot
    holdings.began(name, start)
    holdings.make_room(name, home, keep_bytes)
    return tail


def _boot_before(directory: LogDirectory, name: str, home: int) -> int:
    """The boot in which the last but one segment ended; 0 if nothing tells. The newest one, if it
    has no entry, came after that."""
    starts = sorted(directory.holdings.stocks[name].segments)[:-1]
    return last_entry(home, starts[-1])[1] if starts else 0


def last_entry(home: int, start: int) -> tuple[int, int]:
    """(time, number of the boot) of the last whole index entry of a segment; zeros: none."""
    try:
        index = posix.open(segment_name(start, INDEX), READ, dir_fd=home)
    except FileNotFoundError:
        return 0, 0
    try:
        count = posix.fstat(index).st_size // ENTRY_BYTES
        entry = posix.pread(index, ENTRY_BYTES, (count - 1) * ENTRY_BYTES) if count else b""
    finally:
        posix.close(index)
    if len(entry) != ENTRY_BYTES:
        return 0, 0
    time_ns, _, _, _, flags = ENTRY.unpack(entry)
    return time_ns, flags >> BOOT_SHIFT


def _packed(home: int, start: int) -> bool:
    try:
        posix.stat(segment_name(start, LOG), dir_fd=home, follow_symlinks=False)
    except FileNotFoundError:
        return True
    return False


def _packed_end(home: int, start: int) -> int:
    from supervisor.logger.packed import content_bytes

    fd = posix.open(segment_name(start, PACKED), READ, dir_fd=home)
    try:
        return start + content_bytes(fd)
    finally:
        posix.close(fd)


def _open(home: int, start: int) -> Tail:
    log = posix.open(segment_name(start, LOG), OPEN, MODE, dir_fd=home)
    try:
        index = posix.open(segment_name(start, INDEX), OPEN, MODE, dir_fd=home)
    except OSError:
        posix.close(log)
        raise
    found = posix.fstat(home)
    return Tail((found.st_dev, found.st_ino), start, log, index)


def _recover(tail: Tail, boot: int) -> int:
    """Find the true end, and note what a killed logger had no time to note.

    Returns the number of the boot in which the last arrival came, `boot` if no entry tells.
    """
    tail.boot = boot
    log, index = posix.fstat(tail.log), posix.fstat(tail.index)
    tail.size = log.st_size
    noted = index.st_size - index.st_size % ENTRY_BYTES  # the rest is a torn entry
    unnoted = tail.size
    while noted:
        entry = posix.pread(tail.index, ENTRY_BYTES, noted - ENTRY_BYTES)
        time_ns, offset, length, kind, flags = ENTRY.unpack(entry)
        if kind and tail.start <= offset and offset + length <= tail.end:
            tail.noted, tail.time_ns, tail.kind = noted, time_ns, kind
            tail.boot = flags >> BOOT_SHIFT
            unnoted = tail.end - offset - length
            break
        noted -= ENTRY_BYTES  # after a power failure an index can know of bytes that never came
    if noted < index.st_size:
        posix.ftruncate(tail.index, noted)
    if noted:
        tail.first_ns = ENTRY.unpack(posix.pread(tail.index, ENTRY_BYTES, 0))[0]
    if unnoted and tail.kind == LOSS:
        unnoted = _recover_record(tail, unnoted)
    if unnoted:
        tail.note(unnoted, log.st_mtime_ns, RECOVERED)
    return tail.boot


def _recover_record(tail: Tail, unnoted: int) -> int:
    """Of bytes without an entry that should be a record of ours: how many are to be noted. A torn
    one is removed, and declared again. After a power failure they can be anything."""
    data = posix.pread(tail.log, MOST_RECORD + 1, tail.size - unnoted)
    if len(data) <= MOST_RECORD:
        if declared_from(data) >= 0:
            return unnoted
        if data[: len(RECORD)] == RECORD[: len(data)]:
            tail.size -= unnoted
            posix.ftruncate(tail.log, tail.size)
            return 0
    tail.kind = OUTPUT
    return unnoted
