"""Descriptors kept back for when this process can have no others.

Law: `use` is for what is closed again at once (a look at a file, a word written into one), so that
a process at its limit goes on hearing, killing and answering. What stays open does without, and is
refused as any shortage is.
"""
from __future__ import annotations

import os
from collections.abc import Callable
from errno import EMFILE, ENFILE
from typing import ParamSpec, TypeVar

_KEPT = 4
_held: list[int] = []
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def keep(fd: int) -> None:
    """Have all of them again, as copies of `fd`, as far as there are any to be had."""
    try:
        while len(_held) < _KEPT:
            _held.append(os.dup(fd))
    except OSError:
        pass  # the next turn tries again


def use(
    call: Callable[_Arguments, _Result], *args: _Arguments.args, **named: _Arguments.kwargs
) -> _Result:
    """`call` them; with no descriptor left, once more with one of ours given up for it."""
    try:
        return call(*args, **named)
    except OSError as exc:
        if exc.errno not in (EMFILE, ENFILE) or not _held:
            raise
        os.close(_held.pop())
    return call(*args, **named)
