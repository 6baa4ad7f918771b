"""One client's connection: its peer, what it sent, and what it has not read yet. Never waits."""
from __future__ import annotations

import _socket
import os
import sys
from select import EPOLLERR, EPOLLHUP, poll

from supervisor.control.access import Peer, Socket
from supervisor.control.call import OpenCall
from supervisor.control.wire import Inbox
from supervisor.kernel.notify import hurry

_READ_BYTES = 64 * 1024
_SO_PEERGROUPS = 59  # Linux 4.13; not in Python's socket module
MOST_FDS = 3  # standard input, output and error of a command
_FD_ROOM = _socket.CMSG_LEN(4 * 253)  # SCM_MAX_FD: for what does not fit, the kernel calls close
_MSG_CMSG_CLOEXEC = 0x40000000
_MAX_OPTION_BYTES = 1024  # what Python lets getsockopt(2) fill: 256 groups


class Connection:
    """Owns its socket. `mask`: what the owner's epoll watches it for, -1 before it does."""

    __slots__ = ("call", "closing", "fd", "fds", "gone", "inbox", "mask", "out", "peer", "sock")

    def __init__(self, fd: int, socket: Socket) -> None:
        os.set_blocking(fd, False)
        self.sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
        self.fd = fd
        self.peer = _peer(self.sock, socket)
        self.inbox = Inbox()
        self.out = bytearray()
        self.call: OpenCall | None = None
        self.fds: tuple[int, ...] = ()  # came with what was read last; ours to close
        self.mask = -1
        self.closing = False  # to be closed once `out` is written
        self.gone = False  # closed

    def is_idle(self) -> bool:
        """Whether nobody would lose an answer if it were closed."""
        return self.closing or not (self.call or self.out or self.inbox)

    def has_said_more(self) -> bool:
        """Whether there is something to read (the end of the connection is nothing)."""
        try:
            return bool(self.sock.recv(1, _socket.MSG_PEEK))
        except OSError:
            return False

    def read(self) -> bool:
        """Take what is there, within bounds. False: the peer has ended the connection."""
        try:
            data = self._receive()
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        self.inbox.feed(data)
        return bool(data)

    def _receive(self) -> bytes:
        """Descriptors are taken from those only who may use the control socket; the status socket
        takes none (before Linux 6.16 the kernel closes them). At most MOST_FDS of one client are
        open here, and none for longer than its call takes."""
        if self.peer.socket != "control":
            return self.sock.recv(_READ_BYTES)
        data, control, _, _ = self.sock.recvmsg(_READ_BYTES, _FD_ROOM, _MSG_CMSG_CLOEXEC)
        for level, kind, rights in control:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                self.close_fds()
                came = [
                    int.from_bytes(rights[at : at + 4], sys.byteorder)
                    for at in range(0, len(rights) - 3, 4)
                ]
                hurry(came)
                self.fds = tuple(came[:MOST_FDS])
                for fd in came[MOST_FDS:]:
                    os.close(fd)
        return data

    def close_fds(self) -> None:
        """Nobody took them."""
        fds, self.fds = self.fds, ()
        for fd in fds:
            os.close(fd)

    def write(self, data: bytes = b"") -> bool:
        """Send what is left and then `data`, as far as it goes. False: nobody is there to read."""
        self.out += data
        try:
            while self.out:
                del self.out[: self.sock.send(self.out, _socket.MSG_NOSIGNAL)]
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return True

    def hung_up(self) -> bool:
        """Whether the peer is gone now. An event may be older than the descriptor it names."""
        ask = poll()
        ask.register(self.fd, 0)
        return any(mask & (EPOLLHUP | EPOLLERR) for _, mask in ask.poll(0))

    def close(self) -> None:
        self.gone = True
        self.close_fds()
        self.sock.close()


def _peer(sock: _socket.socket, socket: Socket) -> Peer:
    """Who connected, as the kernel noted it then (unix(7), socket(7)). With more groups than we can
    ask for, only the primary one counts."""
    cred = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)  # pid, uid, gid
    try:
        groups = sock.getsockopt(_socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_OPTION_BYTES)
    except OSError:
        groups = b""
    uid, *gids = (
        int.from_bytes((cred[4:] + groups)[i : i + 4], sys.byteorder)
        for i in range(0, len(cred) - 4 + len(groups), 4)
    )
    return Peer(uid, frozenset(gids), socket)
