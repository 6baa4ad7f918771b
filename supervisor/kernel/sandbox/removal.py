"""Runtime directories of a unit that is down: out of the way at once, gone soon after.

Law: nothing is followed, and nobody waits. A directory is renamed within its parent, which only
root can change (or the user, of his own supervisor); what is in it, however much, is removed by a
process of its own that the keeper reaps. What that one leaves when it is killed goes with the next.
"""
from __future__ import annotations

import os
import stat

_GONE = ".unboxed-gone-"
_REMOVE = f'rm -rf -- "$0"/{_GONE}* &'
_ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


def remove(top: str, names: tuple[str, ...]) -> None:
    """TOP/NAME of each, and where it leads to if it is a dynamic user's (directories.py). Raises
    OSError."""
    for name in names:
        private = f"{top}/private"
        try:
            link = os.readlink(f"{top}/{name}") == f"private/{name}"
        except OSError:
            link = False  # a directory, or nothing
        if link:
            os.unlink(f"{top}/{name}")
        if _put_aside(private if link else top, name):
            script = ["sh", "-c", _REMOVE, private if link else top]
            os.waitpid(os.posix_spawn("/bin/sh", script, _ENV, setsigmask=(), setpgroup=0), 0)


def _put_aside(top: str, name: str) -> bool:
    """Whether there was one. A directory of root's that we have not made is not the unit's: that
    has the mode with which we make them."""
    try:
        info = os.lstat(f"{top}/{name}")
    except FileNotFoundError:
        return False
    mine = info.st_uid != 0 or stat.S_IMODE(info.st_mode) == 0o700
    if not stat.S_ISDIR(info.st_mode) or not mine:
        return False
    os.rename(f"{top}/{name}", f"{top}/{_GONE}{os.urandom(8).hex()}")
    return True
