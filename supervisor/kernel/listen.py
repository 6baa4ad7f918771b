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
    SO_PASSCRED,
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
from stat import S_IFIFO, S_IFMT, S_IFSOCK

from supervisor.config.address import NETLINK_FAMILIES
from supervisor.kernel.users import group_id, user_id
from supervisor.model.unit import Listen

_KINDS = {S_IFSOCK: "socket", S_IFIFO: "fifo"}


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
    kind = SOCK_DGRAM if listen.family in ("udp", "udp6", "unix-datagram") else SOCK_STREAM
    flags = SOCK_CLOEXEC  # blocking, as systemd passes them
    if listen.family == "netlink":
        return _netlink(listen)
    family = {"tcp": AF_INET, "udp": AF_INET, "tcp6": AF_INET6, "udp6": AF_INET6}
    sock = socket(family.get(listen.family, AF_UNIX), kind | flags)
    try:
        if listen.family in ("unix", "unix-datagram", "abstract"):
            if kind == SOCK_DGRAM:  # nobody connects, so who it was comes with what was sent
                sock.setsockopt(SOL_SOCKET, SO_PASSCRED, 1)
            _bind_unix(sock, listen)
        else:
            if kind == SOCK_STREAM:  # for udp it would let two services have one address
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


def port_of(fd: int) -> int:
    """The port that an internet socket is bound to."""
    sock = socket(fileno=fd)
    try:
        return int(sock.getsockname()[1])
    finally:
        sock.detach()


def _bind_unix(sock: socket, listen: Listen) -> None:
    """Bind a unix socket. A file left by somebody who is gone is replaced; one in use is not."""
    if listen.family == "abstract":
        sock.bind(b"\0" + listen.path.encode())
        return
    path, owner = listen.path, _owner(listen)
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
    try:
        _own(path, S_IFSOCK, listen.mode, owner)
    except OSError:
        if S_IFMT(os.lstat(path).st_mode) == S_IFSOCK:
            os.unlink(path)
        raise


def _owner(listen: Listen) -> tuple[int, int]:
    """Uid and gid, -1 for those that stay. Looked up first, so that nothing is half done."""
    uid = user_id(listen.user) if listen.user else -1
    return uid, group_id(listen.group) if listen.group else -1


def _own(path: str, kind: int, mode: int, owner: tuple[int, int]) -> None:
    """Give what was just made at `path` its owner and mode; nothing that was put there since."""
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _expect(kind, os.fstat(fd))
        name = f"/proc/self/fd/{fd}"  # by descriptor, so that no swapped link is followed
        if owner != (-1, -1):
            os.chown(name, *owner)
        os.chmod(name, mode)
    finally:
        os.close(fd)


def _expect(kind: int, found: os.stat_result) -> None:
    if S_IFMT(found.st_mode) != kind:
        raise OSError(EEXIST, f"something is in its place that is no {_KINDS[kind]}")


def _stale(path: str) -> bool:
    """Whether nobody listens on that socket. Raises OSError if it is none."""
    _expect(S_IFSOCK, os.lstat(path))
    probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
    try:
        return probe.connect_ex(path) == ECONNREFUSED
    finally:
        probe.close()


def _fifo(listen: Listen) -> int:
    path, owner = listen.path, _owner(listen)
    try:
        os.mkfifo(path, listen.mode)
    except FileExistsError:
        _expect(S_IFIFO, os.lstat(path))  # before it is opened: a device might do something then
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _expect(S_IFIFO, os.fstat(fd))
        _own(path, S_IFIFO, listen.mode, owner)
    except OSError:
        os.close(fd)
        raise
    return fd


def _netlink(listen: Listen) -> int:
    """`path` is "FAMILY [GROUP]": a name of NETLINK_FAMILIES, and a bit mask."""
    word, _, groups = listen.path.partition(" ")
    kind = SOCK_RAW | SOCK_CLOEXEC
    sock = socket(AF_NETLINK, kind, NETLINK_FAMILIES[word])
    try:
        sock.bind((0, int(groups or 0)))
        return sock.detach()
    finally:
        sock.close()
