"""Real paths, found without trusting a link that a service could have made.

A symbolic link is followed only if root, or the supervisor's own user, made it. Whoever may write a
directory can otherwise lead a path of the unit file anywhere between two starts. `root` is where
"/" is: links cannot lead out of it (as RESOLVE_IN_ROOT), which is how root= finds its program.
"""
from __future__ import annotations

import os
import stat
from typing import NamedTuple

from supervisor.kernel.sandbox.hung import DoesNotAnswer, must_answer
from supervisor.kernel.sandbox.part import CannotConfine

_MOST_LINKS = 40  # as the kernel's


class Traced(NamedTuple):
    """`real`: no link in it. `links`: (path, text) of those that led there. `mode` as in stat."""

    real: str
    links: tuple[tuple[str, str], ...]
    mode: int

    @property
    def directory(self) -> bool:
        return stat.S_ISDIR(self.mode)


# While one plan is compiled, what was looked at stays so: most parts ask for the same paths.
_seen: dict[tuple[str, str], Traced] = {}
_looks_once = False


def look_once(*, on: bool) -> None:
    """Whether `trace` remembers, from now on; what it remembered is forgotten in any case."""
    global _looks_once  # noqa: PLW0603 - the time of one compilation, and nothing else compiles then
    _looks_once = on
    _seen.clear()


def trace(path: str, root: str = "", key: str = "sandbox") -> Traced:
    """Where an absolute path leads. Raises FileNotFoundError and its like, and CannotConfine (with
    `key`) for a link that is not to be trusted, and for a file system that does not answer."""
    found = _seen.get((path, root))
    if found is None:
        found = _trace(path, root, key)
        if _looks_once:
            _seen[path, root] = found
    return found


def _trace(path: str, root: str, key: str) -> Traced:
    host = trace(root, key="root").real if root else ""  # what of the host's the root is
    left, real = path.split("/")[::-1], ""
    links: list[tuple[str, str]] = []
    mode = stat.S_IFDIR
    while left:
        name = left.pop()
        if name in ("", "."):
            continue
        if name == "..":
            real = real.rpartition("/")[0]
            continue
        here = f"{real}/{name}"
        must_answer(host + here, key)
        info = os.lstat(root + here)
        mode = info.st_mode
        if not stat.S_ISLNK(mode):
            real = here
            continue
        if info.st_uid not in (0, os.geteuid()) and not _roots(info.st_uid, root + real):
            raise CannotConfine(
                f"{key}: cannot trust {path}: {here} is a symbolic link that uid {info.st_uid} "
                "made, who could lead it anywhere; write the path itself"
            )
        if len(links) == _MOST_LINKS:
            raise CannotConfine(f"{key}: cannot follow {path}: it has over {_MOST_LINKS} links")
        text = os.readlink(root + here)
        links.append((here, text))
        left += text.split("/")[::-1]
        if text.startswith("/"):
            real = ""
    if not real or left:
        mode = stat.S_IFDIR
    elif links or ".." in path:
        mode = os.lstat(root + real).st_mode
    return Traced(real or "/", tuple(links), mode)


def _roots(uid: int, folder: str) -> bool:
    """Whether a link in this directory is root's all the same: in a user namespace that has not the
    host's root, he and all others outside are one nobody, whose is /. A directory of theirs that
    others may not write to is taken for root's. Elsewhere / is root's, and so this adds nothing."""
    info = os.stat(folder or "/")
    return uid == os.stat("/").st_uid == info.st_uid and not info.st_mode & 0o022


def exists(path: str, root: str = "", key: str = "sandbox") -> bool:
    """Raises DoesNotAnswer, with `key`, where that cannot be said."""
    try:
        trace(path, root, key)
    except DoesNotAnswer:
        raise
    except (OSError, CannotConfine):
        return False
    return True


def _is_directory(path: str) -> bool:
    try:
        return trace(path, key="root").directory
    except OSError:
        return False


def find_in_root(root: str, program: str, search: str = "/usr/local/bin:/usr/bin:/bin") -> str:
    """The real path, below `root`, of a program that a unit with root= runs; links cannot lead out.
    Raises CannotConfine."""
    if not _is_directory(root):
        why = "there is no such directory; unpack an image there"
        raise CannotConfine(f"root: cannot use {root}: {why}")
    names = [program] if "/" in program else [f"{one}/{program}" for one in search.split(":")]
    for name in names:
        try:
            found = trace(name, root, "root")
        except OSError:
            continue
        if stat.S_ISREG(found.mode) and found.mode & 0o111:
            return found.real
    raise CannotConfine(
        f"root: cannot find {program} below {root}; write its path as it is inside"
    )
