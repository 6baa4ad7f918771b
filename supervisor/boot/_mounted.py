"""What is mounted: /proc/self/mountinfo, of which the last entry of a directory is what is seen."""
from __future__ import annotations

from supervisor.boot._fstab import unescaped
from supervisor.boot._machine import Machine


class Mount:
    """`options`: of the mount and of its file system, both as the kernel tells them. `number`: of
    its device, "MAJOR:MINOR"."""

    def __init__(
        self, number: str, target: str, kind: str, source: str, options: frozenset[str],
    ) -> None:
        self.number = number
        self.target = target
        self.type = kind
        self.source = source
        self.options = options

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
        found.append(Mount(words[2], unescaped(words[4]), rest[0], unescaped(rest[1]),
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

