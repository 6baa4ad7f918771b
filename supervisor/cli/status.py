"""`unboxed status`: the table of all units, or everything about one.

On a terminal for eyes (relative times, colour, cut to the width); elsewhere for programs: the same
columns, uncut, no cell but the last with a space in it, times as ISO 8601 in UTC.
"""
from __future__ import annotations

import time

from supervisor.cli.call import DONE, NOT_RUNNING, Call
from supervisor.cli.clock import stamp
from supervisor.cli.screen import Screen, clean, table
from supervisor.cli.server import Server, print_json
from supervisor.cli.words import (
    STATES,
    UP,
    cpu,
    remark,
    scheduled,
    scheduled_words,
    size,
    span,
    summary,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEAD = ("UNIT", "STATE", "SINCE", "PID", "MEM", "CPU", "RESTARTS", "LAST EXIT/REASON")
_RIGHT = (3, 4, 5, 6)
_STATE, _REMARK = 1, 7


def run(call: Call) -> int:
    of = f" of {' '.join(call.words)}" if call.words else ""
    with Server(call, f"show the status{of}") as server:
        asked: dict[str, Any] = {"units": list(call.words)} if call.words else {}
        if call.flag("json"):
            asked["usage"] = True
        answer = server.call("Status", asked)
        statuses: list[dict[str, Any]] = answer["instances"]
        one = len(statuses) == 1 and bool(call.words)
        if call.flag("json"):
            document = {"supervisor": answer["supervisor"], "instances": statuses}
            if call.words:
                document["details"] = {
                    status["key"]: server.call("Describe", {"unit": status["key"]})
                    for status in statuses
                }
            print_json(document)
        else:
            screen = Screen()
            raw = call.flag("raw") and screen.terminal
            if one:
                from supervisor.cli.detail import show

                show(call, server, statuses[0], screen)
            else:
                short = screen.terminal and not (call.words or call.flag("all"))
                _show_table(statuses, answer["supervisor"], screen, raw=raw, short=short)
    if not call.words or all(status["state"] in UP for status in statuses):
        return DONE
    return NOT_RUNNING


def _show_table(
    statuses: list[dict[str, Any]], supervisor: dict[str, Any], screen: Screen, *, raw: bool,
    short: bool,
) -> None:
    """`short`: without those that a condition skipped, which are only counted."""
    now_ns = time.time_ns()
    shown = [status for status in statuses if not (short and status["state"] == "skipped")]
    rows = [_row(status, now_ns, terminal=screen.terminal, raw=raw) for status in shown]
    width = screen.width if screen.terminal else None
    head, *body = table(HEAD, rows, width, _RIGHT)
    lines = [screen.paint("  ".join(head), "head")]
    for status, cells in zip(shown, body, strict=True):
        kind = STATES.get(status["state"], "")
        cells[_STATE] = screen.paint(cells[_STATE], kind)
        lines.append("  ".join(cells).rstrip())
    if screen.terminal:
        more = "" if len(shown) == len(statuses) else " (`unboxed status --all` shows those too)"
        lines.append(screen.paint(summary(statuses), "head") + more)
        lines.extend(notes(supervisor))
        lines.extend(f"note: {clean(scheduled_words(one))}" for one in scheduled(statuses))
    print("\n".join(lines))


def _row(
    status: dict[str, Any], now_ns: int, *, terminal: bool, raw: bool
) -> tuple[str, ...]:
    since = span(now_ns - status["since_ns"]) if terminal else stamp(status["since_ns"])
    text = remark(status, now_ns)
    return (
        status["key"],
        status["state"],
        since,
        str(status.get("pid") or "-"),
        size(status.get("memory_bytes")) or "-",
        cpu(status.get("cpu_ns")) or "-",
        str(status.get("restarts") or 0),
        text if raw else clean(text),
    )


def notes(supervisor: dict[str, Any]) -> list[str]:
    """What an operator should know about the supervisor itself before trusting the rest."""
    found = []
    if supervisor.get("ending"):
        found.append(f"note: the machine is going down: {supervisor['ending']}")
    if supervisor.get("tracking") == "session":
        found.append(
            "note: no cgroup is usable here, so processes are tracked by session: one that leaves"
            " its session is found only once its parent is gone")
    if supervisor.get("manager_starts", 1) > 1:
        found.append(f"note: the manager was started {supervisor['manager_starts']} times")
    return found
