"""A machine made of a directory, whose tools only note what they were asked for."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from supervisor.boot._machine import Machine
from supervisor.boot._tools import Child, Ended, Tools

Answer = Callable[[tuple[str, ...]], Ended | None]
ROOT_EXT4 = "22 1 98:0 / / {mode},relatime shared:1 - ext4 /dev/root {mode}\n"
NOW_S = 1_900_000_000.0  # of its clock: after any release


class _Done(Child):
    """It ended at once."""

    def __init__(self, ended: Ended) -> None:
        self._said = ended

    def poll(self) -> Ended | None:
        return self._said

    def wakes(self) -> tuple[int, ...]:
        return ()


class Noted(Tools):
    """`answer` says how a call ends; None: well. All calls are in `calls`."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.answer: Answer = lambda _: None
        self.there: set[str] = {"fsck", "fsck.ext4", "sysctl", "modprobe"}

    def start(
        self, *words: str, timeout_s: float | None = None, extra: Mapping[int, int] | None = None,
    ) -> Child:
        self.calls.append(words)
        return _Done(self.answer(words) or Ended(0, ""))

    def find(self, name: str) -> str:
        return f"/sbin/{name}" if name in self.there else ""

    def of(self, name: str) -> list[tuple[str, ...]]:
        return [words for words in self.calls if words[0] == name]


class Made(Machine):
    def __init__(self, root: Path) -> None:
        self.noted = Noted()
        super().__init__(str(root), self.noted)
        self.told: list[str] = []
        self.clock_s = NOW_S
        self.rebooted = 0
        self.stays: list[str] = []
        self.asked = self.settled_at = 0  # how often units were asked about, and until when
        self.write("/proc/self/mountinfo", ROOT_EXT4.format(mode="rw"))
        self.write("/proc/cmdline", "quiet\n")
        self.write("/dev/urandom", "r" * 600)
        for path in ("/etc", "/run", "/tmp", "/var"):
            Path(self.path(path)).mkdir(exist_ok=True)

    def write(self, path: str, text: str) -> Path:
        file = Path(self.path(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def mounted(self, *rows: str, root: str = "rw") -> None:
        """`rows`: "TARGET TYPE OPTIONS" each."""
        text = ROOT_EXT4.format(mode=root)
        for row in rows:
            target, kind, options = row.split()
            text += f"30 22 0:9 / {target} {options} - {kind} {kind} {options}\n"
        self.write("/proc/self/mountinfo", text)

    def said(self) -> str:
        return "\n".join(self.told)

    def tell(self, line: str) -> None:
        self.told.append(line)

    def warn(self, line: str) -> None:
        self.told.append(line)

    def stay(self, what: str) -> None:
        self.stays.append(what)

    def leave(self, what: str) -> None:
        self.stays.remove(what)

    def reboot(self) -> None:
        self.rebooted += 1

    def under_way(self, *units: str) -> bool:
        self.asked += 1
        return self.asked < self.settled_at

    def wall_s(self) -> float:
        return self.clock_s

    def set_wall_s(self, seconds: float) -> None:
        self.clock_s = seconds
