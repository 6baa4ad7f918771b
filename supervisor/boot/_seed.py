"""The random seed: what the kernel's generator had gathered goes on over a boot.

Law: a seed is used once. When it is loaded, a new one takes its place on the disk first, so that a
power failure, or a second boot from the same disk, never finds the old one again. It counts as
entropy only if this very machine saved it while it was shut down in order: its mark is an extended
attribute with the machine's id, which neither cp nor an image builder copies, and which another
machine's id makes void. The rule is systemd's (systemd-random-seed.service(8)); the file is ours.
"""
from __future__ import annotations

import os
import stat
import struct
from _blake2 import blake2b
from fcntl import ioctl

from supervisor.boot._machine import Machine
from supervisor.boot._machine_id import PATH as MACHINE_ID
from supervisor.boot._machine_id import valid

PATH = "/var/lib/unboxed/random-seed"
MARK = "user.unboxed.saved-by"
BYTES = 512
_LARGEST_BYTES = 4096
_RNDADDENTROPY = 0x40085203  # linux/random.h: _IOW('R', 0x03, int[2])


def load(machine: Machine) -> str:
    """Give it to the kernel. What was done, in words; raises OSError."""
    try:
        fd = _open(machine, os.O_RDWR)
    except FileNotFoundError:
        save(machine, marked=False)
        return "random seed: there was none; one is made"
    except OSError as error:
        return _unsafe(machine, error)
    try:
        old = os.read(fd, _LARGEST_BYTES)
        ours = _mark(fd)
        _replace(machine, fd, old)
    finally:
        os.close(fd)
    me = machine.read(MACHINE_ID).strip()
    counts = bool(ours) and valid(me) and ours == me and len(old) == BYTES
    _feed(machine, old, counts)
    if not old:
        return "random seed: it was empty; one is made"
    return f"random seed: {len(old)} bytes" + ("" if counts else
                                               ", which do not count: no shutdown of this machine"
                                               " had saved them")


def save(machine: Machine, *, marked: bool) -> None:
    """At the end of a machine's run. `marked`: it may count next time. Raises OSError."""
    path = machine.path(PATH)
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    fd = _open(machine, os.O_RDWR | os.O_CREAT)
    try:
        _replace(machine, fd, os.read(fd, _LARGEST_BYTES))
        me = machine.read(MACHINE_ID).strip()
        if marked and valid(me):
            os.setxattr(fd, MARK, me.encode())
            os.fsync(fd)
    finally:
        os.close(fd)


def _open(machine: Machine, flags: int) -> int:
    fd = os.open(machine.path(PATH), flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        raise OSError(0, "it is no file", PATH)
    return fd


def _unsafe(machine: Machine, error: OSError) -> str:
    """It cannot be replaced (a read-only disk): it does good, and never counts."""
    reason = (error.strerror or str(error)).lower()
    try:
        fd = _open(machine, os.O_RDONLY)
    except OSError:
        return f"random seed: cannot read {PATH}: {reason}"
    try:
        _feed(machine, os.read(fd, _LARGEST_BYTES), counts=False)
    finally:
        os.close(fd)
    return f"random seed: used, but it does not count: it cannot be replaced: {reason}"


def _mark(fd: int) -> str:
    try:
        return os.getxattr(fd, MARK).decode(errors="replace")
    except OSError:
        return ""


def _replace(machine: Machine, fd: int, old: bytes) -> None:
    """A new seed, made of the kernel's randomness and of the old one: never worth less than that.
    Its mark goes first."""
    try:
        os.removexattr(fd, MARK)
    except OSError:
        pass  # it had none, or this file system has none at all
    with open(machine.path("/dev/urandom"), "rb", buffering=0) as source:
        fresh = source.read(BYTES)
    new = b"".join(
        blake2b(old + part.to_bytes(4, "little") + fresh).digest() for part in range(BYTES // 64))
    os.fchmod(fd, 0o600)
    os.pwrite(fd, new, 0)
    os.ftruncate(fd, BYTES)
    os.fsync(fd)


def _feed(machine: Machine, seed: bytes, counts: bool) -> None:
    if not seed:
        return
    with open(machine.path("/dev/urandom"), "wb", buffering=0) as pool:
        if counts:
            try:
                ioctl(pool.fileno(), _RNDADDENTROPY,
                      struct.pack("=ii", len(seed) * 8, len(seed)) + seed)
            except OSError as error:
                machine.warn(f"random seed: the kernel does not count it: {error.strerror}")
            else:
                return
        pool.write(seed)
