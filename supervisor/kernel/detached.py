"""A directory for somebody who may live in another view: it shows what is below, nothing else.

Law: whoever is handed a directory can go up from it (openat "..", past any root of its own, to the
root of whoever opened it). So what leaves is a mount that hangs nowhere, read-only: up from it is
itself, and a uid of 0 changes nothing through it.
"""
from __future__ import annotations

import os

_OPEN_TREE, _MOUNT_SETATTR = 428, 442  # the same on every machine that has them
_CLONE, _CLOEXEC, _EMPTY_PATH = 1, 0o2000000, 0x1000
_AT_FDCWD = -100
_ATTRIBUTES = 1 | 2 | 4 | 8  # read-only, no suid, no devices, no programs


def directory(top: str, below: str = ".") -> int:
    """`below` of `top`, open for reading; what is above `top` cannot be reached from it. Raises
    OSError: EPERM without CAP_SYS_ADMIN."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    number = ctypes.c_long

    def call(*words: object) -> int:
        found = int(libc.syscall(*words))
        if found < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), top)
        return found

    tree = call(number(_OPEN_TREE), number(_AT_FDCWD), os.fsencode(top), number(_CLONE | _CLOEXEC))
    try:
        wanted = (ctypes.c_uint64 * 4)(_ATTRIBUTES)
        call(number(_MOUNT_SETATTR), number(tree), b"", number(_EMPTY_PATH), wanted,
             number(ctypes.sizeof(wanted)))
        return os.open(below, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=tree)
    finally:
        os.close(tree)
