"""Loki's push API: one stream for each instance and each of its outputs.

Loki takes lines of one time and text for one. Lines that arrived together have one time, so each is
given the next nanosecond; `seq` beside it, as structured metadata, tells lines apart for good.
"""
from __future__ import annotations

import json
from typing import Any

from supervisor.agents.shipper.intake import Line
from supervisor.agents.shipper.post import Post
from supervisor.agents.shipper.settings import Settings
from supervisor.agents.shipper.severity import NAMES, split

CLOCK_STEP_NS = 1_000_000_000  # a clock that is set back by more is believed


class Loki:
    """Raises OSError if the TLS files cannot be used."""

    def __init__(self, settings: Settings) -> None:
        self._post = Post(settings)
        self._labels = {**settings.labels, "host": settings.host_name}
        self._metadata = settings.metadata
        self._given: dict[tuple[str, int, str], int] = {}  # the last time that each source had

    def close(self) -> None:
        self._post.close()

    def send(self, lines: list[Line], timeout_seconds: float) -> int:
        given = dict(self._given)  # what is tried again has the same times again
        self._post.send(self._body(lines, given), timeout_seconds)
        self._given = given
        return 0

    def _body(self, lines: list[Line], given: dict[tuple[str, int, str], int]) -> bytes:
        streams: dict[tuple[str, int, str], list[list[Any]]] = {}
        for line in lines:
            source = line.unit, line.instance, line.stream
            before_ns = given.get(source, 0)
            same = before_ns - CLOCK_STEP_NS < line.time_ns <= before_ns
            given[source] = time_ns = before_ns + 1 if same else line.time_ns
            severity, message = split(line.message)
            value: list[Any] = [str(time_ns), message]
            if self._metadata:
                value.append({
                    "seq": str(line.seq),
                    **({} if severity is None else {"level": NAMES[severity]}),
                    **({"partial": "true"} if line.partial else {}),
                })
            streams.setdefault(source, []).append(value)
        found = [
            {"stream": self._labels | {"unit": unit, "instance": str(number), "stream": stream},
             "values": values}
            for (unit, number, stream), values in streams.items()
        ]
        text = json.dumps({"streams": found}, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")
