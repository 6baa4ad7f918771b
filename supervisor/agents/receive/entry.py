"""An entry as one line of JSON.

Law: pure. A line is at most LINE_BYTES long, so that the logger never cuts it and it stays JSON:
fields that do not fit are left out and counted (`left_out`), a message is cut and says so (`cut`,
how many bytes it had). Times are ISO 8601 in UTC.
"""
from __future__ import annotations

import time
from json import dumps
from typing import Any

LINE_BYTES = 60 << 10  # below the 64 KiB from which on the logger's readers take a line in pieces
MESSAGE_BYTES = 48 << 10
FIELD_BYTES = 8 << 10
FIELDS = 128
FACILITIES = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
)
_OWN = frozenset((
    "priority", "facility", "ident", "pid", "said_pid", "uid", "unit", "time", "message", "source",
    "cut", "left_out",
))

Entry = dict[str, Any]


def text(value: bytes) -> str:
    r"""Bytes that are not UTF-8 as \xff."""
    return value.decode("utf-8", "backslashreplace")


def facility(number: int) -> str:
    return FACILITIES[number] if 0 <= number < len(FACILITIES) else str(number)


def stamp(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest // 1000:06d}Z"


def line(entry: Entry) -> bytes:
    """With its newline. Keys whose value is None are left out."""
    message = entry.get("message") or ""
    if len(message) > MESSAGE_BYTES:
        message = _cut(entry, message, MESSAGE_BYTES)
    data = _encoded(entry, message)
    if len(data) > LINE_BYTES:
        entry = _without_most(entry)
        data = _encoded(entry, message)
    while len(data) > LINE_BYTES:  # characters that take six bytes each in JSON
        message = _cut(entry, message, len(message) // 2)
        data = _encoded(entry, message)
    return data


def _encoded(entry: Entry, message: str) -> bytes:
    full = {key: value for key, value in entry.items() if value is not None}
    full["message"] = message
    return dumps(full, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "backslashreplace") + b"\n"


def _cut(entry: Entry, message: str, length: int) -> str:
    entry.setdefault("cut", len(message.encode("utf-8", "backslashreplace")))
    return message[:length]


def _without_most(entry: Entry) -> Entry:
    """Without the fields of the sender's own, the longest first, until the rest takes little."""
    others = sorted((key for key in entry if key not in _OWN), key=lambda key: len(str(entry[key])))
    room, kept = LINE_BYTES // 10, set(_OWN)
    for key in others:
        room -= 6 * (len(key) + len(str(entry[key])))
        if room < 0:
            break
        kept.add(key)
    found = {key: value for key, value in entry.items() if key in kept}
    found["left_out"] = (found.get("left_out") or 0) + len(entry) - len(found)
    return found
