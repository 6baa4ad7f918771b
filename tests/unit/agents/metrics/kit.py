"""Answers of a supervisor, as the control interface gives them."""
from __future__ import annotations

from typing import Any

import msgspec

from supervisor.agents.metrics.ask import Pair
from supervisor.agents.metrics.families import families
from supervisor.agents.metrics.text import Family
from supervisor.model import report

BOUNDS_NS = [1_000_000, 2_500_000_000, 60_000_000_000]
PRESSURE = report.Pressure(1.25, 3_000_000_001, 0.0, 7)
USAGE = report.Usage(
    4096, 8192, None, 1_500_000_000, 0, 3, 10**12, 12_345_678, 0, 1, 2, 0, PRESSURE, PRESSURE, None,
)  # fmt: skip


def plain(value: object) -> Any:
    """As it comes out of JSON."""
    return msgspec.json.decode(msgspec.json.encode(value))


def figures(key: str, **fields: Any) -> dict[str, Any]:
    row: dict[str, Any] = plain(report.InstanceFigures(key, key.partition("/")[0], **fields))
    return row


def status(key: str, **fields: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "unit": key.partition("/")[0], "state": "running", "goal": "up", "phase": "up",
        "since_ns": 1_700_000_000_123_456_789,
    }
    row: dict[str, Any] = plain(report.InstanceStatus(key, **{**known, **fields}))
    return row


SUPERVISOR: dict[str, Any] = plain(report.SupervisorFigures(
    '0.1"\\\n', 1_700_000_000_000_000_000, 2, 12_345_678, 2, 3, 1, 4096, 5,
    report.ProcessFigures(11, 2_000_000_000, 20 << 20, 7, None),
    report.ProcessFigures(10, 1, 1 << 20, 8, 9), None,
))  # fmt: skip


def told() -> list[Family]:
    """Of a unit with all figures, one of two instances with few, and one that never ran; they come
    in two chunks."""
    rows = [
        figures(
            "web", starts=3, restarts=2, exits=report.Exits(failure=1, oom=1),
            start_latency=report.StartLatency(3, 1_234_567_891, (1, 0, 1, 1)),
            log=report.LogFigures(10**9, 20, 1, 5),
        ),
        figures("pool/1", starts=1),
        figures("never"),
    ]  # fmt: skip
    pairs: list[Pair] = list(zip(rows, [
        status("web", usage=USAGE), status("pool/1", usage=report.Usage(), state="starting"),
        status("never", state="stopped"),
    ], strict=True))  # fmt: skip
    answer = {"instances": rows, "supervisor": SUPERVISOR, "start_bounds_ns": BOUNDS_NS}
    return families(answer, iter([pairs[:1], pairs[1:]]))
