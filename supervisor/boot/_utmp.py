"""Records of boots and shutdowns in utmp and wtmp (utmp(5)), which `who -b` and `last` read.

/run/utmp is made; /var/log/wtmp is written if it is there, since whoever deletes it wants none.
"""
from __future__ import annotations

import os
import struct

from supervisor.boot._machine import Machine

UTMP, WTMP = "/run/utmp", "/var/log/wtmp"
_RUN_LVL, _BOOT_TIME = 1, 2
# glibc's struct utmp: where a 64-bit system also runs 32-bit programs, times are 32 bits in both.
_COMPATIBLE = struct.Struct("=hxxi32s4s32s256shhiii16s20x")
_WIDE = struct.Struct("=hxxi32s4s32s256shhqqq16s24x")
_LEVEL = ord("3")  # multi-user, as systemd says it; the one before counts as none


def record() -> struct.Struct:
    return _WIDE if os.uname().machine in ("aarch64", "aarch64_be") else _COMPATIBLE


def booted(machine: Machine) -> None:
    """Raises OSError."""
    began = _boot_s(machine)
    _make_utmp(machine)
    entry = _entry(_BOOT_TIME, "reboot", 0, began)
    level = _entry(_RUN_LVL, "runlevel", _LEVEL, machine.wall_s())
    _append(machine, UTMP, entry + level)
    _append(machine, WTMP, entry + level)


def shut_down(machine: Machine) -> None:
    """Raises OSError."""
    _append(machine, WTMP, _entry(_RUN_LVL, "shutdown", 0, machine.wall_s()))


def _make_utmp(machine: Machine) -> None:
    """Anew: what is in it is of another boot."""
    fd = os.open(machine.path(UTMP), os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW
                 | os.O_CLOEXEC, 0o664)
    try:
        os.fchmod(fd, 0o664)
        gid = machine.id_of("utmp", "/etc/group")
        if gid is not None:  # else root alone writes it
            os.fchown(fd, 0, gid)
    finally:
        os.close(fd)


def _append(machine: Machine, path: str, data: bytes) -> None:
    try:
        fd = os.open(machine.path(path), os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def _entry(kind: int, user: str, pid: int, seconds: float) -> bytes:
    """As sysvinit and systemd write them: line "~", id "~~", the kernel's release as the host."""
    whole, part = divmod(int(seconds * 1_000_000), 1_000_000)
    return record().pack(kind, pid, b"~", b"~~", user.encode(), os.uname().release.encode()[:255],
                         0, 0, 0, whole, part, b"")


def _boot_s(machine: Machine) -> float:
    """When the kernel started."""
    for line in machine.read("/proc/stat").splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return machine.wall_s()
