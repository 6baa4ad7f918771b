"""Runtime directories of a unit that is down: out of the way at once, gone soon after.

Law: nothing goes but what was made for units of this supervisor, and of that it keeps a record. A
directory that was there before, whoever's it is, stays. Nothing is followed, and nobody waits: it
is renamed within its parent, which only root can change (or the user, of his own supervisor); what
is in it, however much, is removed by a process of its own that the keeper reaps. What that one
leaves when it is killed goes with the next.

A record is a file in the supervisor's runtime directory, and is of one directory, by device, inode
and boot: another one in its place is not meant.
"""
from __future__ import annotations

import os

from supervisor.kernel.host import read

_GONE = ".unboxed-gone-"
_REMOVE = f'rm -rf -- "$0"/{_GONE}* &'
_ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


def note(runtime: str, path: str, made: os.stat_result) -> None:
    """`path`: a real one. `runtime`: the supervisor's runtime directory. Raises OSError."""
    os.makedirs(f"{runtime}/made", 0o700, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    fd = os.open(_record(runtime, path), flags, 0o600)
    try:
        os.write(fd, _text(made).encode())
    finally:
        os.close(fd)


def is_ours(runtime: str, path: str, found: os.stat_result) -> bool:
    return read(_record(runtime, path)) == _text(found)


def remove(runtime: str, top: str, names: tuple[str, ...]) -> None:
    """TOP/NAME of each, or where it leads to if it is a dynamic user's (directories.py). Raises
    OSError."""
    private = f"{top}/private"
    for name in names:
        for where in (top, private):
            if not _put_aside(runtime, where, name):
                continue
            if where == private and _leads_to(f"{top}/{name}") == f"private/{name}":
                os.unlink(f"{top}/{name}")
            script = ["sh", "-c", _REMOVE, where]
            os.waitpid(os.posix_spawn("/bin/sh", script, _ENV, setsigmask=(), setpgroup=0), 0)


def _put_aside(runtime: str, top: str, name: str) -> bool:
    """Whether there was one of ours."""
    path = f"{top}/{name}"
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return False
    if not is_ours(runtime, path, info):
        return False
    os.rename(path, f"{top}/{_GONE}{os.urandom(8).hex()}")
    os.unlink(_record(runtime, path))
    return True


def _leads_to(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""  # no link


def _record(runtime: str, path: str) -> str:
    return f"{runtime}/made/{path.strip('/').replace('/', '@')}"


def _text(info: os.stat_result) -> str:
    return f"{info.st_dev} {info.st_ino} {read('/proc/sys/kernel/random/boot_id').strip()}\n"
