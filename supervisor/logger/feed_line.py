r"""A record as the JSON line that an agent reads (docs/agents.md). Pure.

Law: one line each, ASCII controls escaped; the message is the line's text, with bytes that are not
UTF-8 as \xff, and then the bytes themselves are beside it in base64.
"""
from __future__ import annotations

import time
from _json import encode_basestring as quote  # json costs 5 ms
from binascii import b2a_base64

from supervisor.logger.form import ERROR, LOSS
from supervisor.logger.lines import PIECE_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervisor.logger.lines import Record

PARTIAL = 1 << 8  # in a record's stream: its line goes on in the next one
SECOND_NS = 1_000_000_000


class Encoder:
    """Remembers the begin of the last line: lines that arrived together share it."""

    def __init__(self) -> None:
        self._time_ns = -1
        self._key = ""
        self._kind = -1
        self._head = ""
        self._tail = ""

    def line(self, record: Record) -> str:
        """With its newline."""
        time_ns, key, kind, data, begin, resume = record
        if time_ns != self._time_ns or kind != self._kind or key != self._key:
            self._begin(time_ns, key, kind)
        if kind == LOSS:
            return f'{self._head}{_loss(data)},"seq":{begin}{self._tail}{resume:x}"}}\n'
        more = ""
        if kind & PARTIAL or (len(data) == PIECE_BYTES and resume <= begin + PIECE_BYTES):
            more = ',"partial":true'
        try:
            message = quote(data.decode())
        except UnicodeDecodeError:
            raw = b2a_base64(data, newline=False).decode()
            message = f'{quote(data.decode("utf-8", "backslashreplace"))},"raw":"{raw}"'
        return f'{self._head}{message}{more},"seq":{begin}{self._tail}{resume:x}"}}\n'

    def _begin(self, time_ns: int, key: str, kind: int) -> None:
        self._time_ns, self._key, self._kind = time_ns, key, kind
        name, _, number = key.partition("/")
        instance = int(number) if number.isdecimal() else 0
        kind &= ~PARTIAL
        stream = "lost" if kind == LOSS else "error" if kind == ERROR else "output"
        self._head = (
            f'{{"time":"{timestamp(time_ns)}","time_ns":{time_ns},"unit":{quote(name)},'
            f'"instance":{instance},"stream":"{stream}","message":'
        )
        self._tail = f',"cursor":{quote(key + "@")[:-1]}'


def timestamp(time_ns: int) -> str:
    """RFC 3339, UTC, with nine digits of the second."""
    seconds, rest = divmod(time_ns, SECOND_NS)
    year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{rest:09}Z"


def loss(from_ns: int | None, to_ns: int | None, lost_bytes: int, reason: str) -> bytes:
    """The line of a loss record. None: nobody knows."""
    first, last = ("null" if at is None else at for at in (from_ns, to_ns))
    return f'{{"from":{first},"to":{last},"bytes":{lost_bytes},"reason":"{reason}"}}'.encode()


def _loss(line: bytes) -> str:
    import json  # losses are rare

    try:
        found = json.loads(line)
        lost, why = int(found["bytes"]), str(found["reason"])
        first, last = found.get("from"), found.get("to")
    except (ValueError, TypeError, KeyError, AttributeError):
        return f'{quote("a loss that cannot be read: " + repr(line))},"reason":"unknown"'
    words = f"{lost} bytes were lost: {why}"
    return (
        f'{quote(words)},"from":{json.dumps(first)},"to":{json.dumps(last)},'
        f'"bytes":{lost},"reason":{quote(why)}'
    )
