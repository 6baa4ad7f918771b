"""Where a start goes: system calls a service (strace -f -c) and the CPU's user and system part.

strace multiplies every cost, so only its counts are kept; the CPU split is of an untraced run.
"""
from __future__ import annotations

import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.bench.harness import Bench
from tests.bench.peers import Command, Peer
from tests.bench.session import Session

_MOST_FREQUENT = 10


def measure(bench: Bench, peer: Peer, n: int) -> dict[str, Any]:
    session = Session(bench, peer, n)
    split = session.tree.cpu_split_ms()
    session.close()
    counts = _counts(bench, peer, n)
    return {
        "user_ms": split["user"], "system_ms": split["system"],
        "calls_per_service": round(sum(counts.values()) / n, 1),
        "most": {name: round(counts[name] / n, 1) for name in list(counts)[:_MOST_FREQUENT]},
    }  # fmt: skip


def _counts(bench: Bench, peer: Peer, n: int) -> dict[str, int]:
    """Calls of the whole tree by name, the most frequent first."""
    out = bench.bindir / "strace.out"
    plain = peer.argv

    def traced(root: Path) -> Command:
        return ["strace", "-f", "-c", "-U", "name,calls", "-o", out, *plain(root)]

    peer.argv = traced  # type: ignore[method-assign]
    try:
        session = Session(bench, peer, n)
    finally:
        peer.argv = plain  # type: ignore[method-assign]
    for pid in session.tree.pids():
        with suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() not in {"strace", "enter"}:
                os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while time.monotonic() < end and session.tree.proc.poll() is None:
        time.sleep(0.05)
    text = out.read_text() if out.exists() else ""
    session.close()
    found = re.findall(r"^(\w+)\s+(\d+)$", text, re.MULTILINE)
    rows = [(name, int(calls)) for name, calls in found if name != "total"]
    return dict(sorted(rows, key=lambda row: -row[1]))
