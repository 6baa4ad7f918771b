"""Where the output of a unit goes: its log streams, and the options that they come with."""
from __future__ import annotations

from typing import NamedTuple

from supervisor.kernel.plan import ERRORS
from supervisor.model.unit import Logs

_OPENED = {"console": "/dev/console", "null": "/dev/null"}


class Outlet(NamedTuple):
    """As in `kernel.plan.Launch`. All empty: the supervisor's own output."""

    stream: str = ""
    errors: str = ""
    options: str = ""
    path: str = ""


def outlet(logs: Logs, key: str) -> Outlet:
    if logs.to == "files":
        return Outlet(key, key + ERRORS if logs.stderr == "separate" else "", options(logs))
    return Outlet(path=_OPENED.get(logs.to, ""))


def names(key: str) -> tuple[str, str]:
    """What the streams of an instance may be called in the keeper's store."""
    return f"log:{key}", f"log:{key}{ERRORS}"


def options(logs: Logs) -> str:
    """Words for the logger, at most 119 bytes (logger/options.py): what is a default there is left
    out, so that a thousand streams do not repeat it."""
    words = [f"keep={logs.keep_bytes}", f"segment={logs.segment_bytes}"]
    if logs.max_age_ns:
        words.append(f"max_age={-(-logs.max_age_ns // 10**9)}")
    if not logs.compress:
        words.append("compress=0")
    if logs.on_full == "drop":
        words.append("full=drop")
    if logs.rate_bytes:
        words.append(f"rate={logs.rate_bytes}")
    return " ".join(words)
