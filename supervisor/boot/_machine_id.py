"""/etc/machine-id (machine-id(5)): made once, then never changed.

Missing, empty or "uninitialized" (an image before its first boot): taken from the kernel command
line (systemd.machine_id=), from D-Bus's if that has one of its own, else made of random bits. Where
/etc cannot be written, it is for this boot, and mounted over the file.
"""
from __future__ import annotations

import os

from supervisor.boot._machine import Machine

PATH = "/etc/machine-id"
DBUS = "/var/lib/dbus/machine-id"  # Debian's is a link to PATH; an older one is a file
TRANSIENT = "/run/machine-id"
FIRST_BOOT = "/run/unboxed/first-boot"  # there: conditions.first_boot holds for all of this boot
_DIGITS = "0123456789abcdef"
_MOUNT_S = 30.0


def ensure(machine: Machine) -> None:
    text = machine.read(PATH)
    if valid(text):
        return
    _remember_first_boot(machine)
    given = (machine.option("systemd.machine_id") or "").replace("-", "")
    own = "" if os.path.islink(machine.path(DBUS)) else machine.read(DBUS).strip()
    made = next((each for each in (given, own) if valid(each)), "") or _random()
    try:
        _write(machine.path(PATH), made)
    except OSError as error:
        _mount_over(machine, made, (error.strerror or str(error)).lower())
    else:
        machine.tell(f"machine id: {made} in {PATH}, from now on")


def valid(text: str) -> bool:
    made = text.removesuffix("\n")
    return len(made) == 32 and not made.strip(_DIGITS) and bool(made.strip("0"))


def _random() -> str:
    """A random UUID (version 4), as machine-id(5) wants it."""
    bits = bytearray(os.urandom(16))
    bits[6] = bits[6] & 0x0F | 0x40
    bits[8] = bits[8] & 0x3F | 0x80
    return bits.hex()


def _write(path: str, made: str) -> None:
    """Whole or not at all, also when power fails."""
    beside = f"{path}.new"
    fd = os.open(beside, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC,
                 0o444)
    try:
        os.write(fd, f"{made}\n".encode())
        os.fchmod(fd, 0o444)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(beside, path)


def _mount_over(machine: Machine, made: str, reason: str) -> None:
    transient = machine.path(TRANSIENT)
    try:
        _write(transient, made)
    except OSError as error:
        machine.warn(f"cannot make a machine id: {error}; there is none in this boot")
        return
    if not machine.exists(PATH):
        machine.warn(f"cannot keep a machine id: {PATH}: {reason}, and there is no such file to"
                     f" mount one over; it is in {TRANSIENT} for this boot")
        return
    ended = machine.tools.run("mount", "--bind", transient, machine.path(PATH), timeout_s=_MOUNT_S)
    if ended.code:
        machine.warn(f"cannot mount a machine id over {PATH}: {ended.words()}; there is none in"
                     " this boot")
        return
    machine.tell(f"machine id: {made} for this boot only: {PATH}: {reason}")


def _remember_first_boot(machine: Machine) -> None:
    path = machine.path(FIRST_BOOT)
    try:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    except OSError:
        pass  # then the condition is what the file says: no first boot any more
