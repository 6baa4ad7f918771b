"""LOGDIR/.boots: which boots of the machine have been logging here, and when each began.

    BOOTID REALTIME_NS        one line for each boot, oldest first

The time is the kernel's start, not the first logger's, which first stores what was said before.

Law: a line is on disk before anything is noted under its number, so that what was noted before a
power failure is told from what comes after it.
"""
from __future__ import annotations

import errno
import posix
import time

from supervisor.logger.form import BOOTS

BOOT_ID = "/proc/sys/kernel/random/boot_id"
MODE = 0o640
OPEN = posix.O_RDWR | posix.O_CREAT | posix.O_APPEND | posix.O_NOFOLLOW | posix.O_CLOEXEC
BLOCK_BYTES = 64 << 10
NUMBERS = (1 << 15) - 1  # as many as the index has bits for; then they begin anew


def number(home: int, boot_id: str = "") -> int:
    """The number of this boot in the log directory `home`, 1 or more, after adding its line if it
    is a new one; 0 if nobody can tell which boot this is. Raises OSError if there is no space."""
    boot_id = boot_id or _this_boot()
    if not boot_id:
        return 0
    fd = posix.open(BOOTS, OPEN, MODE, dir_fd=home)
    try:
        text = b""
        while block := posix.read(fd, BLOCK_BYTES):
            text += block
        lines = [line for line in text.split(b"\n") if len(line.split()) == 2]
        if not lines or lines[-1].split()[0] != boot_id.encode():
            torn = b"" if text.endswith(b"\n") or not text else b"\n"
            began_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            line = b"%s%s %d\n" % (torn, boot_id.encode(), began_ns)
            if posix.write(fd, line) != len(line):
                raise OSError(errno.ENOSPC, "no space left for the list of boots")
            posix.fsync(fd)
            posix.fsync(home)
            lines.append(b"")
    finally:
        posix.close(fd)
    return (len(lines) - 1) % NUMBERS + 1


def _this_boot() -> str:
    try:
        fd = posix.open(BOOT_ID, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return posix.read(fd, 64).decode("ascii", "replace").strip()
    finally:
        posix.close(fd)
