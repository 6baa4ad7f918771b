"""How far the kernel's log was read: a small file, "BOOTID SEQUENCE", in the state directory.

Law: it is written after the lines were, in place and with one write, so a reader that is killed may
tell the last few records once more (their `seq` says so), but never leaves one out.
"""
from __future__ import annotations

import os

_BOOT = "/proc/sys/kernel/random/boot_id"
_FORMAT = "{} {:020d}\n"


class Cursor:
    """`sequence` of the last record that was told, -1 for none of this boot. `path` "": it is not
    kept."""

    def __init__(self, path: str, boot: str | None = None) -> None:
        """Raises OSError."""
        self.sequence = -1
        self._boot = _boot() if boot is None else boot
        self._fd = -1
        if path:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            words = os.pread(self._fd, 256, 0).decode("ascii", "replace").split()
            if len(words) == 2 and words[0] == self._boot and words[1].isdigit():
                self.sequence = int(words[1])

    def save(self, sequence: int) -> None:
        if self._fd >= 0 and sequence != self.sequence:
            os.pwrite(self._fd, _FORMAT.format(self._boot, sequence).encode(), 0)
        self.sequence = sequence

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _boot() -> str:
    with open(_BOOT, encoding="ascii") as file:
        return file.read().strip()
