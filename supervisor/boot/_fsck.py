"""Checks file systems before they are used, as fstab says: fsck -a, a process for each.

What the kernel command line says: fsck.mode=skip|force, fsck.repair=yes|no|preen; and what Debian
has always known: the files /fastboot and /forcefsck, and these as words. There is no time limit: a
check may take hours. Who is checked, and how far that is, is told on the console every ten seconds.
"""
from __future__ import annotations

import os

from supervisor.boot._machine import Machine
from supervisor.boot._tools import Child, Ended, wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CORRECTED, REBOOT, UNCORRECTED = 1, 2, 4  # fsck(8)
_PROGRESS_FD = 9
_TELL_S = 10.0
# Where the five passes of e2fsck begin and end, in percent of the whole (as in its util.c)
_PASSES = (0, 70, 90, 92, 95, 100)
_REPAIR = {"preen": "-a", "yes": "-y", "no": "-n"}


class Check:
    """One that is to be done."""

    def __init__(self, device: str, target: str, kind: str) -> None:
        self.device = device
        self.target = target
        self.type = kind


class Result:
    def __init__(self, checked: Check, ended: Ended) -> None:
        self.check = checked
        self.ended = ended

    @property
    def failed(self) -> bool:
        """What is left then is not fit to be mounted."""
        return bool(self.ended.code & ~(CORRECTED | REBOOT)) or (
            bool(self.ended.code & REBOOT) and self.check.target != "/")

    @property
    def reboot(self) -> bool:
        """The root file system was changed under the kernel that had mounted it."""
        return not self.failed and bool(self.ended.code & REBOOT)


def mode(machine: Machine) -> str:
    """"skip", "force" or "auto"."""
    given = machine.option("fsck.mode")
    words = machine.cmdline()
    if given == "skip" or "fastboot" in words or machine.exists("/fastboot"):
        return "skip"
    if given == "force" or "forcefsck" in words or machine.exists("/forcefsck"):
        return "force"
    return "auto"


def check(
    machine: Machine, checks: Sequence[Check], how: str,
    meanwhile: Callable[[], object] = lambda: None,
) -> list[Result]:
    """All at once; fsck itself has those on one disk take turns. `how` is a `mode`."""
    running = [_Running(machine, each, how) for each in checks
               if how != "skip" and _checkable(machine, each)]
    meanwhile()
    left = list(running)
    told = machine.now()
    while left:
        wait([each.child for each in left], 1.0)
        left = [each for each in left if each.child.poll() is None]
        late = machine.now() - told >= _TELL_S
        for each in left:
            each.read()
            if late:
                machine.show(f"boot: {each.words()}")
        if late:
            told = machine.now()
    return [each.result(machine) for each in running]


def _checkable(machine: Machine, each: Check) -> bool:
    programs = ["fsck"] if each.type in ("", "auto") else ["fsck", f"fsck.{each.type}"]
    missing = [name for name in programs if not machine.tools.find(name)]
    if missing:
        machine.tell(f"{each.target} ({each.device}) is not checked: there is no {missing[-1]}")
    return not missing


class _Running:
    def __init__(self, machine: Machine, what: Check, how: str) -> None:
        self.check = what
        self._progress, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        words = ["fsck", "-T", "-l", f"-C{_PROGRESS_FD}"]
        path = os.path.realpath(machine.tools.find("fsck"))
        if os.path.basename(path) == "busybox":  # which has no locks, and no such progress
            words = ["fsck", "-T"]
        words.append(_REPAIR.get(machine.option("fsck.repair") or "preen", "-a"))
        if how == "force":
            words.append("-f")
        self.child: Child = machine.tools.start(
            *words, what.device, extra={_PROGRESS_FD: theirs})
        os.close(theirs)
        self._percent: float | None = None

    def read(self) -> None:
        """How far it is: lines "PASS CURRENT MAXIMUM DEVICE" of e2fsck -C."""
        try:
            lines = os.read(self._progress, 65536).split(b"\n")
        except OSError:
            return
        for line in lines:
            words = line.split()
            if len(words) == 4 and all(word.isdigit() for word in words[:3]):
                turn, now, most = map(int, words[:3])
                if 1 <= turn < len(_PASSES) and most:
                    first, last = _PASSES[turn - 1 : turn + 1]
                    self._percent = first + (last - first) * min(now / most, 1)

    def words(self) -> str:
        far = "" if self._percent is None else f", {self._percent:.0f} %"
        return f"checking {self.check.target} ({self.check.device}){far}"

    def result(self, machine: Machine) -> Result:
        os.close(self._progress)
        ended = self.child.poll()
        assert ended is not None, "it was waited for"  # noqa: S101 - `check` waits for all
        if ended.code or machine.option("fsck.mode") == "force":
            for line in ended.text.splitlines():
                if line.strip():
                    machine.tell(f"fsck {self.check.device}: {line.strip()}")
        return Result(self.check, ended)
