"""The clock is never earlier than the last thing that is known to have happened.

A machine without a battery-backed clock starts in 1970, and certificates, make and fsck mislike
that. The kernel has read the hardware clock itself by now; if /etc/adjtime says that this one keeps
local time, `hwclock --systz` tells the kernel so. A time server corrects the rest, later.
"""
from __future__ import annotations

import os
import time

from supervisor.boot._machine import Machine

STAMP = "/var/lib/unboxed/clock"  # its time of change: the machine was running then
_OTHERS = ("/var/lib/systemd/timesync/clock",)
RELEASED_S = 1782864000  # 2026-07-01: this code is not older
_HWCLOCK_S = 15.0


def early(machine: Machine) -> None:
    """Before file systems are looked at."""
    if local_hardware_clock(machine) and machine.once("clock"):
        ended = machine.tools.run("hwclock", "--systz", timeout_s=_HWCLOCK_S)
        machine.tell("clock: hardware clock keeps local time (/etc/adjtime)" if ended.code == 0
                     else f"cannot tell the kernel that the hardware clock keeps local time:"
                     f" {ended.words()}; times are wrong by the time zone until a time server"
                     " corrects them")
    forward(machine)


def local_hardware_clock(machine: Machine) -> bool:
    lines = machine.read("/etc/adjtime").splitlines()
    return len(lines) > 2 and lines[2].strip() == "LOCAL"


def forward(machine: Machine) -> None:
    """Set the clock to the latest time that is known, if it is before that."""
    known = max(RELEASED_S, *(_changed_s(machine, path) for path in (STAMP, *_OTHERS)))
    now = machine.wall_s()
    if now >= known:
        return
    try:
        machine.set_wall_s(known)
    except OSError as error:
        machine.warn(f"cannot set the clock, which is before {_date(known)}: {error.strerror};"
                     " it goes on from there")
        return
    machine.tell(f"clock: it was {_date(now)}, which is past; it is {_date(known)} now")


def stamp(machine: Machine) -> None:
    """Note that it is now. Raises OSError."""
    path = machine.path(STAMP)
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        os.utime(fd, (machine.wall_s(),) * 2)
    finally:
        os.close(fd)


def _changed_s(machine: Machine, path: str) -> float:
    try:
        return os.lstat(machine.path(path)).st_mtime
    except OSError:
        return 0.0


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
