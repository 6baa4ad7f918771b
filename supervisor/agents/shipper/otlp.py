"""OpenTelemetry's protocol over HTTP in its JSON encoding: one resource for each instance."""
from __future__ import annotations

import json
from typing import Any

from supervisor.agents.shipper.intake import Line
from supervisor.agents.shipper.post import REASON_CHARACTERS, Post
from supervisor.agents.shipper.settings import Settings
from supervisor.agents.shipper.severity import NAMES, WARNING, split

# By syslog's severity: the OpenTelemetry log data model, appendix B.
_NUMBERS = (21, 19, 18, 17, 13, 10, 9, 5)
_STREAMS = {"output": "stdout", "error": "stderr"}  # values of log.iostream


class Otlp:
    """Raises OSError if the TLS files cannot be used. `refused_why`: of the last lines that were
    refused, as the collector told it."""

    def __init__(self, settings: Settings) -> None:
        self._post = Post(settings)
        self._attributes = {**settings.labels, "host.name": settings.host_name}
        self.refused_why = ""

    def close(self) -> None:
        self._post.close()

    def send(self, lines: list[Line], timeout_seconds: float) -> int:
        return self._refused(self._post.send(self._body(lines), timeout_seconds))

    def _body(self, lines: list[Line]) -> bytes:
        resources: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for line in lines:
            resources.setdefault((line.unit, line.instance), []).append(_record(line))
        found = [
            {
                "resource": {"attributes": _attributes({
                    **self._attributes, "service.name": unit,
                    "service.instance.id": f"{unit}/{instance}",
                })},
                "scopeLogs": [{"scope": {"name": "unboxed"}, "logRecords": records}],
            }
            for (unit, instance), records in resources.items()
        ]
        text = json.dumps({"resourceLogs": found}, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")

    def _refused(self, answer: bytes) -> int:
        """How many lines a partial success leaves out."""
        try:
            partial = json.loads(answer or b"{}").get("partialSuccess") or {}
            count = int(partial.get("rejectedLogRecords") or 0)
            self.refused_why = str(partial.get("errorMessage") or "")[:REASON_CHARACTERS]
        except (ValueError, TypeError, AttributeError):
            return 0  # a proxy's page, or protobuf: the status said that they were taken
        return max(0, count)


def _record(line: Line) -> dict[str, Any]:
    severity, message = split(line.message)
    if severity is None and line.stream == "lost":
        severity = WARNING
    attributes: dict[str, str | int | bool] = {"unboxed.seq": line.seq}
    if line.stream in _STREAMS:
        attributes["log.iostream"] = _STREAMS[line.stream]
    else:
        attributes["unboxed.lost_bytes"] = int(line.loss["bytes"])
    if line.partial:
        attributes["unboxed.partial"] = True
    record: dict[str, Any] = {
        "timeUnixNano": str(line.time_ns), "observedTimeUnixNano": str(line.time_ns),
        "body": {"stringValue": message}, "attributes": _attributes(attributes),
    }
    if severity is not None:
        record |= {"severityNumber": _NUMBERS[severity], "severityText": NAMES[severity]}
    return record


def _attributes(values: dict[str, str | int | bool] | dict[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: str | int | bool) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    return {"stringValue": value} if isinstance(value, str) else {"intValue": str(value)}
