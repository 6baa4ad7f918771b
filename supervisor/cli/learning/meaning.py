"""What a system call means for files and sockets, by its arguments: tables, no effects.

Law: what a call does to a path is one of five. "look": the path has to be there. "read" and
"write": its content, and for "write" its attributes too. "make": an entry of its directory comes,
goes, or changes its name. "exec": it is started. What only uses descriptors says nothing new.
"""
from __future__ import annotations

from typing import NamedTuple

from supervisor.kernel.seccomp import argument as a

_O_PATH = 0o10000000
_O_NOFOLLOW = {"x86_64": 0o400000, "aarch64": 0o100000}
_O_EXCL = 0o200
_SYMLINK_NOFOLLOW, _SYMLINK_FOLLOW = 0x100, 0x400  # AT_...
HERE = -1  # no directory argument: the working directory


class Place(NamedTuple):
    """`directory` and `path`: which arguments; `follow`: through a link at its end. `path` HERE:
    what the descriptor `directory` is."""

    directory: int
    path: int
    use: str
    follow: bool = True


class Named(NamedTuple):
    """A socket's address: which arguments. `use`: "bind", "connect"."""

    address: int
    size: int
    use: str


def _rows(text: str, *places: Place) -> dict[str, tuple[Place, ...]]:
    return dict.fromkeys(text.split(), places)


_PLACES: dict[str, tuple[Place, ...]] = {
    **_rows(
        "stat access statfs chdir getxattr listxattr name_to_handle_at", Place(HERE, 0, "look")),
    **_rows("lstat readlink lgetxattr llistxattr", Place(HERE, 0, "look", follow=False)),
    **_rows("newfstatat statx faccessat faccessat2 getxattrat listxattrat file_getattr",
            Place(0, 1, "look")),
    "readlinkat": (Place(0, 1, "look", follow=False),),
    "inotify_add_watch": (Place(HERE, 1, "read"),),
    **_rows("truncate chmod chown utime utimes setxattr removexattr", Place(HERE, 0, "write")),
    **_rows("lchown lsetxattr lremovexattr", Place(HERE, 0, "write", follow=False)),
    **_rows("fchmodat fchmodat2 fchownat futimesat utimensat setxattrat removexattrat "
            "file_setattr", Place(0, 1, "write")),
    **_rows("fchmod fchown fsetxattr fremovexattr", Place(0, HERE, "write")),
    **_rows("mkdir rmdir unlink mknod", Place(HERE, 0, "make", follow=False)),
    **_rows("mkdirat unlinkat mknodat", Place(0, 1, "make", follow=False)),
    "rename": (Place(HERE, 0, "make", follow=False), Place(HERE, 1, "make", follow=False)),
    **_rows("renameat renameat2", Place(0, 1, "make", follow=False),
            Place(2, 3, "make", follow=False)),
    "link": (Place(HERE, 0, "read", follow=False), Place(HERE, 1, "make", follow=False)),
    "linkat": (Place(0, 1, "read", follow=False), Place(2, 3, "make", follow=False)),
    "symlink": (Place(HERE, 1, "make", follow=False),),
    "symlinkat": (Place(1, 2, "make", follow=False),),
    "execve": (Place(HERE, 0, "exec"),),
    "execveat": (Place(0, 1, "exec"),),
}  # fmt: skip
_OPENS = {"open": (HERE, 0, 1), "openat": (0, 1, 2), "creat": (HERE, 0, -1)}
_NOFOLLOW_FLAG = {  # the argument with AT_SYMLINK_NOFOLLOW
    "newfstatat": 3, "statx": 2, "faccessat2": 3, "fchmodat2": 3, "fchownat": 4, "utimensat": 3,
    "execveat": 4,
}  # fmt: skip
_NAMED = {
    "bind": Named(1, 2, "bind"), "connect": Named(1, 2, "connect"),
    "sendto": Named(4, 5, "connect"),
}  # fmt: skip
# Calls that say nothing of the socket's family by their arguments: the descriptor has to be asked.
ON_SOCKETS = frozenset(("listen", "sendmsg", "recvmsg", "sendmmsg", "recvmmsg"))
MESSAGES = {"sendmsg": "connect", "sendmmsg": "connect"}  # argument 1: struct msghdr


def places(call: str, args: tuple[int, ...], arch: str = "x86_64") -> tuple[Place, ...]:
    """What it does to which paths. A file that is opened may be in several of the rows."""
    if call in _OPENS:
        directory, path, at = _OPENS[call]
        flags = args[at] if at >= 0 else a.O_WRONLY | a.O_CREAT | a.O_TRUNC
        follow = not (flags & _O_NOFOLLOW[arch] or (flags & a.O_CREAT and flags & _O_EXCL))
        return tuple(Place(directory, path, use, follow) for use in opening(flags))
    found = _PLACES.get(call, ())
    at = _NOFOLLOW_FLAG.get(call, -1)
    if at >= 0 and args[at] & _SYMLINK_NOFOLLOW:
        return tuple(one._replace(follow=False) for one in found)
    if call == "linkat" and args[4] & _SYMLINK_FOLLOW:
        return (found[0]._replace(follow=True), *found[1:])
    return found


def opening(flags: int) -> tuple[str, ...]:
    """The uses of a path that is opened with these flags. "make" comes last: it counts only where
    the file is not there yet."""
    if flags & _O_PATH:
        return ("look",)
    mode = flags & a.O_ACCMODE
    found = [] if mode == a.O_WRONLY else ["read"]
    if mode != a.O_RDONLY or flags & a.O_TRUNC:
        found.append("write")
    if flags & a.O_CREAT:
        found.append("make")
    return tuple(found)


def named(call: str) -> Named | None:
    return _NAMED.get(call)
