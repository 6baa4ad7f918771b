"""Where the output of a unit goes: the options that its log stream comes with."""
from __future__ import annotations

from supervisor.model.unit import Logs


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
