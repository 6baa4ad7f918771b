"""Figures and states in words, the same in tables, progress lines and the live view.

Law: pure. The present (`now_ns`, realtime) is a parameter. An InstanceStatus is the dict that the
control interface sends (docs/contract: supervisor/control/io.unboxed.Supervisor.varlink).
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

SECOND_NS = 1_000_000_000

# How alarming a state is: the colour on a terminal, and the order in a summary.
GOOD, BUSY, BAD, IDLE, ODD = "good", "busy", "bad", "idle", "odd"
STATES = {
    "running": GOOD,
    "reloading": BUSY,
    "starting": BUSY,
    "waiting": BUSY,
    "stopping": BUSY,
    "backoff": BUSY,
    "frozen": ODD,
    "finished": IDLE,
    "skipped": IDLE,
    "stopped": IDLE,
    "failed": BAD,
    "unkillable": BAD,
}
# A state as a predicate: "web has failed".
SAID = {
    "running": "is running",
    "reloading": "is reloading",
    "starting": "is starting",
    "waiting": "is waiting",
    "stopping": "is stopping",
    "backoff": "has ended and is to be started again",
    "frozen": "is frozen",
    "finished": "has finished",
    "skipped": "was skipped",
    "stopped": "has stopped",
    "failed": "has failed",
    "unkillable": "cannot be killed",
}
# How the description of a shutdown's unit begins that waits for its time (cli/scheduled.py).
SCHEDULED = "Scheduled shutdown: "
# What counts as "it is as it should be" for the exit code of `status UNIT`.
UP = frozenset({"running", "reloading", "frozen", "finished", "skipped"})


def span(ns: int) -> str:
    """A duration, coarse and short: "0.4 s", "48 s", "3 min", "2 h", "5 d"."""
    seconds = max(0, ns) / SECOND_NS
    if seconds < 9.95:
        return f"{seconds:.1f} s" if seconds % 1 and seconds else f"{seconds:.0f} s"
    for limit, unit, size in ((100, "s", 1), (6000, "min", 60), (48 * 3600, "h", 3600)):
        if round(seconds) < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def left(deadline_ns: int, now_ns: int) -> str:
    """Whole seconds until a deadline: "48 s left"; "overdue" once it has passed."""
    remaining = deadline_ns - now_ns
    return f"{-(-remaining // SECOND_NS)} s left" if remaining > 0 else "overdue"


def size(count: int | None) -> str:
    """Bytes in at most four digits: "812K", "12.3M", "4.0G"; "" for None."""
    if count is None:
        return ""
    value = count / 1024
    for unit in "KMGT":
        if value < 999.5:
            return f"{value:.0f}{unit}" if value >= 99.95 or unit == "K" else f"{value:.1f}{unit}"
        value /= 1024
    return f"{value:.0f}P"


def cpu(ns: int | None) -> str:
    """CPU time used: "0.02s", "12.3s", "4m10s", "7h02m"; "" for None."""
    if ns is None:
        return ""
    seconds = ns / SECOND_NS
    if seconds < 10:
        return f"{seconds:.2f}s"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"


def pending(status: dict[str, Any], now_ns: int) -> str:
    """What an instance on its way is waiting for and until when; "" when it is not on its way."""
    state = status["state"]
    deadline = status.get("deadline_ns")
    until = f", {left(deadline, now_ns)}" if deadline else ""
    if state == "backoff":
        when = status.get("next_try_ns")
        return f"next try in {span(when - now_ns)}{_tries(status)}" if when else "next try soon"
    if state == "waiting":
        return "waiting for " + (", ".join(status.get("waiting_for") or ()) or "its turn")
    if state == "starting":
        needs = ", ".join(status.get("waiting_for") or ()) or "ready"
        return f"waiting for {needs}{until}"
    if state == "stopping":
        needs = ", ".join(status.get("waiting_for") or ())
        return (f"waiting for {needs}" if needs else "ending its processes") + until
    if state == "unkillable":
        return "survived SIGKILL; it ends when the kernel lets go of it"
    return ""


def _tries(status: dict[str, Any]) -> str:
    limit = status.get("restart_limit")
    count = status.get("recent_restarts", status.get("restarts"))
    return f" ({count}/{limit})" if limit else f" (try {count})" if count else ""


def remark(status: dict[str, Any], now_ns: int) -> str:
    """The last column of the table: what a reader would ask next about an instance."""
    state = status["state"]
    reason, last_exit = status.get("reason") or "", status.get("last_exit") or ""
    parts: list[str] = []
    if state == "backoff":
        parts = [last_exit or reason, pending(status, now_ns)]
    elif state == "failed":
        parts = [reason, "" if last_exit in reason else last_exit]
    elif state in {"stopped", "finished", "skipped"}:
        parts = [reason or last_exit]
    elif state in {"waiting", "starting", "stopping", "unkillable"}:
        parts = [pending(status, now_ns), status.get("status_text") or ""]
    else:
        restarted = last_exit and status.get("restarts")
        how = last_exit.partition(", sent by ")[0]  # `why` tells by whom
        last = f"last: {how}" if restarted else ""
        parts = [status.get("status_text") or "", last, behind(status)]
        if state == "reloading":
            parts.insert(0, "reloading")
    if status.get("removed"):
        parts.append("its unit file is gone")
    elif status.get("stale"):
        parts.append("unit file changed since its start")
    return "; ".join(filter(None, parts))


def behind(status: dict[str, Any]) -> str:
    """Of an agent that has not got all the logs yet: "3.2M behind"."""
    count = status.get("behind_bytes") or 0
    return f"{size(count) if count >= 1024 else f'{count}B'} behind" if count else ""


def summary(statuses: list[dict[str, Any]]) -> str:
    """How many are in which state, the alarming ones last: "12 running, 1 backoff, 1 failed"."""
    counts: dict[str, int] = {}
    for status in statuses:
        counts[status["state"]] = counts.get(status["state"], 0) + 1
    known = [state for state in STATES if state in counts]
    strange = [state for state in counts if state not in STATES]
    return ", ".join(f"{counts[state]} {state}" for state in known + strange) or "no units"


def scheduled(statuses: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The shutdowns that wait for their time."""
    return [status for status in statuses if status["description"].startswith(SCHEDULED)
            and status["state"] not in {"stopped", "finished", "failed"}]


def scheduled_words(status: dict[str, Any]) -> str:
    """"reboot at 2027-01-01 23:30:00 is scheduled; ..."."""
    what = status["description"].removeprefix(SCHEDULED)
    return f"{what} is scheduled; `shutdown -c` cancels it"
