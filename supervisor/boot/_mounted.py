"""What is mounted: /proc/self/mountinfo, of which the last entry of a directory is what is seen."""
from __future__ import annotations

import re
from typing import NamedTuple

from supervisor.boot._machine import Machine

_ESCAPE = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """`options`: of the mount and of its file system, both as the kernel tells them."""

    number: str  # MAJOR:MINOR
    target: str
    type: str
    source: str
    options: frozenset[str]

    @property
    def read_only(self) -> bool:
        return "ro" in self.options


def mounts(machine: Machine) -> list[Mount]:
    """In the order in which they were made."""
    found = []
    for line in machine.read("/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        words, rest = before.split(), after.split()
        if len(words) < 6 or len(rest) < 2:
            continue
        own = words[5].split(",")
        of_system = rest[2].split(",") if len(rest) > 2 else []
        found.append(Mount(words[2], _plain(words[4]), rest[0], _plain(rest[1]),
                           frozenset((*own, *of_system))))
    return found


def seen(machine: Machine) -> dict[str, Mount]:
    """What is on top, by its directory."""
    return {each.target: each for each in mounts(machine)}


def device(machine: Machine, mount: Mount) -> str:
    """The device that it is on: the kernel's name for it, since a source may be "/dev/root"."""
    for line in machine.read(f"/sys/dev/block/{mount.number}/uevent").splitlines():
        if line.startswith("DEVNAME="):
            return "/dev/" + line.removeprefix("DEVNAME=")
    return mount.source if mount.source.startswith("/dev/") else ""


def _plain(word: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), word)
