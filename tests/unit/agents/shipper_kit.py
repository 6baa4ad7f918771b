"""Settings and lines for tests of the shipper."""
from __future__ import annotations

from typing import Any

from supervisor.agents.shipper.intake import Line
from supervisor.agents.shipper.settings import Settings, Tls

TIME_NS = 1_795_266_000_123_456_789


def settings(to: str, **more: Any) -> Settings:
    known: dict[str, Any] = {
        "to": to, "scheme": "http", "host": "localhost", "port": 1, "path": "/", "tls": Tls(),
        "headers": {}, "labels": {}, "host_name": "here", "facility": 3, "metadata": True,
        "gzip": True, "batch_bytes": 1 << 20, "batch_lines": 5000, "batch_seconds": 1,
        "timeout_seconds": 1, "end_seconds": 1}
    return Settings(**{**known, **more})


def line(message: str = "hello", **more: Any) -> Line:
    known: dict[str, Any] = {
        "time_ns": TIME_NS, "unit": "web", "instance": 0, "stream": "output", "message": message,
        "seq": 7, "partial": False, "loss": {}}
    return Line(**{**known, **more})
