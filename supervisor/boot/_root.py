"""The root file system, and what the keeper mounted, as fstab wants them: mounted anew, in place.

Law: a root file system that stays read-only is told, and survived. One without a disk of its own
(that of a host, of a container, of an initramfs) is as its owner made it, unless fstab names it by
its type.
"""
from __future__ import annotations

from supervisor.boot._fstab import Entry
from supervisor.boot._machine import Machine
from supervisor.boot._mounted import Mount, seen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# Types that cannot be written to, or are whatever somebody outside of this machine decided.
_AS_IT_IS = frozenset((
    "9p", "cramfs", "erofs", "hostfs", "iso9660", "nfs", "nfs4", "overlay", "ramfs", "romfs",
    "rootfs", "squashfs", "tmpfs", "udf", "virtiofs",
))
# The keeper mounts these, or an initramfs did, before anybody could read fstab.
_EARLY = frozenset((
    "/dev", "/dev/pts", "/dev/shm", "/proc", "/run", "/run/lock", "/sys",  # noqa: S108 - of the machine
    "/sys/fs/cgroup", "/usr",
))
_FOR_PROGRAMS = frozenset((  # options that the kernel does not know, or says otherwise
    "_netdev", "async", "atime", "auto", "defaults", "dev", "diratime", "exec", "loud", "noauto",
    "nofail", "nouser", "owner", "suid", "user", "users", "group",
))
_REMOUNT_S = 90.0


def remount(machine: Machine, entries: Sequence[Entry]) -> list[str]:
    """What was done and what could not be, in words."""
    there = seen(machine)
    said = []
    root = there.get("/")
    if root:
        said += _root(machine, root, next((e for e in entries if e.target == "/"), None))
    for entry in entries:
        mount = there.get(entry.target)
        if mount and entry.target in _EARLY and not _holds(entry, mount):
            ended = machine.tools.run(
                "mount", "-o", _options(entry), entry.target, timeout_s=_REMOUNT_S)
            said.append(
                f"cannot mount {entry.target} anew with {','.join(entry.options)}:"
                f" {ended.words()}; it stays as it is" if ended.code
                else f"{entry.target} as fstab says")
    return said


def _root(machine: Machine, mount: Mount, entry: Entry | None) -> list[str]:
    if mount.type in _AS_IT_IS and (entry is None or entry.type != mount.type):
        state = "read-only" if mount.read_only else "read-write"
        return [f"root is {mount.type}, {state}: left as it is"]
    stays = entry is not None and entry.has("ro")
    how = "read-only" if stays else "read-write"
    if _holds(entry, mount) if entry else not mount.read_only:
        return [f"root is {how}" + (", as fstab says" if stays else "")]
    ended = machine.tools.run(
        "mount", "-o", _options(entry) if entry else "remount,rw", "/", timeout_s=_REMOUNT_S)
    if ended.code == 0:
        return [f"root is {how} now"]
    now = seen(machine).get("/", mount)
    state = "read-only" if now.read_only else "read-write"
    why = f"cannot mount / anew {how}: {ended.words()}"
    return [f"root {state}: {why}; the boot goes on with it as it is"]


def _options(entry: Entry) -> str:
    """All of them in so many words: not every mount(8) merges those of fstab into a remount."""
    options = [each for each in entry.options if each not in _FOR_PROGRAMS
               and not each.startswith(("x-", "X-", "comment="))]
    if "ro" not in options and "rw" not in options:
        options.append("rw")
    return ",".join(["remount", *options])


def _holds(entry: Entry, mount: Mount) -> bool:
    """Whether it has all of its options already."""
    return all(each in mount.options for each in _options(entry).split(",")[1:] if each != "rw") \
        and (entry.has("ro") or not mount.read_only)
