"""Directories and links that programs of a Debian system find at every boot.

What packages ask for in tmpfiles.d, systemd-tmpfiles makes, if that is installed (unit tmpfiles).
This is what is there without it, and what must be there before. /run/systemd/system is not made:
it would say that systemd runs this machine.
"""
from __future__ import annotations

import os

from supervisor.boot._machine import Machine
from supervisor.boot._mounted import mounts

TMPFILES = ("/usr/bin/systemd-tmpfiles", "/bin/systemd-tmpfiles")


class Place:
    def __init__(self, path: str, mode: int, owner: str = "root", group: str = "root") -> None:
        self.path = path
        self.mode = mode
        self.owner = owner
        self.group = group


_ALWAYS = (
    Place("/run/lock", 0o1777), Place("/run/user", 0o755), Place("/run/sshd", 0o755),
    Place("/run/systemd/journal", 0o755),  # the journal's socket
    Place("/tmp", 0o1777), Place("/var/tmp", 0o1777),  # noqa: S108 - it is these directories that are made
    Place("/var/lib/unboxed", 0o755),
)
# Of daemons that do not make these themselves; each only where its user is.
_OF_USERS = (
    Place("/run/postgresql", 0o2775, "postgres", "postgres"),
    Place("/run/redis", 0o2755, "redis", "redis"),
    Place("/run/dbus", 0o755, "messagebus", "messagebus"),
)
_LINKS = (
    ("/dev/fd", "/proc/self/fd"), ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"), ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
    ("/var/run", "/run"), ("/var/lock", "/run/lock"), ("/run/shm", "/dev/shm"),  # noqa: S108 - names of the system
)
_KEPT = frozenset(("lost+found", ".X11-unix", ".ICE-unix", ".font-unix", ".XIM-unix"))


def make(machine: Machine) -> list[str]:
    """What could not be made, in words."""
    problems = []
    for place in (*_ALWAYS, *_OF_USERS):
        try:
            _directory(machine, place)
        except OSError as error:
            problems.append(f"cannot make {place.path}: {(error.strerror or str(error)).lower()}")
    for path, target in _LINKS:
        try:
            os.symlink(target, machine.path(path))
        except FileExistsError:
            pass
        except OSError as error:
            if machine.exists(os.path.dirname(path)):
                problems.append(f"cannot link {path}: {(error.strerror or str(error)).lower()}")
    return problems


def _directory(machine: Machine, place: Place) -> None:
    uid = machine.id_of(place.owner, "/etc/passwd")
    gid = machine.id_of(place.group, "/etc/group")
    if uid is None or gid is None:
        return
    path = machine.path(place.path)
    if os.path.islink(path):
        return  # as somebody wanted it
    os.makedirs(path, 0o755, exist_ok=True)
    found = os.stat(path)
    if found.st_mode & 0o7777 != place.mode:
        os.chmod(path, place.mode)
    if (found.st_uid, found.st_gid) != (uid, gid):
        os.chown(path, uid, gid)


def clean_tmp(machine: Machine) -> int:
    """What an earlier boot left in /tmp goes, as Debian's tmpfiles.d has it; returns how much could
    not. Not where systemd-tmpfiles does this, nor anything in which something is mounted: that may
    be a directory of the same disk (bind)."""
    if any(machine.exists(each) for each in TMPFILES):
        return 0
    from shutil import rmtree

    left = 0
    folder = machine.path("/tmp")  # noqa: S108 - it is this directory that is cleaned
    inside = machine.real("/tmp") + "/"  # noqa: S108 - as above
    kept = _KEPT.union(each.target.removeprefix(inside).partition("/")[0]
                       for each in mounts(machine) if each.target.startswith(inside))
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name in kept:
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    rmtree(entry.path)
                else:
                    os.unlink(entry.path)
            except OSError:
                left += 1
    return left
