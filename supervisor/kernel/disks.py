"""Which disk holds a path: the kernel throttles whole disks, not partitions or directories."""
from __future__ import annotations

import os
from stat import S_ISBLK

from supervisor.kernel.host import read, read_long
from supervisor.kernel.limits import Unenforceable


def device_of(path: str, proc: str = "/proc", sys: str = "/sys") -> str:
    """MAJOR:MINOR of the disk of `path`, which may be its device itself. Raises Unenforceable."""
    try:
        found = os.stat(path)
    except OSError as exc:
        raise Unenforceable(f"cannot look at {path}: {exc.strerror}") from exc
    number = found.st_rdev if S_ISBLK(found.st_mode) else found.st_dev
    if not os.major(number):  # btrfs and others: the mount says which device it is on
        number = _mounted(os.path.realpath(path), proc)
    name = f"{os.major(number)}:{os.minor(number)}"
    if not number or not os.path.isdir(f"{sys}/dev/block/{name}"):
        raise Unenforceable(f"{path} is on no disk (a file system in memory, or of others)")
    if os.path.exists(f"{sys}/dev/block/{name}/partition"):
        return read(f"{sys}/dev/block/{name}/../dev").strip() or name
    return name


def _mounted(path: str, proc: str) -> int:
    """The device behind the deepest mount that holds `path`, 0 if it has none."""
    best, source = "", ""
    for line in read_long(f"{proc}/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        point = left.split()[4].replace("\\040", " ")
        if (path + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best):
            best, source = point, right.split()[1]
    try:
        found = os.stat(source) if source.startswith("/") else None
    except OSError:
        return 0
    return found.st_rdev if found is not None and S_ISBLK(found.st_mode) else 0
