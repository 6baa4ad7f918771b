"""sd_notify(3): one datagram socket for each instance that reports, read without trust.

The sender's pid comes from the kernel (SCM_CREDENTIALS); whose it is, the caller decides. What is
too long, empty, of no readable form or from nobody is dropped, and every descriptor that nobody
keeps is closed (CVE-2016-7796).
"""
from __future__ import annotations

import os
from _socket import (
    AF_UNIX,
    MSG_CTRUNC,
    MSG_PEEK,
    MSG_TRUNC,
    SCM_CREDENTIALS,
    SCM_RIGHTS,
    SO_LINGER,
    SO_PASSCRED,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOL_SOCKET,
    socket,
)
from typing import NamedTuple

MAX_BYTES = 4096  # PIPE_BUF: what systemd accepts
_MAX_FDS = 253  # SCM_MAX_FD
_ANCILLARY = 32 + 4 * _MAX_FDS + 64
_MSG_CMSG_CLOEXEC, _MSG_DONTWAIT = 0x40000000, 0x40
_NO_LINGER = bytes(8)


class Message(NamedTuple):
    pid: int
    uid: int
    fields: dict[str, str]
    fds: list[int]  # the receiver's to close
    cut: bool = False  # there was no descriptor left to take its own with, so it has none


def open_socket(path: str, uid: int, gid: int) -> int:
    """Bind the instance's notify socket; only its user (and root) may write to it."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
    try:
        sock.setsockopt(SOL_SOCKET, SO_PASSCRED, 1)
        old = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(old)
        if uid >= 0:
            os.chown(path, uid, gid, follow_symlinks=False)
        return sock.detach()
    finally:
        sock.close()


def drop(fd: int) -> None:
    """Remove the message that `peek` showed."""
    sock = socket(fileno=fd)
    try:
        sock.recv(1, _MSG_DONTWAIT)
    except (BlockingIOError, InterruptedError):
        pass
    finally:
        sock.detach()


def peek(fd: int) -> Message | None:
    """The next message, which stays in the socket until `drop` (so that a manager killed while it
    works on it hands it to the next one); None when the socket is empty. Bad ones come with no
    fields and no descriptors."""
    sock = socket(fileno=fd)
    try:
        data, control, flags, _ = sock.recvmsg(
            MAX_BYTES + 1, _ANCILLARY, _MSG_DONTWAIT | _MSG_CMSG_CLOEXEC | MSG_PEEK
        )
    except (BlockingIOError, InterruptedError):
        return None
    finally:
        sock.detach()
    pid, uid = 0, -1
    fds: list[int] = []
    for level, kind, value in control:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            fds += [
                int.from_bytes(value[i : i + 4], "little") for i in range(0, len(value) - 3, 4)
            ]
            hurry(fds)
        elif level == SOL_SOCKET and kind == SCM_CREDENTIALS:
            pid = int.from_bytes(value[0:4], "little", signed=True)
            uid = int.from_bytes(value[4:8], "little")
    fields = {} if flags & MSG_TRUNC or len(data) > MAX_BYTES else parse(data)
    cut = bool(flags & MSG_CTRUNC)
    if cut or not fields or pid <= 0:
        close(fds)
        return Message(pid, uid, fields if pid > 0 else {}, [], cut)
    return Message(pid, uid, fields, fds)


def parse(data: bytes) -> dict[str, str]:
    """KEY=value lines; {} if it is no such message. Control characters in a value void it."""
    try:
        text = data.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return {}
    fields = {}
    for line in text.split("\n"):
        key, equals, value = line.partition("=")
        if not line:
            continue
        if not equals or not key.isidentifier() or any(c < " " and c != "\t" for c in value):
            return {}
        fields[key] = value
    return fields


def hurry(fds: list[int]) -> None:
    """Whoever closes a socket last waits for its peer as long as SO_LINGER says, and its sender may
    have said so: not of those that we got."""
    for fd in fds:
        try:
            sock = socket(fileno=fd)
        except OSError:
            continue  # it is none
        try:
            sock.setsockopt(SOL_SOCKET, SO_LINGER, _NO_LINGER)
        except OSError:
            pass  # of a family without it
        finally:
            sock.detach()


def close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
