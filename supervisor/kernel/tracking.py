"""Finding, signalling and measuring the processes of an instance, and how without cgroups.

Without a usable cgroup (rootless, no delegation) the keeper, as subreaper, inherits whatever a
service lets go of. A stray child of the keeper is told by the mark in its environment, or by the
session it was born in; one that changed both cannot be told apart, and dies with the supervisor.
"""
from __future__ import annotations

import os
from _signal import pidfd_send_signal  # type: ignore[import-not-found]  # `signal` costs 3 ms
from collections.abc import Callable
from typing import NamedTuple, Protocol

from supervisor.kernel.host import read, read_long

MARK = "UNBOXED_UNIT"  # environment variable with the instance's key, in every service
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Figures(NamedTuple):
    """Resident or charged memory in bytes, CPU time used in ns, processes. None: not known."""

    memory_bytes: int | None
    cpu_ns: int | None
    tasks: int | None


class Tracker(Protocol):
    """How an instance's processes are found. `key` is the instance's."""

    name: str

    def group(self, key: str) -> str: ...
    def empty(self, key: str) -> bool: ...
    def watch(self, key: str) -> list[int]: ...
    def pids(self, key: str) -> list[int]: ...
    def signal(self, key: str, number: int, but: int, *, group: bool = False) -> None: ...
    def kill(self, key: str) -> None: ...
    def freeze(self, key: str, *, frozen: bool) -> None: ...
    def owner(self, pid: int) -> str | None: ...
    def remove(self, key: str) -> bool: ...
    def figures(self, key: str, pid: int) -> Figures: ...
    def leftovers(self) -> list[str]: ...
    def close(self) -> None: ...


def send(pid: int, number: int, still: Callable[[], bool]) -> None:
    """Signal `pid` if `still()` holds once the process is pinned by a pidfd."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if still():
            pidfd_send_signal(fd, number)
    except OSError:
        pass  # it is gone, or not ours to signal (it runs as another user)
    finally:
        os.close(fd)


def group_of(pid: int) -> int:
    """The process group of `pid`, 0 if it is gone."""
    try:
        return os.getpgid(pid)
    except OSError:
        return 0


def statm_bytes(pid: int | str) -> int:
    fields = read(f"/proc/{pid}/statm", 128).split()
    return int(fields[1]) * _PAGE if len(fields) > 1 else 0


def _stat(pid: int | str) -> list[str]:
    """/proc/PID/stat from the state on: [0] state, [1] ppid, [3] session, [11] and [12] ticks."""
    text = read(f"/proc/{pid}/stat", 1024)
    return text[text.rfind(")") + 2 :].split() if text else []


class SessionTracker:
    name = "session"

    def __init__(self, keeper: int, live: Callable[[], dict[int, str]]) -> None:
        """`live`: pid -> key of the processes that the keeper started and that still run."""
        self._keeper = keeper
        self._live = live
        self._sessions: dict[int, str] = {}  # session (pid of its first process) -> key

    def started(self, key: str, pid: int) -> None:
        """A launch of `key` runs as `pid`, leader of its own session."""
        self._sessions[pid] = key

    def group(self, key: str) -> str:
        return ""

    def _table(self) -> dict[int, tuple[int, int]]:
        """Pid -> (parent, session) of everything that lives."""
        rows = {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                fields = _stat(name)
                if fields and fields[0] not in "ZX":
                    rows[int(name)] = (int(fields[1]), int(fields[3]))
        return rows

    def _strays(self) -> bool:
        """Whether the keeper has a child that it did not start itself."""
        children = read_long(f"/proc/{self._keeper}/task/{self._keeper}/children")
        live = self._live()
        return any(int(p) not in live for p in children.split())

    def pids(self, key: str) -> list[int]:
        rows, live = self._table(), self._live()
        mine = {pid for pid, owner in live.items() if owner == key}
        for pid, (parent, session) in rows.items():
            if parent == self._keeper and pid not in live and self._told(pid, session) == key:
                mine.add(pid)
        grown = True
        while grown:
            below = {p for p, (parent, _) in rows.items() if parent in mine}
            grown = not below <= mine
            mine |= below
        return [p for p in mine if p in rows]

    def _told(self, pid: int, session: int) -> str | None:
        for entry in read(f"/proc/{pid}/environ", 1 << 18).split("\0"):
            if entry.startswith(MARK + "="):
                return entry[len(MARK) + 1 :]
        return self._sessions.get(session)

    def empty(self, key: str) -> bool:
        if key not in self._live().values() and not self._strays():
            return True
        return not self.pids(key)

    def watch(self, key: str) -> list[int]:
        """A pidfd of each process left: readable when it ends."""
        fds = []
        for pid in self.pids(key):
            try:
                fds.append(os.pidfd_open(pid))
            except OSError:
                pass
        return fds

    def signal(self, key: str, number: int, but: int, *, group: bool = False) -> None:
        for pid in self.pids(key):
            if pid != but and not (group and group_of(pid) == but):
                send(pid, number, lambda pid=pid: self.owner(pid) == key)  # type: ignore[misc]

    def kill(self, key: str) -> None:
        """Again until a look finds none that was not killed: what forks meanwhile is found then."""
        killed: set[int] = set()
        while fresh := [p for p in self.pids(key) if p not in killed]:
            for pid in fresh:
                send(pid, 9, lambda pid=pid: self.owner(pid) == key)  # type: ignore[misc]
            killed.update(fresh)

    def freeze(self, key: str, *, frozen: bool) -> None:
        self.signal(key, 19 if frozen else 18, 0)

    def owner(self, pid: int) -> str | None:
        """By ancestry: the first ancestor that the keeper started or inherited tells."""
        live = self._live()
        for _ in range(256):
            if pid in live:
                return live[pid]
            fields = _stat(pid)
            if not fields:
                return None
            parent, session = int(fields[1]), int(fields[3])
            if parent == self._keeper:
                return self._told(pid, session)
            if parent <= 1:
                return None
            pid = parent
        return None

    def remove(self, key: str) -> bool:
        if not self.empty(key):
            return False
        for pid in [p for p, k in self._sessions.items() if k == key]:
            del self._sessions[pid]
        return True

    def figures(self, key: str, pid: int) -> Figures:
        """Of the main process and its descendants' sum where that costs no look at all of /proc."""
        if not pid:
            return Figures(None, None, None)
        fields = _stat(pid)
        cpu = (int(fields[11]) + int(fields[12])) * _TICK_NS if len(fields) > 12 else None
        return Figures(statm_bytes(pid), cpu, None)

    def leftovers(self) -> list[str]:
        return []

    def close(self) -> None:
        pass
