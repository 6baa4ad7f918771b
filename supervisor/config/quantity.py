"""The value types that are quantities: durations, sizes, signals, modes.

Law: text with a unit is read here and nowhere else, exactly or not at all, and becomes the integer
that `model.unit` holds: nanoseconds, bytes, Linux's signal numbers. What could mean two things is
refused: a size as "512M", a mode as a decimal number, units out of order.
"""
from __future__ import annotations

from supervisor.config.table import Refused, Type, show
from supervisor.config.values import DIGITS, LOWER
from supervisor.model.values import DURATION_UNITS, LAST_SIGNAL, signal_number

MAX_DURATION_NS = 3650 * 86_400_000_000_000
MAX_SIZE_BYTES = 1 << 60

_DURATION = dict(DURATION_UNITS)
SIZE_UNITS = (
    ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10),
    ("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3), ("KB", 10**3), ("B", 1),
)  # fmt: skip
_SIZE = dict(SIZE_UNITS)


def _split_number(word: str, start: int) -> tuple[int, int, int]:
    """Digits at `start`: (value without the point, digits after the point, position behind).

    The position is `start` if there is no number; of twenty digits it is not one.
    """
    at = start
    length = len(word)
    while at < length and word[at] in DIGITS:
        at += 1
    if at == start or at - start > 19:
        return 0, 0, start
    whole = word[start:at]
    if at >= length or word[at] != ".":
        return int(whole), 0, at
    point = at + 1
    at = point
    while at < length and word[at] in DIGITS:
        at += 1
    if at == point or at - point > 19:
        return 0, 0, start
    return int(whole + word[point:at]), at - point, at


def duration_text(word: str) -> int | None:
    """Nanoseconds of "1.5s", "100ms" or "1h30m"; None if it is none."""
    total = at = 0
    last = MAX_DURATION_NS
    while at < len(word):
        number, places, behind = _split_number(word, at)
        end = behind
        while end < len(word) and word[end] in LOWER:
            end += 1
        scale = _DURATION.get(word[behind:end])
        if behind == at or scale is None or scale >= last:
            return None  # no number, no unit, or a unit out of order: "1m30m" is a slip
        exact, rest = divmod(number * scale, 10**places)
        if rest:
            return None  # finer than a nanosecond
        total += exact
        last, at = scale, end
    return total if word else None


_A_DURATION = 'write seconds, or text such as "1.5s", "100ms" or "1h30m"'


def _duration_ns(value: object) -> int:
    if type(value) is str:
        found = duration_text(value) if len(value) <= 64 else None
        if found is None:
            raise Refused(f"cannot use {show(value)}: it is no duration; {_A_DURATION}")
    elif type(value) is int:
        found = value * 1_000_000_000
    elif type(value) is float and 0 <= value <= 1e12:
        found = round(value * 1e9)
        if value and not found:
            raise Refused(f"cannot use {show(value)}: it is less than a nanosecond")
    else:
        raise Refused(f"cannot use {show(value)}: it is no duration; {_A_DURATION}")
    if not 0 <= found <= MAX_DURATION_NS:
        raise Refused(f"cannot use {show(value)}: it must be from 0 to 3650 days")
    return found


def _positive_ns(value: object) -> int:
    found = _duration_ns(value)
    if not found:
        raise Refused(f"cannot use {show(value)}: it must be more than 0")
    return found


_A_SIZE = 'write a number of bytes, or text such as "512MiB" or "50MB"'


def _bytes(count: int) -> str:
    """"256 KiB": in the largest unit of which it is a whole number."""
    return next((f"{count // s} {unit}" for unit, s in SIZE_UNITS if count and not count % s), "0")


def size(low: int) -> Type:
    """Bytes, at least `low`."""
    words = f"size from {_bytes(low)}" if low > 1 else "size"

    def parse(value: object) -> int:
        found: int | None = None
        if type(value) is int:
            found = value
        elif type(value) is str and len(value) <= 64:
            number, places, behind = _split_number(value, 0)
            scale = _SIZE.get(value[behind:])
            if behind and scale:
                found, rest = divmod(number * scale, 10**places)
                if rest:
                    raise Refused(f"cannot use {show(value)}: it is no whole number of bytes")
        if found is None:
            raise Refused(f"cannot use {show(value)}: it is no size; {_A_SIZE}")
        if not low <= found <= MAX_SIZE_BYTES:
            raise Refused(f"cannot use {show(value)}: it must be from {_bytes(low)} to 1024 PiB")
        return found

    return Type(parse, "size", words, low)


_BYTES = size(1).parse


def _rate(value: object) -> int:
    text = value[:-2] if type(value) is str and value[-2:] == "/s" else value
    try:
        if type(value) is str and text is value:
            raise Refused("")
        found: int = _BYTES(text)
    except Refused:
        raise Refused(
            f"cannot use {show(value)}: it is no rate; write bytes a second, at least 1, or text"
            ' such as "50MB/s"'
        ) from None
    return found


def signal(value: object) -> int:
    found: int | None = None
    if type(value) is int:
        found = value
    elif type(value) is str and value.isascii() and len(value) <= 12:
        found = signal_number(value)
    if found is None or not 1 <= found <= LAST_SIGNAL:
        raise Refused(
            f'cannot use {show(value)}: it is no signal; write a name such as "TERM", or 1 to 64'
        )
    if found in {32, 33}:  # signal(7): kept by the C library for its threads
        raise Refused(f"cannot use {show(value)}: the C library keeps signals 32 and 33 for itself")
    return found


def _reload_signal(value: object) -> int:
    found = signal(value)
    if found in {9, 19}:
        raise Refused(f"cannot use {show(value)}: no process can handle it, so none can reload")
    return found


def _mode(value: object) -> int:
    if type(value) is not str or not 1 <= len(value) <= 4 or value.strip("01234567"):
        raise Refused(f'cannot use {show(value)}: write octal digits in quotes, as in "022"')
    found = int(value, 8)
    if found > 0o777:
        raise Refused(f'cannot use {show(value)}: it must be from "000" to "777"')
    return found


DURATION = Type(_duration_ns, "duration", "duration", 0)
POSITIVE_DURATION = Type(_positive_ns, "duration", "duration above 0", 1)
SIGNAL = Type(signal, "signal", "signal")
RELOAD_SIGNAL = Type(_reload_signal, "signal", "signal")
RATE = Type(_rate, "rate", "bytes a second")
MODE = Type(_mode, "mode", "octal text")
