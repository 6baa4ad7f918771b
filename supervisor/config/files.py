"""Opening unit directories and files so that nobody else decides what is read.

Law: a directory is opened once, what is in it by name relative to that descriptor and without
following a symbolic link, and it is read only if it is a regular file (a fifo, device or socket
neither blocks nor is touched further). Directory and file must belong to root or to the
supervisor's own user and not be writable by everybody. Whatever swaps names meanwhile, the
descriptor decides. The directory itself may be reached through symbolic links: its path is the
administrator's.
"""
from __future__ import annotations

import errno
import os

from msgspec import Struct

from supervisor.config.guard import MAX_BYTES, too_large

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_S_IFMT, _S_IFREG, _OTHERS_WRITE = 0o170000, 0o100000, 0o002


class Unreadable(Exception):
    """A file or directory that is not read, with the reason as a sentence."""


class Folder(Struct):
    """An open directory. Whoever opened it closes `fd`."""

    path: str
    fd: int


def open_folder(path: str) -> Folder | None:
    """None: there is none. Raises Unreadable."""
    try:
        fd = os.open(path, _DIRECTORY)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Unreadable(f"cannot read this unit directory: {reason(error)}") from None
    return _trusted(path, fd)


def open_inner(folder: Folder, name: str) -> Folder:
    """The directory `name` in `folder`; not a link to one. Raises Unreadable."""
    try:
        fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=folder.fd)
    except OSError as error:
        raise Unreadable(f"cannot read this drop-in directory: {reason(error)}") from None
    return _trusted(f"{folder.path}/{name}", fd)


def _trusted(path: str, fd: int) -> Folder:
    try:
        _trust(os.fstat(fd))
    except Unreadable:
        os.close(fd)
        raise
    return Folder(path, fd)


def read_file(folder_fd: int, name: str) -> bytes:
    """The bytes of one file, MAX_BYTES at most. Raises Unreadable."""
    try:
        fd = os.open(name, _FILE, dir_fd=folder_fd)
    except OSError as error:
        raise Unreadable(f"cannot read it: {reason(error)}") from None
    try:
        status = os.fstat(fd)
        if status.st_mode & _S_IFMT != _S_IFREG:
            raise Unreadable("cannot read it: it is no regular file; replace it by one")
        _trust(status)
        if status.st_size > MAX_BYTES:
            raise Unreadable(str(too_large()))
        data = os.read(fd, status.st_size + 1)
    except OSError as error:
        raise Unreadable(f"cannot read it: {reason(error)}") from None
    finally:
        os.close(fd)
    if len(data) != status.st_size:
        raise Unreadable("cannot read it: it changed while it was read; load it again")
    return data


def _trust(status: os.stat_result) -> None:
    """Raises Unreadable for what somebody else could have written."""
    owner = status.st_uid
    if owner and owner != os.geteuid():
        raise Unreadable(
            f"cannot trust it: user {owner} owns it; only root or user {os.geteuid()} may"
        )
    if status.st_mode & _OTHERS_WRITE:
        raise Unreadable("cannot trust it: everybody may write it; run chmod o-w on it")


def reason(error: Exception) -> str:
    """The kernel's reason in our words."""
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.ELOOP:
        return "it is a symbolic link; replace it by the file itself"
    if code == errno.ENOTDIR:
        return "it is not a directory"
    return (os.strerror(code).lower() if code else str(error)) or "it failed"
