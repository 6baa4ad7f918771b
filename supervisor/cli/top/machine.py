"""What /proc tells of the machine and of the supervisor's own processes.

Law: a file that is not there, or not for us, leaves its figure out. Percentages are of the time
since the look before; pressure is the kernel's average of the last 10 s.
"""
from __future__ import annotations

import os
import time
from typing import NamedTuple

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_RESOURCES = ("cpu", "memory", "io")


class Own(NamedTuple):
    """A process of the supervisor: percent of one CPU, and resident bytes."""

    name: str
    cpu: float | None
    memory: int


class Machine(NamedTuple):
    """`cpu`: percent of all CPUs; `pressure`: (resource, percent some task waited for it)."""

    cpus: int
    cpu: float | None
    memory_used: int | None
    memory_total: int | None
    load: str
    pressure: tuple[tuple[str, float], ...]
    own: tuple[Own, ...]


class Gauge:
    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._cpu: tuple[int, int] | None = None  # ticks (busy, all)
        self._own: dict[int, tuple[float, int]] = {}  # seconds, ticks

    def look(self, supervisor: dict[str, int]) -> Machine:
        """`supervisor`: names of its processes and their pids, 0 for one that is not known."""
        used, total = self._memory()
        return Machine(
            os.cpu_count() or 1, self._busy(), used, total,
            self._read("loadavg").partition(" ")[0],
            tuple((name, some) for name in _RESOURCES if (some := self._some(name)) is not None),
            tuple(filter(None, (self._process(*item) for item in supervisor.items()))))

    def _read(self, name: str) -> str:
        try:
            with open(f"{self._proc}/{name}", encoding="utf-8", errors="replace") as file:
                return file.read(65536)
        except OSError:
            return ""

    def _busy(self) -> float | None:
        words = self._read("stat").partition("\n")[0].split()
        if len(words) < 6 or words[0] != "cpu":
            return None
        ticks = [int(word) for word in words[1:9]]  # guest time is in user time too
        now = sum(ticks) - ticks[3] - ticks[4], sum(ticks)
        before, self._cpu = self._cpu, now
        if before is None or now[1] <= before[1]:
            return None
        return max(100 * (now[0] - before[0]) / (now[1] - before[1]), 0.0)

    def _memory(self) -> tuple[int | None, int | None]:
        rows = dict(
            line.split(":", 1) for line in self._read("meminfo").splitlines() if ":" in line)
        try:
            total, free = (int(rows[name].split()[0]) * 1024
                           for name in ("MemTotal", "MemAvailable"))
        except (KeyError, ValueError, IndexError):
            return None, None
        return total - free, total

    def _some(self, resource: str) -> float | None:
        for word in self._read(f"pressure/{resource}").split():
            if word.startswith("avg10="):
                return float(word[6:])
        return None

    def _process(self, name: str, pid: int) -> Own | None:
        # Where its pids are not ours (a container's), another process may have that number.
        words = self._read(f"{pid}/cmdline") if pid else ""
        if "unboxed" not in words and "supervisor" not in words:
            return None
        fields = self._read(f"{pid}/stat").rpartition(")")[2].split()
        pages = self._read(f"{pid}/statm").split()
        if len(fields) < 13 or len(pages) < 2:
            return None
        now = time.monotonic(), int(fields[11]) + int(fields[12])
        before = self._own.get(pid)
        self._own[pid] = now
        cpu = None
        if before and now[0] > before[0]:
            cpu = max(100 * _TICK_S * (now[1] - before[1]) / (now[0] - before[0]), 0.0)
        return Own(name, cpu, int(pages[1]) * _PAGE)
