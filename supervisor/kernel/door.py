"""A socket by which an agent is handed descriptors of processes that come and go.

One JSON message a datagram (SOCK_SEQPACKET), with its descriptors. Nothing here waits: what a
reader has no room for is the caller's to keep.
"""
from __future__ import annotations

import os
from _socket import (
    AF_UNIX,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
    socketpair,
)
from errno import EAGAIN, ECONNREFUSED, ECONNRESET, ENOTCONN, EPIPE

from supervisor.kernel.host import read
from supervisor.kernel.spare import use

_MSG_DONTWAIT, _MSG_NOSIGNAL = 0x40, 0x4000
_GONE = frozenset((EPIPE, ECONNRESET, ENOTCONN, ECONNREFUSED))


def pair() -> tuple[int, int]:
    """Ours, and the agent's, which blocks. Raises OSError."""
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)
    return ours.detach(), theirs.detach()


def send(fd: int, message: bytes, fds: tuple[int, ...]) -> str:
    """"sent", "full" (again when there is room), "short" (again some time later) or "gone"."""
    rights = b"".join([one.to_bytes(4, "little") for one in fds])
    control = [(SOL_SOCKET, SCM_RIGHTS, rights)] if fds else []
    sock = socket(fileno=fd)
    try:
        sock.sendmsg([message], control, _MSG_DONTWAIT | _MSG_NOSIGNAL)
    except OSError as exc:
        if exc.errno in _GONE:
            return "gone"
        return "full" if exc.errno == EAGAIN else "short"
    finally:
        sock.detach()
    return "sent"


def group_of(base: str, name: str, *, boxed: bool, denied: bool) -> int:
    """The directory of a cgroup below `base`, for openat(2) and reading; -1 if there is none, or
    none that is safe. `boxed`: the agent may not see what the host sees. `denied`: its paths are
    judged one by one (Landlock), from `base` down, so that has to be within its reach."""
    from supervisor.kernel import detached

    path = f"{base}/{name}"
    try:
        return use(detached.directory, *((base, name) if denied else (path,)))
    except OSError:
        if boxed:
            return -1
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return -1


def process_of(pid: int, parent: int) -> int:
    """A pidfd of that child of `parent`; -1 if it has ended, and its number may be another's."""
    try:
        fd = use(os.pidfd_open, pid)
    except OSError:
        return -1
    stat = read(f"/proc/{pid}/stat")
    if stat.rpartition(")")[2].split()[1:2] == [str(parent)]:
        return fd
    os.close(fd)
    return -1
