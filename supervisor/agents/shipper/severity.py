"""How urgent a line says it is, in syslog's numbers: 0 (emergency) to 7 (debug). Pure.

What counts as saying so is what `unboxed logs --priority` reads (model.structured).
"""
from __future__ import annotations

import re

from supervisor.model.structured import facts

INFO = 6
WARNING = 4
NAMES = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")
_PREFIX = re.compile(r"<(\d{1,3})>")
_MOST_PREFIX = 191  # facility 23, severity 7


def split(message: str) -> tuple[int | None, str]:
    """(what a line says of itself; None: nothing, the message without a `<N>` before it)."""
    if message[:1] == "<":
        found = _PREFIX.match(message)
        if found and int(found[1]) <= _MOST_PREFIX:
            return int(found[1]) & 7, message[found.end() :]
    if message[:1] == "{" or "=" in message[:64]:
        return facts(message.encode("utf-8", "replace"))[0], message
    return None, message
