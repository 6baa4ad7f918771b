"""What units with on_violation = "log" did beyond their promises: told as it happens.

Law: the kernel tells it to its log alone, which is watched only while such a unit is up. Each call
of an instance is told once until that is down. Who it was is asked of the kernel by the pid, so of
a process that is gone by then only the main one's calls are told. Loaded for the first such unit.
"""
from __future__ import annotations

import os
from typing import TYPE_CHECKING

from supervisor.kernel.sandbox.violation import allowed, open_end, unpromised
from supervisor.manager.loop import READ
from supervisor.model.state import Transition

if TYPE_CHECKING:
    from supervisor.manager.supervisor import Supervisor

_OVER = ("down", "failed")
_MOST_ENDED = 64
_MOST_TOLD = 100  # of one instance: whoever asks for numbers that no call has fills no log


class Violations:
    def __init__(self, sup: Supervisor) -> None:
        self._sup = sup
        self._fd = -1
        self._machine = os.uname().machine
        self._told: dict[str, set[str]] = {}  # key -> calls
        self._ended: dict[int, str] = {}  # pid -> key of main processes that were there just now
        sup.listeners.append(self._moved)

    def begin(self, key: str) -> None:
        """It is launched, or an earlier manager launched it."""
        if key in self._told:
            return
        self._told[key] = set()
        if self._fd >= 0:
            return
        try:
            self._fd = open_end()
        except OSError as exc:
            self._sup.report(
                f"cannot tell which calls of {key} are beyond its promises: {exc.filename}:"
                f" {exc.strerror}; they are allowed, and `unboxed learn` finds them")
            return
        self._sup.loop.add(self._fd, READ, lambda _events: self.look())

    def ended(self, key: str, pid: int) -> None:
        """A main process; what it did last may not be written yet."""
        if key in self._told:
            self._ended[pid] = key
            if len(self._ended) > _MOST_ENDED:
                del self._ended[next(iter(self._ended))]

    def look(self) -> None:
        for pid, call in allowed(self._fd, self._machine):
            key = self._sup.pids.get(pid) or self._sup.tracker.owner(pid) or self._ended.get(pid)
            told = self._told.get(key or "")
            if told is None or call in told or len(told) > _MOST_TOLD:
                continue
            told.add(call)
            if len(told) <= _MOST_TOLD:
                self._sup.report(f"{key}: {unpromised(call)}; it was allowed (on_violation)")
            else:
                self._sup.report(f"{key}: more calls are in none of its promises; allowed, untold")

    def _moved(self, fresh: list[Transition]) -> None:
        for one in fresh:
            if one.target in _OVER and one.key in self._told:
                self._close(one.key)

    def _close(self, key: str) -> None:
        if self._fd >= 0:
            self.look()
        del self._told[key]
        if not self._told and self._fd >= 0:
            self._sup.loop.remove(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._ended.clear()
