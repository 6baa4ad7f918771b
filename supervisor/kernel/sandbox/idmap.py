"""Whose a directory of a dynamic user is on disk, and how it is the unit's while that runs.

On disk all of them belong to STORED, an id that nothing runs as, below a directory that only root
may enter. The unit gets a mount of its directory in which STORED is seen as the unit's id of today.
So an id that is dealt out again finds no file of its former owner, and no file ever changes hands.
"""
from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket, socketpair
from collections.abc import Callable
from typing import NoReturn

from supervisor.kernel.host import read_long
from supervisor.kernel.sandbox.mounts import is_below
from supervisor.kernel.sandbox.part import CannotConfine, Context

STORED = 65520  # behind the ids that are dealt out; nobody's by systemd's list of ids
_CLONE_NEWUSER = 0x10000000
# File systems that can be mounted so, since which Linux.
_SINCE = {
    "ext2": (5, 12), "ext3": (5, 12), "ext4": (5, 12), "xfs": (5, 12), "vfat": (5, 12),
    "btrfs": (5, 15), "erofs": (5, 19), "f2fs": (5, 18), "squashfs": (6, 2), "tmpfs": (6, 3),
    "ceph": (6, 7), "bcachefs": (6, 10),
}  # fmt: skip


def possible(path: str, ctx: Context) -> bool:
    """Whether the kernel can map ids in a mount of what is at this path."""
    if not ctx.facts.root or not ctx.facts.user_namespaces:
        return False
    return ctx.facts.kernel >= _SINCE.get(kind_at(path, read_long("/proc/self/mountinfo")), (99, 0))


def kind_at(path: str, mountinfo: str) -> str:
    """The type of the file system that is mounted there."""
    best, found = "", ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        point = left.split()[4].replace("\\040", " ")
        if is_below(path, point) and len(point) >= len(best):
            best, found = point, right.split(" ", 1)[0]
    return found


def target(taken: tuple[int, ...]) -> int:
    """The descriptor under which a plan has the user namespace for a while; the unit's own are
    `taken`."""
    return next(number for number in range(100, 256) if number not in taken)


def stored(uid: int, gid: int) -> tuple[str, Callable[[], int]]:
    """The name under which the keeper has the namespace that maps STORED to these, and how it is
    made."""
    return f"idmap:{uid}:{gid}", lambda: namespace(uid, gid)


def namespace(uid: int, gid: int) -> int:
    """A descriptor of a user namespace, without processes, in which STORED is this user and group
    of ours. Raises CannotConfine."""
    ours, theirs = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        pid = os.fork()
        if not pid:
            _stay(ours, theirs)
        theirs.close()
        try:
            return _mapped(ours, pid, uid, gid)
        except OSError as exc:
            raise CannotConfine(f"sandbox.state: cannot map its owner: {exc.strerror}") from exc
        finally:
            ours.close()  # with that it ends
            os.waitpid(pid, 0)
    finally:
        ours.close()
        theirs.close()


def _stay(ours: socket, theirs: socket) -> NoReturn:
    """The child: in a namespace of its own until that is open elsewhere."""
    try:
        ours.close()
        theirs.send(b"." if _unshare() else b"!")
        theirs.recv(1)
    finally:
        os._exit(0)


def _mapped(ours: socket, pid: int, uid: int, gid: int) -> int:
    if ours.recv(1) != b".":
        raise CannotConfine(
            "sandbox.state: cannot map its owner: the kernel made no user namespace; write `user`"
        )
    for kind, number in (("uid", uid), ("gid", gid)):
        fd = os.open(f"/proc/{pid}/{kind}_map", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, f"{STORED} {number} 1\n".encode())
        finally:
            os.close(fd)
    return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)


def _unshare() -> bool:
    """In the child, which may load what the supervisor does without."""
    import ctypes

    return bool(ctypes.CDLL(None).unshare(_CLONE_NEWUSER) == 0)
