"""Times as people and as programs read them."""
from __future__ import annotations

import time

_SECOND_NS = 1_000_000_000
_last = [-1, ""]  # the second that was put into words last: neighbouring log lines mostly share it


def clock(time_ns: int) -> str:
    """Local time of day, "03:56:20.123"."""
    seconds, rest = divmod(time_ns, _SECOND_NS)
    return time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{rest // 1_000_000:03d}"


def moment(time_ns: int) -> str:
    """The same, with the date before it unless that is today's."""
    at = time.localtime(time_ns // _SECOND_NS)
    date = "" if at[:3] == time.localtime()[:3] else time.strftime("%Y-%m-%d ", at)
    return date + clock(time_ns)


def stamp(time_ns: int) -> str:
    """ISO 8601 in UTC to the second, "2026-11-21T03:56:20Z"."""
    return _seconds(time_ns // _SECOND_NS) + "Z"


def exact_stamp(time_ns: int) -> str:
    """The same to the nanosecond, "2026-11-21T03:56:20.123456789Z"."""
    seconds, rest = divmod(time_ns, _SECOND_NS)
    return f"{_seconds(seconds)}.{rest:09d}Z"


def _seconds(seconds: int) -> str:
    if seconds != _last[0]:
        _last[:] = seconds, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return str(_last[1])
