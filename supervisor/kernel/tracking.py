"""Finding, signalling and measuring the processes of an instance, and how without cgroups.

Without a usable cgroup (rootless, no delegation) the keeper, as subreaper, inherits whatever a
service lets go of. So every process of an instance is a child of the keeper or descends from one,
and that child is told by the mark in its environment, by being what the keeper started, or by the
session it was born in; a stray that changed all this cannot be told apart, and dies with the
supervisor. A number alone tells nothing: it may have been given to a stranger meanwhile.
"""
from __future__ import annotations

import os
from _signal import pidfd_send_signal  # type: ignore[import-not-found]  # `signal` costs 3 ms
from collections.abc import Callable, Sequence
from select import poll
from typing import NamedTuple, Protocol

from supervisor.kernel.host import read, read_long
from supervisor.kernel.spare import use

MARK = "UNBOXED_UNIT"  # environment variable with the instance's key, in every service
_PAGE = os.sysconf("SC_PAGE_SIZE")
_EXEC_LOOKS = 20  # 1 ms apart, at a process that is becoming another program
_KILL_LOOKS = 20  # at all processes, for those that fork while they are killed
_GONE: tuple[list[str], ...] = ([], ["Z"], ["X"])  # first field of _stat, of what does not run
_MAX_DEPTH = 1000  # steps from a process to the keeper
_MOST_ADDED = 512  # processes whose memory is added up: some 20 ms
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
    def heard(self, fd: int) -> None: ...
    def pids(self, key: str) -> list[int]: ...
    def signal(self, key: str, number: int, but: int, *, group: bool = False) -> None: ...
    def kill(self, key: str) -> None: ...
    def freeze(self, key: str, *, frozen: bool) -> None: ...
    def owner(self, pid: int) -> str | None: ...
    def remove(self, key: str) -> bool: ...
    def figures(self, key: str, pid: int) -> Figures: ...
    def leftovers(self) -> list[str]: ...
    def close(self) -> None: ...


def send(pid: int, number: int, still: Callable[[], bool]) -> bool:
    """Signal `pid` if `still()` holds once a pidfd pins the process. False if it does not hold."""
    try:
        fd = use(os.pidfd_open, pid)
    except OSError:
        return True
    try:
        if not still():
            return False
        pidfd_send_signal(fd, number)
    except OSError:
        pass  # it is gone, or not ours to signal (it runs as another user)
    finally:
        os.close(fd)
    return True


def group_of(pid: int) -> int:
    """The process group of `pid`, 0 if it is gone."""
    try:
        return os.getpgid(pid)
    except OSError:
        return 0


def statm_bytes(pid: int | str) -> int:
    fields = read(f"/proc/{pid}/statm", 128).split()
    return int(fields[1]) * _PAGE if len(fields) > 1 else 0


def added_bytes(pids: Sequence[int]) -> int | None:
    """Resident memory of them all; None: they are so many that others would wait for it."""
    return sum(map(statm_bytes, pids)) if len(pids) <= _MOST_ADDED else None


def private_bytes(pid: int) -> int:
    """Resident memory that is no file's and not shared by name: all of it is charged to somebody,
    who is the group that the process was in when it took it."""
    fields = read(f"/proc/{pid}/statm", 128).split()
    return (int(fields[1]) - int(fields[2])) * _PAGE if len(fields) > 2 else 0


def _stat(pid: int | str) -> list[str]:
    """/proc/PID/stat from the state on: [0] state, [1] ppid, [3] session, [11] and [12] ticks."""
    text = read(f"/proc/{pid}/stat", 1024)
    return text[text.rfind(")") + 2 :].split() if text else []


def _environ(pid: int) -> str:
    """What /proc/PID/environ says. In the midst of execve(2) there is none, and no arguments
    either: that is soon over."""
    for _ in range(_EXEC_LOOKS):
        found = read(f"/proc/{pid}/environ", 1 << 18)
        if found or _stat(pid)[:1] in _GONE:
            return found
        if read(f"/proc/{pid}/cmdline", 1):
            break
        poll().poll(1)
    return read(f"/proc/{pid}/environ", 1 << 18)


class SessionTracker:
    name = "session"

    def __init__(self, keeper: int, live: Callable[[], dict[int, str]]) -> None:
        """`live`: pid -> key of the processes that the keeper started and that still run."""
        self._keeper = keeper
        self._live = live
        self._children = f"/proc/{keeper}/task/{keeper}/children"
        self._sessions: dict[int, str] = {}  # session (pid of its first process) -> key
        self._of: dict[str, list[int]] = {}  # key -> its sessions, until it was seen to be empty
        for pid, key in live().items():
            self.started(key, pid)

    def started(self, key: str, pid: int) -> None:
        """A launch of `key` runs as `pid`, leader of its own session."""
        self._sessions[pid] = key
        self._of.setdefault(key, []).append(pid)

    def group(self, key: str) -> str:
        return ""

    def _table(self) -> dict[int, tuple[int, int]]:
        """Pid -> (parent, session) of everything that lives."""
        rows = {}
        for name in use(os.listdir, "/proc"):
            if name.isdigit():
                fields = _stat(name)
                if fields[:1] not in _GONE:
                    rows[int(name)] = (int(fields[1]), int(fields[3]))
        return rows

    def _key_of(self, pid: int, session: int) -> str | None:
        """Whose the keeper's child `pid` is."""
        for entry in _environ(pid).split("\0"):
            if entry.startswith(MARK + "="):
                return entry[len(MARK) + 1 :]
        return self._live().get(pid) or self._sessions.get(session)

    def pids(self, key: str) -> list[int]:
        """Parents before their children."""
        rows, live = self._table(), self._live()
        below: dict[int, list[int]] = {}
        for pid, (parent, _) in rows.items():
            below.setdefault(parent, []).append(pid)
        mine = [
            pid
            for pid in below.get(self._keeper, ())
            if live.get(pid, key) == key and self._key_of(pid, rows[pid][1]) == key
        ]
        for pid in mine:  # which grows
            mine += below.get(pid, ())
        return mine

    def empty(self, key: str) -> bool:
        live = self._live()
        for word in read_long(self._children).split():
            pid = int(word)
            if live.get(pid, key) == key:
                fields = _stat(pid)
                if fields[:1] not in _GONE and self._key_of(pid, int(fields[3])) == key:
                    return False
        for session in self._of.pop(key, ()):
            self._sessions.pop(session, None)
        return True

    def watch(self, key: str) -> list[int]:
        """A pidfd of each process left: readable when it ends."""
        fds = []
        for pid in self.pids(key):
            try:
                fds.append(os.pidfd_open(pid))
            except OSError:
                pass
        return fds

    def heard(self, fd: int) -> None:
        """A pidfd stays readable: whoever is left is watched anew."""

    def signal(self, key: str, number: int, but: int, *, group: bool = False) -> None:
        """Children before their parents: with these they would lose what tells whose they are."""
        for pid in reversed(self.pids(key)):
            if pid != but and not (group and group_of(pid) == but):
                send(pid, number, lambda pid=pid: self.owner(pid) == key)  # type: ignore[misc]

    def kill(self, key: str) -> None:
        """Again until a look finds none that was not killed: what forks meanwhile is found then."""
        killed: set[int] = set()
        for _ in range(_KILL_LOOKS):
            fresh = [pid for pid in self.pids(key) if pid not in killed]
            if not fresh:
                break
            for pid in reversed(fresh):
                if send(pid, 9, lambda pid=pid: self.owner(pid) == key):  # type: ignore[misc]
                    killed.add(pid)

    def freeze(self, key: str, *, frozen: bool) -> None:
        self.signal(key, 19 if frozen else 18, 0)

    def owner(self, pid: int) -> str | None:
        """By ancestry: the child of the keeper that it is, or descends from, tells."""
        at = pid
        for _ in range(_MAX_DEPTH):
            fields = _stat(at)
            if fields and int(fields[1]) == self._keeper:
                key = self._key_of(at, int(fields[3]))
                if key or at == pid or _stat(at)[:1] not in _GONE:
                    return key
                at = pid  # that ancestor has ended meanwhile, and another one has inherited
            elif fields and int(fields[1]) > 1:
                at = int(fields[1])
            elif fields or at == pid:
                return None
            else:
                at = pid  # as above
        return None

    def remove(self, key: str) -> bool:
        return self.empty(key)

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
