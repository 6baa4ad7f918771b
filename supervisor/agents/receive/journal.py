r"""The journal's native protocol: one entry a datagram (systemd.io/JOURNAL_NATIVE_PROTOCOL).

    MESSAGE=Hello\n                a field of one line
    MESSAGE\n<u64 size>data\n      a field of any bytes; the size is little-endian

Law: `parse` is pure, takes any bytes, and what is whole in them counts. Names are of capitals,
digits and underscores; those that begin with an underscore are the journal's own to set, so whoever
sends one is not believed. What is too big for a datagram comes as a sealed memfd, which is read,
never mapped: whoever sent it cannot make it smaller, and no other file is read at all, as that
might wait.
"""
from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator

from supervisor.agents.receive.entry import (
    FIELD_BYTES,
    FIELDS,
    MESSAGE_BYTES,
    Entry,
    facility,
    text,
)

MOST_BYTES = 4 << 20  # of a memfd; an entry's line holds far less
_NAME = re.compile(rb"[A-Z][A-Z0-9_]{0,63}")
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_DEFAULT = 6  # info


def parse(data: bytes) -> Entry:
    entry: Entry = {}
    left_out = 0
    for name, value in _fields(data):
        room = MESSAGE_BYTES if name == b"MESSAGE" else FIELD_BYTES
        if _NAME.fullmatch(name) is None or len(entry) >= FIELDS:
            left_out += 1
            continue
        key = name.decode("ascii")
        if len(value) > room:
            left_out += name != b"MESSAGE"
            if name == b"MESSAGE":
                entry["cut"] = len(value)
            value = value[:room]
        entry.setdefault(key, text(value))  # of several with one name the first
    number = _number(entry.pop("PRIORITY", None), 7)
    group = _number(entry.pop("SYSLOG_FACILITY", None), 127)
    said_pid = _number(entry.pop("SYSLOG_PID", None), 1 << 22)
    return {
        "priority": _DEFAULT if number is None else number,
        "facility": None if group is None else facility(group),
        "ident": entry.pop("SYSLOG_IDENTIFIER", None), "said_pid": said_pid,
        "message": entry.pop("MESSAGE", ""), **entry, "left_out": left_out or None,
    }


def _fields(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(data):
        end = data.find(b"\n", at)
        if end < 0:
            end = len(data)  # systemd takes the last line without its newline too
        line = data[at:end]
        name, equals, value = line.partition(b"=")
        if equals:
            at = end + 1
            yield name, value
        elif not line:
            at = end + 1
        else:
            size = int.from_bytes(data[end + 1 : end + 9], "little")
            at = end + 9 + size + 1
            if at - 1 > len(data) or len(data) < end + 9:
                return  # cut short
            yield name, data[end + 9 : end + 9 + size]


def _number(value: object, most: int) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 8:
        return int(value) if int(value) <= most else None
    return None


def sealed(fd: int) -> bytes | None:
    """What is in a memfd that nobody can change any more; None: it is none."""
    try:
        if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
            return None
        return os.pread(fd, MOST_BYTES, 0)
    except OSError:  # EINVAL: it is no memfd
        return None
