"""The kernel's log: records of /dev/kmsg, as Documentation/ABI/testing/dev-kmsg has them.

    6,339,5140900,-;NET: Registered PF_INET6 protocol family
     SUBSYSTEM=pci

Law: `parse` is pure. A record is given once while its sequence number is above the cursor's, which
begins anew with each boot. What the kernel overwrote before it was read is told, with how many
records that were: numbers are without gaps. A time is that of the record, by the clock that now
tells how long ago that was.
"""
from __future__ import annotations

import os
import re
import time
from errno import EINVAL, EPIPE

from supervisor.agents.receive.cursor import Cursor
from supervisor.agents.receive.entry import Entry, facility, stamp, text

DEVICE = "/dev/kmsg"
_RECORD_BYTES = 16 << 10  # a record has at most 8 KiB; with less, a read fails for ever
_HEAD = re.compile(rb"(\d{1,10}),(\d{1,20}),(\d{1,20}),([^,;]*)[^;]*;")
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")
_ERR, _WARNING = 3, 4


def parse(record: bytes, boot_ns: int) -> tuple[int, Entry] | None:
    """(sequence number, entry); None for what is no record. `boot_ns`: realtime of boot."""
    head = _HEAD.match(record)
    if head is None:
        return None
    number, sequence = int(head[1]), int(head[2])
    message, *facts = record[head.end() :].rstrip(b"\n").split(b"\n")
    entry: Entry = {
        "priority": number & 7, "facility": facility(number >> 3), "ident": "kernel",
        "time": stamp(boot_ns + int(head[3]) * 1000), "seq": sequence,
        "message": text(_ESCAPED.sub(_byte, message)),
    }
    if head[4][:1] in {b"c", b"+"}:
        entry["continues"] = True  # a part of a line: what comes next may be the rest of it
    for fact in facts:
        name, equals, value = fact.partition(b"=")
        if fact[:1] == b" " and equals:
            entry.setdefault(text(name.strip()).lower(), text(_ESCAPED.sub(_byte, value)))
    return sequence, entry


def _byte(found: re.Match[bytes]) -> bytes:
    return bytes((int(found[1], 16),))


class Kernel:
    """A source for main's loop."""

    source = "kernel"

    def __init__(self, device: str, cursor: Cursor) -> None:
        """Raises OSError."""
        self._fd = os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._cursor = cursor
        self._next = cursor.sequence + 1  # what has to come

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)

    def read(self, most: int) -> list[Entry]:
        """What there is, at most so many; [] if nothing is."""
        boot_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        found: list[Entry] = []
        while len(found) < most:
            try:
                record = os.read(self._fd, _RECORD_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == EPIPE:  # overwritten; the number of the next one tells how many
                    continue
                if error.errno == EINVAL:
                    found.append({"priority": _ERR, "ident": "unboxed",
                                  "message": "cannot read a record of the kernel's log: it is"
                                  " longer than any may be; it is left out"})
                    continue
                raise
            if not record:
                break
            parsed = parse(record, boot_ns)
            if parsed is not None:
                self._take(*parsed, found)
        return found

    def _take(self, sequence: int, entry: Entry, found: list[Entry]) -> None:
        if sequence < self._next:
            return  # told already
        lost = sequence - self._next
        if lost and self._next:
            found.append({
                "priority": _WARNING, "ident": "unboxed", "lost": lost,
                "message": f"{lost} records of the kernel's log were overwritten before they were"
                " read"})
        self._next = sequence + 1
        found.append(entry)

    def written(self) -> None:
        """All that was read is where it belongs."""
        self._cursor.save(self._next - 1)
