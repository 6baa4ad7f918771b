"""Times as people write them, for --since and --until."""
from __future__ import annotations

import time

SECOND_NS = 1_000_000_000
DAY_S = 86_400
_SECONDS = {
    "s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600,
    "d": DAY_S, "day": DAY_S, "w": 7 * DAY_S, "week": 7 * DAY_S,
}
_PART = r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)"
_CLOCK = r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d|60))?"
_EXAMPLES = '"5m", "1h30m ago", "10:30", "yesterday 10:30", "2026-11-21 10:30", "@1795256000"'


def parse_time(text: str, now_ns: int) -> int:
    """Realtime ns of a time in words, seen from `now_ns`. Raises ValueError with a whole sentence.

    Durations ("5m", "1h 30m ago") lie before now. A clock time is the last one before now. Days
    begin at local midnight. Dates are ISO 8601, local unless they name a zone ("Z", "+02:00"). "@"
    is for Unix seconds.
    """
    words = text.strip().lower()
    for read in (_short, _unix, _duration, _day, _iso):
        found = read(words, now_ns)
        if found is not None:
            return found
    raise ValueError(f"cannot read the time {text!r}: write it like {_EXAMPLES}")


def _short(words: str, now_ns: int) -> int | None:
    """"5m": what is asked most. `re`, which the others need, takes milliseconds to import."""
    digits, seconds = words[:-1], _SECONDS.get(words[-1:])
    if seconds is None or not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        return None
    return max(0, now_ns - int(digits) * seconds * SECOND_NS)


def _unix(words: str, _: int) -> int | None:
    import re

    match = re.fullmatch(r"@(\d{1,11})(?:\.(\d{1,9}))?", words)
    if not match:
        return None
    return int(match[1]) * SECOND_NS + int((match[2] or "").ljust(9, "0"))


def _duration(words: str, now_ns: int) -> int | None:
    import re

    part = re.compile(_PART)
    rest = words.removesuffix("ago").rstrip()
    total_ns = at = 0
    while at < len(rest):
        match = part.match(rest, at)
        if not match:
            return None
        unit = match[2]
        seconds = _SECONDS.get(unit) or _SECONDS.get(unit.removesuffix("s"))
        if seconds is None:
            return None
        total_ns += int(float(match[1]) * seconds * SECOND_NS)
        at = match.end()
    return max(0, now_ns - total_ns) if at else None


def _day(words: str, now_ns: int) -> int | None:
    """now, today, yesterday, a clock time, or a day and a clock time."""
    if words == "now":
        return now_ns
    name, _, clock = words.partition(" ")
    back = {"today": 0, "yesterday": 1}.get(name)
    if back is None:
        clock, back = words, 0
        guess = True
    else:
        guess = False
    hour = minute = second = 0
    if clock or guess:
        import re

        match = re.fullmatch(_CLOCK, clock.strip())
        if not match:
            return None
        hour, minute, second = int(match[1]), int(match[2]), int(match[3] or 0)
    found_ns = _local(now_ns, back, hour, minute, second)
    if guess and found_ns > now_ns:
        return _local(now_ns, 1, hour, minute, second)
    return found_ns


def _local(now_ns: int, days_back: int, hour: int, minute: int, second: int) -> int:
    today = time.localtime(now_ns // SECOND_NS)
    # mktime(3) puts day 0 of a month right, and finds out about summer time (-1).
    day = today.tm_mday - days_back
    fields = (today.tm_year, today.tm_mon, day, hour, minute, second, 0, 0, -1)
    return int(time.mktime(fields)) * SECOND_NS


def _iso(words: str, _: int) -> int | None:
    from datetime import UTC, datetime, timedelta

    try:
        found = datetime.fromisoformat(words.upper()).astimezone()
    except (ValueError, OverflowError, OSError):
        return None
    since_epoch = found - datetime(1970, 1, 1, tzinfo=UTC)
    return max(0, since_epoch // timedelta(microseconds=1) * 1000)
