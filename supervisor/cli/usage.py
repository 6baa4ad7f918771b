"""Figures of a unit's groups as people read them."""
from __future__ import annotations

from supervisor.cli.words import cpu, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_RESOURCES = ("cpu", "memory", "io")


def memory(status: dict[str, Any], usage: dict[str, Any]) -> str:
    """"12.3M, peak 40.0M, swap 1.0M, 2 killed for want of it"."""
    now = usage.get("memory_bytes")
    words = [size(status.get("memory_bytes") if now is None else now)]
    if usage.get("memory_peak_bytes") is not None:
        words.append(f"peak {size(usage['memory_peak_bytes'])}")
    if usage.get("swap_bytes"):
        words.append(f"swap {size(usage['swap_bytes'])}")
    if usage.get("oom_kills"):
        words.append(f"{usage['oom_kills']} killed for want of it")
    return ", ".join(filter(None, words))


def cpu_time(status: dict[str, Any], usage: dict[str, Any]) -> str:
    """"4m10s, held back 12 times for 0.50s"."""
    words = cpu(status.get("cpu_ns"))
    if usage.get("throttled"):
        held = f"held back {usage['throttled']} times for {cpu(usage['throttled_ns'])}"
        words = ", ".join(filter(None, (words, held)))
    return words


def disks(usage: dict[str, Any]) -> str:
    """"read 1.0M, written 20K"; "" if it did neither."""
    read, written = usage.get("read_bytes"), usage.get("written_bytes")
    return f"read {size(read or 0)}, written {size(written or 0)}" if read or written else ""


def pressure(usage: dict[str, Any]) -> str:
    """What it waits for, in percent of the last 10 s: "cpu 12%, io 3%"; "" if for nothing."""
    parts = []
    for name in _RESOURCES:
        stalls = usage.get(f"{name}_pressure") or {}
        if stalls.get("some_percent", 0) >= 1:
            parts.append(f"{name} {stalls['some_percent']:.0f}%")
    return f"waits for {', '.join(parts)} (of the last 10 s)" if parts else ""
