"""What units did beyond their promises, with on_violation = "log": told as it happens; with "kill":
kept for who asks why they ended.

Law: the kernel's records of it are watched only while such a unit is up. Each call of an instance
is told once until that is down. Who it was is asked of the kernel by the pid, so of a process that
is gone by then only the main one's calls are told. Loaded for the first such unit.
"""
from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING

from supervisor.kernel.sandbox.violation import awaited, news, unpromised, watch
from supervisor.manager.loop import READ
from supervisor.model.state import Transition

if TYPE_CHECKING:
    from supervisor.manager.supervisor import Supervisor

_OVER = ("down", "failed")
_MOST_ENDED = 64
_MOST_KILLED, _OLD_S = 256, 60  # of any process: pids come again
_MOST_TOLD = 100  # of one instance: whoever asks for numbers that no call has fills no log


class Violations:
    def __init__(self, sup: Supervisor) -> None:
        self._sup = sup
        self._fd = -1
        self._machine = os.uname().machine
        self._told: dict[str, set[str]] = {}  # key -> calls
        self._killed: dict[int, tuple[float, str]] = {}  # pid -> when it was told, and the call
        self._ended: dict[int, str] = {}  # pid -> key of main processes that were there just now
        sup.listeners.append(self._moved)

    def begin(self, key: str, *, allows: bool) -> None:
        """It is launched, or an earlier manager launched it. `allows`: on_violation = "log"."""
        if key in self._told:
            return
        self._told[key] = set()
        if self._fd >= 0:
            return
        try:
            self._fd = watch()
        except OSError as exc:
            if not allows:
                return  # at its end, the kernel's log is asked
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
        for pid, call, killed in news(self._fd, self._machine):
            if killed:
                self._killed.pop(pid, None)  # to be the last
                self._killed[pid] = monotonic(), call
                if len(self._killed) > _MOST_KILLED:
                    del self._killed[next(iter(self._killed))]
                continue
            key = self._sup.pids.get(pid) or self._sup.tracker.owner(pid) or self._ended.get(pid)
            told = self._told.get(key or "")
            if told is None or call in told or len(told) > _MOST_TOLD:
                continue
            told.add(call)
            if len(told) <= _MOST_TOLD:
                self._sup.report(f"{key}: {unpromised(call)}; it was allowed (on_violation)")
            else:
                self._sup.report(f"{key}: more calls are in none of its promises; allowed, untold")

    def killed_for(self, pid: int) -> str:
        """The call that a filter just killed it for, "" if it was not told."""
        return awaited(self._fd, lambda: self._found(pid)) if self._fd >= 0 else ""

    def _found(self, pid: int) -> str:
        self.look()
        when, call = self._killed.pop(pid, (0.0, ""))
        return call if monotonic() - when < _OLD_S else ""

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
            self._killed.clear()
