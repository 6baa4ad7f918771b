"""Listening sockets, made before anything starts and held by the keeper from then on."""
from __future__ import annotations

import os
from _socket import (
    AF_INET,
    AF_INET6,
    AF_NETLINK,
    AF_UNIX,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_RAW,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)
from errno import EADDRINUSE, ECONNREFUSED, EEXIST
from stat import S_ISFIFO, S_ISSOCK

from supervisor.kernel.users import group_id, user_id
from supervisor.model.unit import Listen

NETLINK_FAMILIES = {"route": 0, "audit": 9, "kobject-uevent": 15, "generic": 16}


def label(listen: Listen) -> str:
    """The address as unit files write it."""
    if listen.family in ("tcp", "udp"):
        return f"{listen.family}:{listen.host}:{listen.port}"
    if listen.family in ("tcp6", "udp6"):
        return f"{listen.family}:[{listen.host}]:{listen.port}"
    return f"{listen.family}:{listen.path}"


def bind(listen: Listen) -> int:
    """An open, listening descriptor. Raises OSError (its errno says why) or users.UnknownName."""
    if listen.family == "fifo":
        return _fifo(listen)
    kind = SOCK_DGRAM if listen.family in ("udp", "udp6") else SOCK_STREAM
    flags = SOCK_CLOEXEC | SOCK_NONBLOCK
    if listen.family == "netlink":
        return _netlink(listen)
    family = {"tcp": AF_INET, "udp": AF_INET, "tcp6": AF_INET6, "udp6": AF_INET6}
    sock = socket(family.get(listen.family, AF_UNIX), kind | flags)
    try:
        if listen.family in ("unix", "abstract"):
            _bind_unix(sock, listen)
        else:
            sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            if listen.reuse_port:
                sock.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)
            if listen.family in ("tcp6", "udp6"):
                sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
            sock.bind((listen.host, listen.port))
        if kind == SOCK_STREAM:
            sock.listen(listen.backlog)
        return sock.detach()
    finally:
        sock.close()


def _bind_unix(sock: socket, listen: Listen) -> None:
    """Bind a unix socket. A file left by somebody who is gone is replaced; one in use is not."""
    if listen.family == "abstract":
        sock.bind(b"\0" + listen.path.encode())
        return
    path = listen.path
    old = os.umask(0o777 & ~listen.mode)
    try:
        try:
            sock.bind(path)
        except OSError as exc:
            if exc.errno != EADDRINUSE or not _stale(path):
                raise
            os.unlink(path)
            sock.bind(path)
    finally:
        os.umask(old)
    _own(path, listen)


def _own(path: str, listen: Listen) -> None:
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        name = f"/proc/self/fd/{fd}"  # by descriptor, so that no swapped link is followed
        uid = user_id(listen.user) if listen.user else -1
        gid = group_id(listen.group) if listen.group else -1
        if uid != -1 or gid != -1:
            os.chown(name, uid, gid)
        os.chmod(name, listen.mode)
    finally:
        os.close(fd)


def _stale(path: str) -> bool:
    if not S_ISSOCK(os.lstat(path).st_mode):
        return False
    probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
    try:
        return probe.connect_ex(path) == ECONNREFUSED
    finally:
        probe.close()


def _fifo(listen: Listen) -> int:
    try:
        os.mkfifo(listen.path, listen.mode)
    except OSError as exc:
        if exc.errno != EEXIST:
            raise
    fd = os.open(listen.path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(EEXIST, "it is there and is no fifo")
    _own(listen.path, listen)
    return fd


def _netlink(listen: Listen) -> int:
    """`path` is "FAMILY [GROUP]": a name of NETLINK_FAMILIES or a number, and a bit mask."""
    word, _, groups = listen.path.partition(" ")
    protocol = NETLINK_FAMILIES[word] if word in NETLINK_FAMILIES else int(word)
    sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol)
    try:
        sock.bind((0, int(groups or 0)))
        return sock.detach()
    finally:
        sock.close()
