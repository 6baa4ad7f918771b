"""A message of syslog(3): RFC 3164 as C libraries write it, and RFC 5424.

    <30>Nov 21 13:00:00 sshd[123]: Accepted publickey for ann
    <30>1 2026-11-21T13:00:00.000Z host sshd 123 ID47 [origin ip="::1"] Accepted publickey

Law: pure, and whatever comes is a message: what does not look like a header belongs to the text.
The time of day in RFC 3164 has neither a year nor a zone and is left out; when it came is known.
"""
from __future__ import annotations

import re

from supervisor.agents.receive.entry import Entry, facility, text

DEFAULT = 13  # user.notice: RFC 3164, 4.3.3
_PRIORITY = re.compile(rb"<(\d{1,3})>")
_DAY = re.compile(
    rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d \d\d:\d\d:\d\d ")
_TAG = re.compile(rb"([^\s:\[\]]{1,64})(?:\[(\d{1,10})\])?:(?: |$)")
_NEW = re.compile(
    rb"1 (-|\S{1,64}) (-|\S{1,255}) (-|\S{1,48}) (-|\S{1,128}) (-|\S{1,32}) ")
_STRUCTURED = re.compile(
    rb'(?:-|(?:\[[^ =\]"]{1,32}(?: [^ =\]"]{1,32}="(?:[^"\\]|\\.){0,8192}")*\])+)(?: |$)',
    re.DOTALL)
_PAIR = re.compile(rb'\[([^ =\]"]{1,32})|([^ =\]"]{1,32})="((?:[^"\\]|\\.)*)"', re.DOTALL)
_BOM = b"\xef\xbb\xbf"
_MOST_PAIRS = 64


def parse(data: bytes) -> Entry:
    """`ident`, `said_pid`, `time`, and names of structured data if the message has them."""
    data = data.rstrip(b"\0\n")
    number = DEFAULT
    if (found := _PRIORITY.match(data)) and int(found[1]) >> 3 < 24:
        number, data = int(found[1]), data[found.end() :]
    entry: Entry = {"priority": number & 7, "facility": facility(number >> 3)}
    if not _rfc5424(entry, data):
        _rfc3164(entry, data)
    return entry


def _rfc3164(entry: Entry, data: bytes) -> None:
    if day := _DAY.match(data):
        data = data[day.end() :]
    if tag := _TAG.match(data):
        entry["ident"] = text(tag[1])
        if tag[2]:
            entry["said_pid"] = int(tag[2])
        data = data[tag.end() :]
    entry["message"] = text(data)


def _rfc5424(entry: Entry, data: bytes) -> bool:
    head = _NEW.match(data)
    rest = _STRUCTURED.match(data, head.end()) if head else None
    if head is None or rest is None:
        return False
    when, _, name, process, identity = (None if one == b"-" else text(one) for one in head.groups())
    entry |= {"time": when, "ident": name, "msgid": identity}
    if process and process.isascii() and process.isdigit() and len(process) <= 10:
        entry["said_pid"] = int(process)
    section = ""
    for number, pair in enumerate(_PAIR.finditer(rest[0])):
        if number >= _MOST_PAIRS:
            break
        if pair[1] is not None:
            section = text(pair[1])
        else:
            value = re.sub(rb'\\(["\\\]])', rb"\1", pair[3])
            entry[f"{section}.{text(pair[2])}"] = text(value)
    entry["message"] = text(data[rest.end() :].removeprefix(_BOM))
    return True
