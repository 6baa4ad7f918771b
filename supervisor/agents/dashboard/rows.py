"""What each instance is, as browsers know it: rows of fields, each with the version it changed at.

Law: pure. A browser is a number, the version that it has seen: `since` tells what changed after
it. So nothing is kept for a browser, and a slow one gets the latest of each field and no more.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

Row = dict[str, Any]
_NAMED = 20  # of the units that an agent is attached to, which may be all there are
_REMEMBERED = 4096  # removals; who has not looked for longer gets everything anew


class Rows:
    """`version` grows with each change; 0: nothing was ever known."""

    def __init__(self) -> None:
        self.version = 0
        self._rows: dict[str, Row] = {}
        self._changed: dict[str, dict[str, int]] = {}  # by key, then field: the version
        self._latest: dict[str, int] = {}  # of a whole row
        self._gone: deque[tuple[int, str]] = deque()
        self._forgotten = 0  # removals up to this version are remembered no more

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def update(self, rows: Mapping[str, Row], *, whole: bool) -> bool:
        """Take them over; `whole`: there are no others. Whether anything changed."""
        version = self.version + 1
        changed = False
        for key, row in rows.items():
            old = self._rows.get(key)
            stamps = self._changed.setdefault(key, {})
            fresh = [name for name in row if old is None or old.get(name) != row[name]]
            if fresh or old is None:
                stamps.update(dict.fromkeys(fresh, version))
                self._latest[key] = version
                changed = True
            self._rows[key] = row
        if whole:
            for key in self._rows.keys() - rows.keys():
                del self._rows[key], self._changed[key], self._latest[key]
                self._gone.append((version, key))
                changed = True
            while len(self._gone) > _REMEMBERED:
                self._forgotten = self._gone.popleft()[0]
        if changed:
            self.version = version
        return changed

    def since(self, version: int) -> tuple[dict[str, Row], list[str]] | None:
        """(rows with the fields that changed after it, keys that are gone since). None: that is not
        known any more, so ask for everything, which is what changed after version 0."""
        if version > self.version or (version and version < self._forgotten):
            return None
        changed = {
            key: {
                name: self._rows[key][name]
                for name, stamp in self._changed[key].items() if stamp > version
            }
            for key, latest in self._latest.items() if latest > version
        }
        gone = [key for at, key in self._gone if at > version and key not in self._rows]
        return changed, gone if version else []


def row(
    status: Mapping[str, Any], cpu_percent: float | None, lost_bytes: int, *, may_act: bool
) -> Row:
    """Of an InstanceStatus. Times in ms, since a browser's numbers are exact up to 2**53; figures
    rounded to what is shown, so that what looks the same is sent once."""
    waiting = list(status.get("waiting_for") or ())
    attached = list(status.get("attached") or ())
    return {
        "unit": status["unit"], "state": status["state"], "goal": status["goal"],
        "since": status["since_ns"] // 1_000_000, "pid": status.get("pid") or 0,
        "ready": bool(status.get("ready")),
        "memory": rounded(status.get("memory_bytes")), "tasks": status.get("tasks"),
        "cpu": None if cpu_percent is None else round(cpu_percent, 1),
        "cpu_s": _seconds(status.get("cpu_ns")),
        "restarts": status.get("restarts") or 0, "limit": status.get("restart_limit"),
        "recent": status.get("recent_restarts") or 0,
        "last_exit": status.get("last_exit") or "", "reason": status.get("reason") or "",
        "says": status.get("status_text") or "", "waiting": waiting,
        "next_try": _ms(status.get("next_try_ns")), "deadline": _ms(status.get("deadline_ns")),
        "stale": bool(status.get("stale")), "removed": bool(status.get("removed")),
        "about": status.get("description") or "",
        "missing": [*(status.get("missing_limits") or ()), *(status.get("missing_sandbox") or ())],
        "agents": list(status.get("agents") or ()),
        "attached": attached[:_NAMED], "attached_count": len(attached),
        "behind": status.get("behind_bytes"), "lost": lost_bytes, "act": may_act,
    }


def rounded(count: int | None) -> int | None:
    """To three digits."""
    if count is None or count < 1000:
        return count
    step: int = 10 ** (len(str(count)) - 3)
    return count // step * step


def _ms(ns: int | None) -> int | None:
    return None if ns is None else ns // 1_000_000


def _seconds(ns: int | None) -> float | None:
    """To two digits below a minute, else whole."""
    if ns is None:
        return None
    return round(ns / 1e9, 2 if ns < 60e9 else 0)
