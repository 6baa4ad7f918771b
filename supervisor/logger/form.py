"""How logs lie on disk, for the one who writes and all who read. Pure.

    LOGDIR/KEY/SEQ.log      raw bytes as the unit wrote them, one segment of its stream
    LOGDIR/KEY/SEQ.log.zst  the same bytes, compressed (packed.py); never the newest segment
    LOGDIR/KEY/SEQ.idx      when they came: one 24-byte entry for each arrival

KEY is the instance's, with "@" for "/" (web/0 -> web@0). SEQ is the offset in the stream at which
the segment begins, in 16 hexadecimal digits: names sort by age, and no offset is used twice.

Law of the index: entries of a segment are in order of offset, and their times never decrease (a
clock that is set back begins a new segment), so both can be searched by halves. An index may lag
behind its segment or end in a torn entry, never the other way round while the machine has power.
"""
from __future__ import annotations

from _struct import Struct

# u64 realtime ns, u64 offset in the stream, u32 length, u16 stream, u16 flags; little-endian.
ENTRY = Struct("<QQIHH")
ENTRY_BYTES = 24

# Kinds of an arrival (the index calls them stream):
OUTPUT = 1  # standard output; also both together, where they are not kept apart
ERROR = 2  # standard error
LOSS = 3  # one line of ours, JSON: {"from": ns, "to": ns, "bytes": n, "reason": "full"}

ERRORS = "!err"  # ends the name of a pipe of standard error alone (kernel.plan has it too)

RECOVERED = 1  # flag: its writer was killed before it noted the arrival; the time is the file's
BOOT_SHIFT = 1  # flags above that one: the number of the boot in which it was noted (boots.py)
# Whatever a power failure took away may have been read before, so the first segment of a boot
# begins at the next multiple of this, more than a kernel keeps in memory: no offset is used twice.
BOOT_BYTES = 1 << 36

LOG = ".log"
PACKED = ".log.zst"
INDEX = ".idx"
BOOTS = ".boots"  # in the log directory: one line "BOOTID REALTIME_NS" for each boot (boots.py)
TEMPORARY = ".tmp"  # with a dot before the name
SEQ_DIGITS = 16


def directory_of(key: str) -> str:
    """Raises ValueError for a key that could name anything outside the log directory."""
    name = key.replace("/", "@")
    if not name or name.startswith(".") or "\0" in name:
        raise ValueError(f"cannot log {key!r}: not a name for a directory")
    return name


def key_of(directory: str) -> str:
    """The key of a stream's directory; "" if the name cannot be one's."""
    return "" if directory.startswith(".") else directory.replace("@", "/")


def segment_name(start: int, suffix: str) -> str:
    return f"{start:016x}{suffix}"


def next_boot(end: int) -> int:
    """The offset at which a stream that ended at `end`, as far as the disk knows, goes on."""
    return (end // BOOT_BYTES + 1) * BOOT_BYTES


def missing_bytes(offset: int, start: int) -> int:
    """How many bytes are known to be gone between `offset` and the first segment left, at `start`.

    Of those before a boot nobody knows how many they were.
    """
    return max(0, start - max(offset, start // BOOT_BYTES * BOOT_BYTES))


def temporary_name(start: int) -> str:
    """Of a packed segment while it is written."""
    return f".{start:016x}{PACKED}{TEMPORARY}"


def segment_start(name: str) -> int:
    """The stream offset at which the segment NAME begins; -1 if NAME is no segment's."""
    digits = name[:SEQ_DIGITS]
    if name[SEQ_DIGITS:] not in {LOG, PACKED} or digits.strip("0123456789abcdef"):
        return -1
    return int(digits, 16)
