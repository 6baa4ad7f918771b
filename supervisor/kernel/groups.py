"""The groups that a service made below its own, looked at one by one.

A service that has its group delegated may nest and spread groups as it likes: a path may get longer
than any system call takes, and there may be more than anyone has time for. So one descriptor goes
down and up the tree, by single names and "..", and stops after so many groups.
"""
from __future__ import annotations

import os
from collections.abc import Callable

from supervisor.kernel.spare import use

MOST = 2048  # groups that one look takes: some 50 ms
DEEPEST = 1 << 14  # as deep as anyone can nest them: the kernel's memory for it grows by the square
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


def each_below(top: str, visit: Callable[[int, str], None], most: int = MOST) -> bool:
    """Call `visit(parent, name)` for the groups below `top`, those of a group before itself, with a
    descriptor of the directory that it is in. False: that were `most`, and there are more, or they
    changed so much meanwhile that the way back is lost."""
    try:
        at = use(os.open, top, _FLAGS)
    except OSError:
        return True  # there is no group, and so none below it
    entered: list[str] = []
    todo = [_names(at, most)]
    left = most
    try:
        while left > 0:
            if todo[-1] and len(entered) < DEEPEST:
                name = todo[-1].pop()
                try:
                    inner = os.open(name, _FLAGS, dir_fd=at)
                except OSError:
                    continue  # it is gone
                os.close(at)
                at = inner
                entered.append(name)
                todo.append(_names(at, most))
            elif entered:
                outer = os.open("..", _FLAGS, dir_fd=at)
                os.close(at)
                at = outer
                todo.pop()
                visit(at, entered.pop())
                left -= 1
            else:
                return True
        return not (entered or todo[-1])
    except OSError:
        return False
    finally:
        os.close(at)


def _names(folder: int, most: int) -> list[str]:
    names = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    names.append(entry.name)
                    if len(names) > most:
                        break
    except OSError:
        pass  # it is gone
    return names


def remove(folder: int, name: str) -> None:
    """A `visit` that removes each group, if it is empty."""
    try:
        os.rmdir(name, dir_fd=folder)
    except OSError:
        pass  # somebody is in it, or made another one below it


def pids(folder: int, name: str) -> list[int]:
    """The processes in one group itself."""
    parts = []
    try:
        fd = use(os.open, f"{name}/cgroup.procs", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return []
    try:
        while part := os.read(fd, 65536):
            parts.append(part)
    except OSError:
        pass  # it went away; what was read so far was true
    finally:
        os.close(fd)
    return [int(word) for word in b"".join(parts).split()]
