"""How long something took, less what the machine did not give: a processor.

A limit on an answer is a promise of the supervisor's, not of how many others want its processors.
The kernel counts for how long a thread was ready to run and had to wait for its turn (schedstat),
and for how long a hypervisor kept the processors to itself (steal). That much is nobody's fault
here, and is taken off. What is left counts in full: working too long, resting, being blocked.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Watch:
    """A stopwatch for what this thread waits for while the processes `pids`, of one thread each,
    work at it. They may end meanwhile: then what they waited since is not taken off."""

    def __init__(self, *pids: int) -> None:
        self._paths = [Path("/proc/thread-self/schedstat")]
        self._paths += [Path(f"/proc/{pid}/schedstat") for pid in pids]
        self._queued = [_queued_s(path) for path in self._paths]
        self._stolen = _stolen_s()
        self._began = time.monotonic()

    def also(self, pid: int) -> None:
        """A process that began since works at it too."""
        self._paths.append(Path(f"/proc/{pid}/schedstat"))
        self._queued.append(0.0)

    def wall_s(self) -> float:
        return time.monotonic() - self._began

    def excused_s(self) -> float:
        """What the machine is to blame for so far."""
        queued = sum(
            max(0.0, _queued_s(path) - before)
            for path, before in zip(self._paths, self._queued, strict=True)
        )
        return queued + _stolen_s() - self._stolen

    def blamed_s(self) -> float:
        """What is left of the time so far: 0 or more seconds."""
        wall = self.wall_s()
        return max(0.0, wall - self.excused_s())


def _queued_s(path: Path) -> float:
    try:
        return int(path.read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


def _stolen_s() -> float:
    """Of all processors together."""
    with open("/proc/stat", encoding="ascii") as file:
        return int(file.readline().split()[8]) * _TICK_S
