"""File systems that may never answer, asked by a child first.

Law: the manager looks at nothing that could keep it waiting. What is on a mount of a kind that
hangs (a network's, a program's) is looked at by a child, which has a second; the manager looks
where that came back from. A child that the kernel does not let go of is left, and reaped later.
"""
from __future__ import annotations

import os
from contextlib import suppress
from select import POLLIN, poll
from typing import NoReturn

from supervisor.kernel.host import read_long
from supervisor.kernel.sandbox.part import CannotConfine

_PATIENCE_MS = 1000
_SIGKILL = 9
_KINDS = ("fuse", "nfs", "cifs", "smb3", "9p", "ceph", "afs", "autofs")
_MOST_LEFT = 3  # children in one mount; while so many are stuck in it, it is not asked again


class DoesNotAnswer(CannotConfine):
    """The file system that a path is on hangs."""


_mounts: dict[str, str] | None = None  # path -> kind; empty where there is none that hangs
_asked: dict[str, bool] = {}  # mounts, and whether they answered in this plan
_left: list[tuple[str, int]] = []  # mounts, and children that are stuck in them


def forget() -> None:
    """A plan begins: what is mounted, and what of it answers, is asked anew."""
    global _mounts  # noqa: PLW0603 - of one plan, and no two are made at a time
    _mounts = None
    _asked.clear()
    if _left:
        _left[:] = [(mount, pid) for mount, pid in _left if not _ended(pid)]


def must_answer(path: str, key: str) -> None:
    """Raises DoesNotAnswer, with `key`, if looking at this path (no link leads to it) would hang;
    each mount is waited for but once in a plan."""
    global _mounts  # noqa: PLW0603 - as above
    if _mounts is None:
        _mounts = mounts(read_long("/proc/self/mountinfo"))
    if not _mounts:
        return
    mount = path
    while mount not in _mounts and mount != "/":
        mount = mount.rpartition("/")[0] or "/"
    kind = _mounts.get(mount, "")
    if not hangs(kind) or _asked.get(mount) is True:
        return
    if mount not in _asked:
        stuck = sum(where == mount for where, _ in _left)
        _asked[mount] = stuck < _MOST_LEFT and _answers(mount, path)
    if not _asked[mount]:
        raise DoesNotAnswer(
            f"{key}: cannot look at {path}: its file system ({kind} at {mount}) does not answer; "
            "it is tried again at the next start"
        )
    if kind == "autofs":  # each name in it may be a mount of its own, which is there by now
        _mounts = None
        del _asked[mount]


def hangs(kind: str) -> bool:
    """fuseblk, fuse.sshfs, nfs4 too; not fusectl, which is the kernel's."""
    return kind.startswith(_KINDS) and kind not in ("fusectl", "nfsd")


def mounts(mountinfo: str) -> dict[str, str]:
    """What is mounted where; nothing if none of it hangs."""
    found, any_hangs = {}, False
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind = right.partition(" ")[0]
        any_hangs = any_hangs or hangs(kind)
        found[left.split(" ", 5)[4]] = kind  # the last one there is what is seen
    if not any_hangs:
        return {}
    return {_unescaped(path): kind for path, kind in found.items()}


def _unescaped(path: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, char)
    return path


def _answers(mount: str, path: str) -> bool:
    """Whether a child comes back from there in time."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            pid = os.fork()
            if not pid:
                _look(mount, path, writer)
        finally:
            os.close(writer)
        waiting = poll()
        waiting.register(reader, POLLIN)
        if waiting.poll(_PATIENCE_MS):  # its end closes the pipe
            os.waitpid(pid, 0)
            return True
        os.kill(pid, _SIGKILL)
        if not _ended(pid):
            _left.append((mount, pid))
        return False
    finally:
        os.close(reader)


def _look(mount: str, path: str, writer: int) -> NoReturn:
    """In the child. It may stay for ever: nothing of the manager's is kept open by it."""
    try:
        for name in os.listdir("/proc/self/fd"):
            if int(name) != writer:
                with suppress(OSError):  # the list's own is closed already
                    os.close(int(name))
        os.statvfs(mount)  # which no cache answers
        os.lstat(path)
    finally:
        os._exit(0)


def _ended(pid: int) -> bool:
    """Whether it is gone, and reaped."""
    return os.waitpid(pid, os.WNOHANG)[0] != 0
