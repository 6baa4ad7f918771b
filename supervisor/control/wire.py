"""Varlink on the wire: bytes in, calls out; replies in, bytes out. No socket, no clock.

Law: a message is JSON and a NUL. Of a call, only the envelope is read here; its parameters stay raw
bytes, so that whoever may not call a method cannot make us parse a body for it. Nothing that a
peer sends raises anything but Malformed.
"""
from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

MAX_MESSAGE = 64 * 1024  # bytes of one call, without its NUL

_EMPTY = Raw(b"{}")
# What msgspec raises for hostile input: bad JSON or types; bad UTF-8; nesting without end.
_BAD = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

T = TypeVar("T")


class Malformed(Exception):
    """What came is not what was expected. `where`: the parameter, as far as it is known."""

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.where = where


class Envelope(Struct, frozen=True, forbid_unknown_fields=True):
    method: str
    parameters: Raw = _EMPTY
    oneway: bool = False
    more: bool = False
    upgrade: bool = False


class _Reply(Struct, frozen=True, omit_defaults=True):
    parameters: Any
    continues: bool = False
    error: str | None = None


_decode_envelope = msgspec.json.Decoder(Envelope).decode
_encode = msgspec.json.Encoder().encode


class Inbox:
    """What one peer sent and nobody took yet: never more than one message and one read."""

    __slots__ = ("_data", "_searched")

    def __init__(self) -> None:
        self._data = bytearray()
        self._searched = 0  # bytes from the front known to hold no NUL

    def __len__(self) -> int:
        return len(self._data)

    def feed(self, data: bytes) -> None:
        self._data += data

    def has_message(self) -> bool:
        """Whether `take` would return one, or raise."""
        return self._end() >= 0 or len(self._data) > MAX_MESSAGE

    def take(self) -> bytes | None:
        """The next whole message, without its NUL; None if there is none yet. Raises Malformed as
        soon as one is too long, whether or not it ends."""
        end = self._end()
        if end > MAX_MESSAGE or (end < 0 and len(self._data) > MAX_MESSAGE):
            raise Malformed(f"the message has more than {MAX_MESSAGE} bytes")
        if end < 0:
            return None
        message = bytes(self._data[:end])
        del self._data[: end + 1]
        self._searched = 0
        return message

    def _end(self) -> int:
        end = self._data.find(0, self._searched)
        self._searched = end if end >= 0 else len(self._data)
        return end


def read_call(message: bytes) -> Envelope:
    """The envelope of a call. Raises Malformed."""
    try:
        return _decode_envelope(message)
    except _BAD as exc:
        raise Malformed(_words(exc)) from exc


def read_parameters(raw: Raw, decoder: msgspec.json.Decoder[T]) -> T:
    """The parameters of a call, typed. A null, of all or of one, counts as not given, as Varlink's
    nullable types have it. Raises Malformed."""
    body: bytes | Raw = _EMPTY if bytes(raw) == b"null" else raw
    try:
        try:
            return decoder.decode(body)
        except msgspec.ValidationError:
            given = msgspec.json.decode(body)
            if not isinstance(given, dict) or None not in given.values():
                raise
            return decoder.decode(_encode({k: v for k, v in given.items() if v is not None}))
    except _BAD as exc:
        reason, _, path = _words(exc).partition(" - at `")
        where = path.rstrip("`").removeprefix("$").removeprefix(".")
        if not where and reason.count("`") == 2:  # unknown or missing field `x`
            where = reason.split("`")[1]
        raise Malformed(reason, where) from exc


def write_reply(parameters: Any, *, continues: bool = False) -> bytes:
    """A reply and its NUL. `continues`: others follow it."""
    return _write(_Reply(parameters, continues=continues))


def write_error(name: str, parameters: Any) -> bytes:
    """An error and its NUL; `name` with its interface."""
    return _write(_Reply(parameters, error=name))


def _write(reply: _Reply) -> bytes:
    try:
        return _encode(reply) + b"\0"
    except UnicodeEncodeError:  # bytes of a file name or a command line that are no UTF-8
        return _encode(_printable(msgspec.to_builtins(reply))) + b"\0"


def _printable(value: Any) -> Any:
    """The same document, with "?" for each character that UTF-8 cannot say."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printable(item) for item in value]
    return value


def _words(exc: BaseException) -> str:
    if isinstance(exc, RecursionError):
        return "it is nested too deeply"
    return "it is not UTF-8" if isinstance(exc, UnicodeDecodeError) else str(exc)
