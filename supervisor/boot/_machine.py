"""The machine that a step works on: its root directory, its kernel command line, its tools.

Law: a step touches no path and runs no program but through this, so that a test can hand it a
directory and tools of its own. `tell` is a line of the unit's log; `show` is one for whoever waits
at the console, too.
"""
from __future__ import annotations

import os
import sys
import time

from supervisor.boot import _console
from supervisor.boot._tools import Tools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_ANSWER_S = 5.0
_SIGTERM = 15
_SLEEPER = "sleep\0infinity\0"  # its command line
_REBOOT_SIGNAL = 39  # SIGRTMIN+5, as systemd has it


def step(
    name: str, argv: Sequence[str], ways: Mapping[str, Callable[[Machine], int]],
) -> int:
    """Run a step in the way that its words say; the exit code."""
    way = ways.get(" ".join(argv))
    if list(argv) in (["--help"], ["-h"]):
        words = " or ".join(filter(None, ways))
        text = sys.modules[ways[""].__module__].__doc__ or ""
        print(f"usage: unboxed boot {name}{words and f' [{words}]'}\n\n{text.strip()}")
        return 0
    if way is None:
        words = " or ".join(filter(None, ways)) or "no words"
        print(f"cannot run boot step {name}: it takes {words}; nothing was done", file=sys.stderr)
        return 2
    machine = Machine()
    if not machine.ours():
        machine.tell(f"boot step {name}: nothing was done: it is for units of a machine whose first"
                     " process is unboxed-init; there, `unboxed restart` runs it again")
        return 0
    return way(machine)


class Machine:
    def __init__(self, root: str = "", tools: Tools | None = None) -> None:
        self.root = root.rstrip("/")
        self.tools = tools or Tools()

    def ours(self) -> bool:
        """Whether we are started by the supervisor that is this machine's PID 1: its keeper is the
        parent of whatever a unit runs. On a machine of somebody else's a step does nothing."""
        return os.getppid() == 1 and "UNBOXED_UNIT" in os.environ

    def path(self, path: str) -> str:
        """Where an absolute path of the machine is."""
        return self.root + path

    def real(self, path: str) -> str:
        """The same directory, with no symbolic link in its path: as the kernel names a mount."""
        return os.path.realpath(self.root + path).removeprefix(self.root) or "/"

    def read(self, path: str, limit: int = 1 << 20) -> str:
        """The text of a file, "" if it cannot be read."""
        try:
            with open(self.path(path), encoding="utf-8", errors="replace") as file:
                return file.read(limit)
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        return os.path.exists(self.path(path))

    def id_of(self, name: str, path: str) -> int | None:
        """The number of a user (/etc/passwd) or a group (/etc/group); None if that has none of this
        name. No name service is asked: it may need the network, which is not up."""
        if name == "root":
            return 0  # also where there are no users, as in an initramfs
        for line in self.read(path).splitlines():
            words = line.split(":")
            if words[0] == name and len(words) > 2 and words[2].isdigit():
                return int(words[2])
        return None

    def cmdline(self) -> list[str]:
        """The words of the kernel command line, quotes undone."""
        text = self.read("/proc/cmdline")
        if '"' not in text:
            return text.split()
        import shlex

        try:
            return shlex.split(text)
        except ValueError:
            return text.split()

    def option(self, name: str) -> str | None:
        """The last value of NAME=VALUE on the kernel command line; "" for the bare word."""
        found = None
        for word in self.cmdline():
            key, _, value = word.partition("=")
            if key == name:
                found = value
        return found

    def tell(self, line: str) -> None:
        print(line, flush=True)

    def warn(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def show(self, line: str) -> None:
        """For the console as well, where somebody waits for this. Never blocks."""
        self.tell(line)
        _console.show(line, self.path(_console.PATH))

    def once(self, what: str) -> bool:
        """Whether this is the first time since the machine was booted; False also where it cannot
        be remembered."""
        stamp = self.path(f"/run/unboxed/boot/{what}")
        try:
            os.makedirs(os.path.dirname(stamp), 0o755, exist_ok=True)
            os.close(os.open(stamp, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        except OSError:
            return False
        return True

    def stay(self, what: str) -> None:
        """Leave a process behind that waits for its end, and holds nothing. Raises OSError."""
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        actions = [(os.POSIX_SPAWN_DUP2, nothing, number) for number in range(3)]
        pid = os.posix_spawnp("sleep", ("sleep", "infinity"), os.environ, file_actions=actions)
        os.close(nothing)
        place = self.path(f"/run/unboxed/boot/{what}.pid")
        os.makedirs(os.path.dirname(place), 0o755, exist_ok=True)
        with open(place, "w", encoding="ascii") as file:
            file.write(str(pid))

    def leave(self, what: str) -> None:
        """End what `stay` left behind."""
        pid = self.read(f"/run/unboxed/boot/{what}.pid")
        if pid.isdigit() and self.read(f"/proc/{pid}/cmdline") == _SLEEPER:
            os.kill(int(pid), _SIGTERM)

    def now(self) -> float:
        """Seconds of a clock that only goes on."""
        return time.monotonic()

    def under_way(self, *units: str) -> bool:
        """Whether one of these units is about to start; False where nobody can be asked."""
        from supervisor.control.client import Client, ControlError
        from supervisor.model.paths import paths

        try:
            with Client(paths(os.environ, os.geteuid()).runtime, "status") as client:
                rows = client.call("Status", timeout_s=_ANSWER_S)["instances"]
        except ControlError:
            return False
        return any(row["unit"] in units and row["state"] in ("waiting", "starting")
                   for row in rows)

    def reboot(self) -> None:
        """Ask PID 1 for an orderly one; also while the manager is not there. Raises OSError."""
        os.kill(1, _REBOOT_SIGNAL)

    def wall_s(self) -> float:
        """What the clock says, in seconds since 1970."""
        return time.time()

    def set_wall_s(self, seconds: float) -> None:
        """Raises OSError."""
        time.clock_settime(time.CLOCK_REALTIME, seconds)
