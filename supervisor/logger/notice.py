"""What the logger has to say for itself goes to standard error, which it shares with the keeper.

Law: saying something never waits. Whoever reads that standard error may be stopped, and a logger
that waits for it stops every unit that writes a line.
"""
from __future__ import annotations

import posix
import select

STDERR = 2


def say(text: str, who: str = "logger") -> None:
    """One line; dropped if nobody has room for it now."""
    try:
        if select.select((), (STDERR,), (), 0)[1]:
            posix.write(STDERR, f"unboxed {who}: {text}\n".encode("utf-8", "backslashreplace"))
    except (OSError, ValueError):  # no standard error at all: there is nobody to tell
        return


def reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
