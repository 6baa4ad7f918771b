"""The manager's end of its socket to the keeper: frames out, frames in, never blocking.

Frames are queued and leave with `flush`, as many to a datagram as fit, so a thousand launches are
a few dozen system calls. docs/keeper-protocol.md has the layouts.
"""
from __future__ import annotations

import os
from _socket import SCM_RIGHTS, SO_SNDBUF, SOL_SOCKET, socket
from _struct import Struct, error  # type: ignore[attr-defined]  # one file less than struct
from errno import EAGAIN, EINTR, ENOBUFS, ENOMEM, ETOOMANYREFS
from typing import NamedTuple

from supervisor.kernel.spare import use
from supervisor.kernel.wire import MAX_FDS, MAX_FRAME, TO_KEEPER, TO_MANAGER, VERSION

OPS = {number: name for name, number in TO_MANAGER.items()}
_HEADER = Struct("<IHHQ")
_CHILD = Struct("<iIQQiiIIIhh")
_DATAGRAM = 48 * 1024  # small enough that a full socket buffer holds several
_INT = 4  # bytes of a descriptor number in SCM_RIGHTS
_LATER = frozenset((EAGAIN, EINTR, ENOBUFS, ENOMEM, ETOOMANYREFS))
_SKB = 32  # bytes of a socket's buffer that no datagram may use (net/unix/af_unix.c)
_MSG_CMSG_CLOEXEC, _MSG_DONTWAIT = 0x40000000, 0x40
LAUNCHES = 1 << 56  # launches have lower tags (the keeper refuses others), requests higher ones


class Frame(NamedTuple):
    """One frame from the keeper. Whoever handles it owns `fds`."""

    op: str
    tag: int
    payload: bytes
    fds: tuple[int, ...]


class Child(NamedTuple):
    """The CHILD layout: one slot of the keeper. Times: monotonic ns; cpu: ms; memory: KiB."""

    launch: int
    key: str
    pid: int
    state: int
    started_ns: int
    ended_ns: int
    code: int
    status: int
    user_ms: int
    system_ms: int
    peak_kib: int
    step: int
    error: int


def encoded(op: str, tag: int = 0, payload: bytes = b"", fds: int = 0) -> bytes:
    """A frame as it is sent. `fds`: how many descriptors go with it."""
    return _HEADER.pack(16 + len(payload), TO_KEEPER[op], fds, tag) + payload


class KeeperGone(Exception):
    """The keeper closed the socket: there is nothing left to manage."""


class Keeper:
    def __init__(self, fd: int) -> None:
        self._socket = socket(fileno=fd)
        self._socket.setblocking(False)
        # The largest frame that leaves: an ordinary user's socket holds less than the keeper takes.
        self.max_frame = min(MAX_FRAME, self._socket.getsockopt(SOL_SOCKET, SO_SNDBUF) - _SKB)
        self._queue: list[tuple[bytes, tuple[int, ...]]] = []
        self._copies: set[int] = set()  # descriptors in the queue that are ours to close
        self._buffer = bytearray(MAX_FRAME)
        self._tags = LAUNCHES
        self.puts: dict[int, str] = {}  # tag -> name, of each PUT that was not answered yet

    def fileno(self) -> int:
        return self._socket.fileno()

    # --- out ----------------------------------------------------------------------------------

    def send(self, op: str, tag: int = 0, payload: bytes = b"", fds: tuple[int, ...] = ()) -> None:
        """Queue a frame of at most `max_frame` bytes. `fds` stay the caller's, who keeps them open
        until the next flush."""
        self._queue.append((encoded(op, tag, payload, len(fds)), fds))

    def hello(self) -> None:
        self.send("HELLO", 0, VERSION.to_bytes(4, "little"))

    def named(self, op: str, name: str, fds: tuple[int, ...] = (), tag: int = 0) -> None:
        """PUT, GET, DROP and their like."""
        self.send(op, tag, name.encode() + b"\0", fds)

    def tag(self) -> int:
        """For a request whose answer must be told from all others."""
        self._tags += 1
        return self._tags

    def put(self, name: str, fd: int) -> None:
        """Store a descriptor: now, or as soon as the keeper takes it. The answer's tag is in
        `puts`."""
        tag = self.tag()
        self.puts[tag] = name
        self.named("PUT", name, (fd,), tag)
        self.flush()

    def signal(self, launch: int, number: int, *, group: bool = False) -> None:
        """To the process of a launch, or to all of its process group."""
        self.send("SIGNAL", launch, bytes((number, 0, 0, 0, group, 0, 0, 0)))

    def flush(self) -> bool:
        """Send what is queued. False: the socket is full (or the kernel short of memory), call
        again when it is writable."""
        queue = self._queue
        while queue:
            data, fds = queue[0]
            used = 1
            if not fds:
                size = len(data)
                while used < len(queue) and not queue[used][1]:
                    size += len(queue[used][0])
                    if size > _DATAGRAM:
                        break
                    used += 1
                if used > 1:
                    data = b"".join([frame for frame, _ in queue[:used]])
            rights = b"".join([fd.to_bytes(_INT, "little") for fd in fds])
            control = [(SOL_SOCKET, SCM_RIGHTS, rights)] if fds else []
            try:
                self._socket.sendmsg([data], control, _MSG_DONTWAIT)
            except (BrokenPipeError, ConnectionResetError) as exc:
                raise KeeperGone from exc
            except OSError as exc:
                if exc.errno not in _LATER:
                    raise
                self._copy()
                return False
            del queue[:used]
            for fd in self._copies.intersection(fds):
                self._copies.discard(fd)
                os.close(fd)
        return True

    def _copy(self) -> None:
        """Take copies of the descriptors that wait, because their owners may close them now."""
        for at, (data, fds) in enumerate(self._queue):
            if fds and not self._copies.issuperset(fds):
                own = tuple([use(os.dup, fd) for fd in fds])
                self._copies.update(own)
                self._queue[at] = (data, own)

    # --- in -----------------------------------------------------------------------------------

    def receive(self) -> list[Frame]:
        """All frames of one datagram; none if nothing is there. Raises KeeperGone."""
        try:
            size, control, _flags, _ = self._socket.recvmsg_into(
                [self._buffer], MAX_FDS * _INT + 32, _MSG_DONTWAIT | _MSG_CMSG_CLOEXEC
            )
        except (BlockingIOError, InterruptedError):
            return []
        except ConnectionResetError as exc:
            raise KeeperGone from exc
        if not size:
            raise KeeperGone
        fds = [
            int.from_bytes(data[i : i + _INT], "little")
            for level, kind, data in control
            if level == SOL_SOCKET and kind == SCM_RIGHTS
            for i in range(0, len(data) - _INT + 1, _INT)
        ]
        found = frames(bytes(memoryview(self._buffer)[:size]), fds)
        for fd in fds:
            os.close(fd)
        return found


def frames(data: bytes, fds: list[int] | None = None) -> list[Frame]:
    """The frames of a datagram. Those of `fds` that belong to one are taken out."""
    found, at = [], 0
    fds = [] if fds is None else fds
    try:
        while at < len(data):
            length, op, count, tag = _HEADER.unpack_from(data, at)
            taken = tuple(fds[:count])
            del fds[:count]
            found.append(Frame(OPS.get(op, ""), tag, data[at + 16 : at + length], taken))
            at += max(length, 16)
    except error:  # a keeper of another version: what cannot be read is not there
        pass
    return found


def child(frame: Frame) -> Child:
    """The slot in a CHILD or EXITED frame."""
    fields = _CHILD.unpack_from(frame.payload)
    key = frame.payload[_CHILD.size :].split(b"\0", 1)[0].decode()
    pid, state, started, ended, code, status, user, system, peak, step, err = fields
    return Child(
        frame.tag, key, pid, state, started, ended, code, status, user, system, peak, step, err
    )
