"""Which of our units a process belongs to.

Law: by its cgroup, which the kernel keeps and no service can leave. The supervisor's groups lie
side by side (supervisor/kernel/cgroup.py: UNIT or UNIT@INDEX, in slices +NAME), so where this
process itself is tells where they are. A process that has ended belongs to nobody any more. What
was found is believed for a second, as a number may be another process' later.
"""
from __future__ import annotations

import time
from typing import NamedTuple

_BELIEVED_S = 1.0
_MOST = 4096


class Sender(NamedTuple):
    """`unit`: an instance's key, None for who is none of ours; `name`: of its program, or ""."""

    unit: str | None
    name: str


NOBODY = Sender(None, "")


class Senders:
    def __init__(self, proc: str = "/proc", own: str = "self") -> None:
        self._proc = proc
        self._top = top(self._group(own))
        self._known: dict[int, tuple[float, Sender]] = {}

    def find(self, pid: int) -> Sender:
        """`pid` 0: one that has no number here (of another pid namespace)."""
        if pid <= 0:
            return NOBODY
        now = time.monotonic()
        at, found = self._known.get(pid, (-_BELIEVED_S, NOBODY))
        if now - at >= _BELIEVED_S:
            if len(self._known) >= _MOST:
                self._known.clear()
            found = Sender(key(self._group(str(pid)), self._top), self._name(pid))
            self._known[pid] = now, found
        return found

    def _group(self, pid: str) -> str:
        for row in self._read(f"{pid}/cgroup").splitlines():
            if row.startswith("0::"):
                return row[3:]
        return ""

    def _name(self, pid: int) -> str:
        return self._read(f"{pid}/comm").rstrip("\n")

    def _read(self, name: str) -> str:
        try:
            with open(f"{self._proc}/{name}", encoding="utf-8", errors="backslashreplace") as file:
                return file.read(4096)
        except OSError:
            return ""


def top(group: str) -> str | None:
    """Where the groups of all units are, by that of one of them; None: it is in none."""
    parts = group.rstrip("/").split("/")
    parts.pop()
    while parts and parts[-1][:1] == "+":
        parts.pop()
    return "/".join(parts) if parts and group else None


def key(group: str, above: str | None) -> str | None:
    """The instance whose group that is, or is below of."""
    if above is None or not group.startswith(f"{above}/"):
        return None
    for name in group[len(above) + 1 :].split("/"):
        if name and name[0] != "+":
            return name.replace("@", "/")
    return None
