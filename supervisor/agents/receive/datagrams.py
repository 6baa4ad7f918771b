"""The messages of a datagram socket, with who sent each.

Law: every descriptor that comes along is closed here, whatever it is. Datagrams of unix sockets are
never dropped by the kernel: a sender waits while the queue is full (net.unix.max_dgram_qlen), or is
told so; so what is read is read before anything is done with it.
"""
from __future__ import annotations

import array
import mmap
import os
import socket
import struct
from collections.abc import Callable

from supervisor.agents.receive.entry import Entry
from supervisor.agents.receive.sender import Senders

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
# libsystemd asks for buffers of 8 MiB, which root gets, and sends that at once. Pages of it that no
# message ever needed take no memory.
_BUFFER_BYTES = 8 << 20
_KEPT_BYTES = 256 << 10
_AT_ONCE_BYTES = 4 << 20  # then what was taken is written before more is
_DESCRIPTORS = 4  # as many are taken; others the kernel closes
_LISTEN_FDS_START = 3  # sd_listen_fds(3)
_ERR, _WARNING = 3, 4
_CONTROL = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(4 * _DESCRIPTORS)

Parse = Callable[[bytes], Entry]
OfFile = Callable[[int], bytes | None]


class Datagrams:
    """A source for main's loop. `of_file`: what a descriptor brings that comes with no bytes."""

    def __init__(
        self, sock: socket.socket, source: str, parse: Parse, senders: Senders,
        of_file: OfFile | None = None,
    ) -> None:
        self.source = source
        self._sock = sock
        self._parse = parse
        self._senders = senders
        self._of_file = of_file
        self._buffer = mmap.mmap(-1, _BUFFER_BYTES)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def written(self) -> None:
        """Nothing has to be kept."""

    def read(self, most: int) -> list[Entry]:
        """What there is, at most so many; [] if nothing is. It is parsed once the queue is empty,
        so that who waits for room in it waits no longer than that."""
        found: list[tuple[bytes, int, int, bool]] = []
        size = 0
        while len(found) < most and size < _AT_ONCE_BYTES:
            try:
                found.append(self._receive())
            except BlockingIOError:
                break
            size += len(found[-1][0])
        return [entry for one in found if (entry := self._entry(*one)) is not None]

    def _receive(self) -> tuple[bytes, int, int, bool]:
        """(bytes, pid, uid, whether they are all). Raises BlockingIOError."""
        size, control, flags, _ = self._sock.recvmsg_into(
            [self._buffer], _CONTROL, socket.MSG_CMSG_CLOEXEC)
        data = self._buffer[:size]
        if size > _KEPT_BYTES:
            self._buffer.madvise(mmap.MADV_DONTNEED)
        pid = uid = -1
        fds: array.array[int] = array.array("i")
        for level, kind, content in control:
            if level != socket.SOL_SOCKET:
                continue
            if kind == socket.SCM_CREDENTIALS and len(content) >= _CREDENTIALS.size:
                pid, uid, _gid = _CREDENTIALS.unpack_from(content)
            elif kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: len(content) // fds.itemsize * fds.itemsize])
        whole = not flags & socket.MSG_TRUNC
        try:
            if fds and not data and self._of_file is not None:
                brought = self._of_file(fds[0])
                whole, data = brought is not None, brought or b""
        finally:
            for fd in fds:
                os.close(fd)
        return data, pid, uid, whole

    def _entry(self, data: bytes, pid: int, uid: int, whole: bool) -> Entry | None:
        sender = self._senders.find(pid)
        about: Entry = {
            "pid": pid if pid > 0 else None, "uid": uid if uid >= 0 else None, "unit": sender.unit}
        if not data:
            return None if whole else {
                "priority": _WARNING, "ident": "unboxed", **about, "source": self.source,
                "message": "cannot read what was sent in a file: it is no sealed memfd; it is left"
                " out"}
        entry = self._parse(data)
        if entry.get("said_pid") == pid:
            del entry["said_pid"]
        entry["ident"] = entry.get("ident") or sender.name or None
        if not whole:
            entry["cut"] = len(data)
        return {**entry, **about, "source": self.source}


def passed() -> socket.socket | None:
    """The socket that the supervisor holds for this unit ([[listen]]), if it does."""
    if os.environ.get("LISTEN_PID", str(os.getpid())) != str(os.getpid()):
        return None
    if os.environ.get("LISTEN_FDS", "0") == "0":
        return None
    return socket.socket(fileno=_LISTEN_FDS_START)


def bind(path: str) -> socket.socket:
    """A socket of our own at `path`, which everybody may send to. Raises OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        try:
            sock.bind(path)
        except OSError:
            if not _deserted(path):
                raise
            os.unlink(path)
            sock.bind(path)
        os.chmod(path, 0o666)  # noqa: S103 - as /dev/log is: who sends is known by the kernel
    except BaseException:
        sock.close()
        raise
    return sock


def _deserted(path: str) -> bool:
    """Whether a socket is there that nobody has open."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return os.path.exists(path) and not os.path.isfile(path)
        except OSError:
            pass
        return False
