"""How urgent a line says it is, in syslog's numbers: 0 (emergency) to 7 (debug). Pure."""
from __future__ import annotations

import json
import re

INFO = 6
WARNING = 4
NAMES = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")
_WORDS = {
    **{name: number for number, name in enumerate(NAMES)},
    "emerg": 0, "panic": 0, "fatal": 2, "crit": 2, "err": 3, "warn": 4, "information": 6,
    "informational": 6, "trace": 7, "verbose": 7,
}
_KEYS = ("level", "severity", "lvl", "priority", "PRIORITY")
_LOGFMT = re.compile(r'(?:^|\s)(?:level|lvl|severity)="?([A-Za-z]+)')
_LOOK = 4096  # characters of a line that are looked at


def split(message: str) -> tuple[int | None, str]:
    """(what a line says of itself; None: nothing, the message without a `<N>` before it)."""
    if message[:1] == "<" and message[2:3] == ">" and "0" <= message[1] <= "7":
        return int(message[1]), message[3:]
    if message[:1] == "{":
        return _of_object(message), message
    if found := _LOGFMT.search(message, 0, _LOOK):
        return _WORDS.get(found[1].lower()), message
    return None, message


def _of_object(message: str) -> int | None:
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError):
        return None
    for key in _KEYS:
        value = fields.get(key)
        if isinstance(value, str):
            if value.isdecimal():
                value = int(value)
            else:
                return _WORDS.get(value.lower())
        if type(value) is int:
            # Words of syslog are 0 to 7; Python's and bunyan's numbers of ten steps are not.
            return value if 0 <= value <= 7 else None
    return None
