"""The supervisor's own log stream, `unboxed`: JSON lines that people read as sentences.

A line is a transition (`id`, `unit` (an instance's key), `from`, `to`, `cause`) or a `message`.
"""
from __future__ import annotations

STREAM = "unboxed"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def entry(line: bytes) -> dict[str, Any]:
    """What `line` says: a Transition as the control interface has it, or {"message": ...}."""
    import json  # some milliseconds, which `logs` of services need not wait

    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return {"message": line.decode("utf-8", "backslashreplace")}
    if "from" in found and "to" in found:
        return {**found, "key": str(found.get("unit", ""))}
    return {"message": str(found.get("message", found))}


def priority(line: bytes) -> int | None:
    """How bad it is (syslog's number): a failure is an error, what is tried again a warning."""
    return {"failed": 3, "backoff": 4}.get(str(entry(line).get("to")))


def sentence(line: bytes) -> str:
    """"web/0: launching -> up (started)", or the message."""
    said = entry(line)
    if "message" in said:
        return str(said["message"])
    cause = f" ({said['cause']})" if said.get("cause") else ""
    return f"{said['key']}: {said['from']} -> {said['to']}{cause}"
