"""Everything about one instance: what `status UNIT` shows when exactly one matches."""
from __future__ import annotations

import time

from supervisor.cli.call import Call, Failure
from supervisor.cli.causes import chain_lines
from supervisor.cli.screen import Screen, clean, cut
from supervisor.cli.server import Server
from supervisor.cli.usage import cpu_time, disks, memory, pressure
from supervisor.cli.words import STATES, behind, pending, size, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

LOG_LINES = 10
CAUSES = 5
_LABEL_WIDTH = 9


def show(call: Call, server: Server, status: dict[str, Any], screen: Screen) -> None:
    """Print it. What this user may not see is left out, and named at the end."""
    raw = call.flag("raw")
    unit = {"unit": status["key"]}
    more: dict[str, Any] = {}
    sections: list[list[str]] = []
    missing: list[str] = []

    def attempt(make: Callable[[], list[str]]) -> None:
        try:
            sections.append(make())
        except Failure as failure:
            missing.append(failure.text)

    def describe() -> list[str]:
        more.update(server.call("Describe", unit))
        return _listeners(more, raw=raw)

    def why() -> list[str]:
        answer = server.call("Why", unit)
        if "status" in answer:  # what the head says is of the same moment
            more["status"] = answer["status"]
        return _causes(answer["chain"], status["key"], screen)

    attempt(describe)
    sections.append(tree_lines(more.get("tree") or [], raw=raw))
    attempt(why)
    attempt(lambda: _logs(call, status["key"], raw=raw))
    print("\n".join(head_lines(more.get("status") or status, time.time_ns(), screen)))
    for section in filter(None, sections):
        print("\n" + screen.paint(section[0], "head"))
        for line in section[1:]:
            fits = not screen.terminal or not line.isprintable()
            print(line if fits else cut(line, screen.width))
    for text in missing:
        print(f"\nnote: {text}")


def head_lines(status: dict[str, Any], now_ns: int, screen: Screen) -> list[str]:
    state = status["state"]
    painted = screen.paint(state, STATES.get(state, ""))
    about = clean(status.get("description") or "")
    lines = [screen.paint(status["key"], "head") + (f" - {about}" if about else "")]
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status["since_ns"] // 10**9))
    usage = status.get("usage") or {}
    facts = [
        ("state", f"{painted} since {since} ({span(now_ns - status['since_ns'])})"),
        ("next", pending(status, now_ns)),
        ("reason", status.get("reason")),
        ("says", status.get("status_text")),
        ("pid", status.get("pid") and str(status["pid"])),
        ("memory", memory(status, usage)),
        ("CPU", cpu_time(status, usage)),
        ("tasks", status.get("tasks") and str(status["tasks"])),
        ("disks", disks(usage)),
        ("pressure", pressure(usage)),
        ("attached", attached(status)),
        ("agents", " ".join(status.get("agents") or ())),
        ("restarts", str(status.get("restarts") or 0)),
        ("last exit", status.get("last_exit") != status.get("reason") and status.get("last_exit")),
        ("tracking", status.get("tracking") == "session"
         and "by session; a process that leaves it is found once its parent is gone"),
        *(("limits", text) for text in status.get("missing_limits") or ()),
        *(("sandbox", text) for text in status.get("missing_sandbox") or ()),
        ("file", status.get("stale") and "the unit file changed since this start; "
         f"`unboxed restart {status['key']}` takes it up"),
        ("file", status.get("removed") and "the unit file is gone; it goes on until it is stopped, "
         "and is forgotten then"),
    ]
    for label, text in facts:
        if text:
            shown = text if label == "state" else clean(str(text))
            lines.append(f"  {label:>{_LABEL_WIDTH}}  {shown}")
    return lines


def attached(status: dict[str, Any]) -> str:
    """Whose agent it is, and whether it has got all that they said."""
    names = " ".join(status.get("attached") or ())
    return "; ".join(filter(None, (names, behind(status))))


def _causes(chain: list[dict[str, Any]], key: str, screen: Screen) -> list[str]:
    lines = chain_lines(chain, screen, time.time_ns())
    title = "Causes" if len(lines) <= CAUSES else f"Causes (`unboxed why {key}` for all)"
    return [title, *lines[:CAUSES]]


def _listeners(more: dict[str, Any], *, raw: bool) -> list[str]:
    rows = [
        "  " + _safe(f"{listener['name']}  {listener['address']}", raw=raw)
        + (f"  {listener['queue']} waiting" if listener.get("queue") else "")
        for listener in more.get("listeners") or []
    ]
    return ["Listeners", *rows] if rows else []


def tree_lines(processes: list[dict[str, Any]], *, raw: bool) -> list[str]:
    """The process tree; whatever has no parent in it stands at the top."""
    if not processes:
        return []
    known = {process["pid"] for process in processes}
    children: dict[int, list[dict[str, Any]]] = {}
    for process in processes:
        parent = process.get("ppid", 0)
        children.setdefault(parent if parent in known else 0, []).append(process)
    return ["Processes", *_branch(children, 0, "  ", raw=raw)]


def _branch(
    children: dict[int, list[dict[str, Any]]], parent: int, lead: str, *, raw: bool
) -> Iterator[str]:
    family = children.pop(parent, [])  # popped: a tree in which a pid was reused still ends
    for process in family:
        last = process is family[-1]
        joint = "" if parent == 0 else ("└─ " if last else "├─ ")
        memory = size(process.get("memory_bytes"))
        words = (str(process["pid"]), memory, _safe(process.get("command") or "", raw=raw))
        yield lead + joint + "  ".join(filter(None, words))
        deeper = "" if parent == 0 else ("   " if last else "│  ")
        yield from _branch(children, process["pid"], lead + deeper, raw=raw)


def _logs(call: Call, key: str, *, raw: bool) -> list[str]:
    from supervisor.cli.logs import last_lines

    lines = [f"  {_safe(line, raw=raw)}" for line in last_lines(call, key, LOG_LINES)]
    return [f"Last lines of its log (`unboxed logs {key}` for all)", *lines] if lines else []


def _safe(text: str, *, raw: bool) -> str:
    return text if raw else clean(text)
