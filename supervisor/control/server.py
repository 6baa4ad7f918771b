"""The server's side of the control interface: sockets, driven by somebody else's epoll.

Law: nothing here waits. Each event does a bounded amount of work for one client: one read, one
write, one call. What a client costs is bounded, and a uid's own clients pay for it before anyone
else's. What may be called by whom is decided before the parameters are parsed.

The owner calls `on_event` for what epoll reports, `expire` when `next_deadline_ns` has passed, and
replaces `access` when its file has changed. A connection is watched for what it can do next:

    reading   no call is open                  EPOLLIN; 5 s from a message's first byte to its end
    next      a whole message is here already  EPOLLOUT, so that its turn comes at the next event
    calling   a call is open, all is written   0 (epoll reports a hang-up all the same)
    parked    its uid has used up its share    0, until the present window of time is over
    writing   something is still to be read    EPOLLOUT; no further call is taken meanwhile
    closing   an error ended it                EPOLLOUT until that is written, then it is closed
"""
from __future__ import annotations

import _socket
import os
from collections.abc import Callable
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM
from functools import partial
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT

from supervisor.control.access import Access, Socket
from supervisor.control.call import OpenCall
from supervisor.control.connection import Connection
from supervisor.control.dispatch import Dispatcher
from supervisor.control.methods import INTERFACE
from supervisor.control.wire import Malformed, read_call, write_error
from supervisor.model.report import BadMessage, TooManyClients, TooSlow
from supervisor.model.request import Requests

PER_UID = 64  # clients of one uid
IN_ALL = 512  # clients of all uids together, of which ...
RESERVED = 64  # ... so many only for root and the supervisor's own uid
MESSAGE_NS = 5_000_000_000  # from the first byte of a message to its end
STREAM_BYTES = 1 << 20  # unread bytes at which a stream is cut off
UNREAD_BYTES = 16 << 20  # unread bytes of all clients together
SHARE_NS = 20_000_000  # of our time that the calls of one uid may take ...
WINDOW_NS = 100_000_000  # ... within so much; root and our own uid may take what they need
BURST_NS = 250_000_000  # what a collector of figures may take at once, to be paid for after it

_ACCEPTS = 16  # connections taken at one event: a storm of them delays nobody
_PAUSE_NS = 1_000_000_000  # until the next try, when there is nothing left to accept with
_MOMENT_NS = 20_000_000  # the same, if somebody could be accepted just now
_EXHAUSTED = frozenset((EMFILE, ENFILE, ENOBUFS, ENOMEM))
_NOW = 1  # a deadline that has passed on any clock


class Server:
    """Owns its clients' sockets; the listening ones stay the owner's.

    `watch(fd, mask)`: report these epoll events of `fd` (and, as epoll does, a hang-up) from now
    on, in place of what was asked before. `unwatch(fd)`: no more. `clock()`: monotonic ns.
    `collects(uid)`: whether that is the uid of an agent that was put there to collect figures.
    """

    def __init__(
        self, control_fd: int, status_fd: int, requests: Requests, *, access: Access, version: str,
        watch: Callable[[int, int], None], unwatch: Callable[[int], None],
        clock: Callable[[], int], collects: Callable[[int], bool] = lambda _uid: False,
    ) -> None:
        self._collects = collects
        self._dispatcher = Dispatcher(requests, access, version)
        self._watch = watch
        self._unwatch = unwatch
        self._clock = clock
        self._clients: dict[int, Connection] = {}  # the one that called last is last
        self._count: dict[int, int] = {}  # uid -> its clients
        self._deadlines: dict[Connection, int] = {}  # of half messages; the earliest is first
        self._unread: dict[Connection, int] = {}  # bytes; who has any for longest is first
        self._unread_bytes = 0
        self._left: list[Callable[[], None]] = []  # to be told that their client has left
        self._spent: dict[int, int] = {}  # uid -> ns of the present window, with what it owes
        self._window_ns = 0  # when that began
        self._parked: set[Connection] = set()
        self._newest: list[Connection] = []  # accepted at the last event
        self._resume_ns = 0  # when to accept again; 0: accepting
        self._spare = os.dup(control_fd)  # given up to accept with when there is no other left
        self._listeners: dict[int, tuple[_socket.socket, Socket]] = {}
        listening: tuple[tuple[int, Socket], ...] = (control_fd, "control"), (status_fd, "status")
        for fd, kind in listening:
            os.set_blocking(fd, False)
            sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
            self._listeners[fd] = (sock, kind)
            watch(fd, EPOLLIN)

    @property
    def access(self) -> Access:
        """Who may do what; replace it when access.toml has changed."""
        return self._dispatcher.access

    @access.setter
    def access(self, access: Access) -> None:
        self._dispatcher.access = access

    # --- what the owner calls ------------------------------------------------------------------

    def on_event(self, fd: int, mask: int) -> None:
        """Do what one event makes possible. A descriptor that is no longer ours is ignored.

        Raises whatever a handler raises, after its client was told and when all is in order again.
        """
        client = self._clients.get(fd)
        try:
            if client is not None:
                self._turn(client, mask)
            elif fd in self._listeners and not self._resume_ns:
                self._accept(*self._listeners[fd])
        finally:
            self._tell()

    @property
    def clients(self) -> int:
        """Open connections."""
        return len(self._clients)

    def next_deadline_ns(self) -> int | None:
        """When `expire` has something to do; None if never, as things stand."""
        if self._left:
            return _NOW
        message = next(iter(self._deadlines.values()), 0)
        window = self._window_ns + WINDOW_NS if self._parked else 0
        return min(filter(None, (message, window, self._resume_ns)), default=None)

    def expire(self, now_ns: int) -> None:
        """Cut off those who were given time enough."""
        while self._deadlines:
            client, deadline = next(iter(self._deadlines.items()))
            if deadline > now_ns:
                break
            del self._deadlines[client]
            self._end(client, TooSlow(
                f"cannot wait for the rest of the message: {MESSAGE_NS // 10**9} s have passed;"
                " the connection is closed"))
        if self._resume_ns and self._resume_ns <= now_ns:
            self._resume()
        if self._parked and self._window_ns + WINDOW_NS <= now_ns:
            parked, self._parked = self._parked, set()
            for client in parked:
                self._settle(client)
        self._tell()

    def close(self) -> None:
        """End all connections; calls that are open are told so."""
        for client in tuple(self._clients.values()):
            self._drop(client)
        for fd, (sock, _) in self._listeners.items():
            if not self._resume_ns:
                self._unwatch(fd)
            sock.detach()
        self._listeners.clear()
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
        self._tell()

    # --- connections ---------------------------------------------------------------------------

    def _accept(self, listener: _socket.socket, kind: Socket) -> None:
        self._newest = []
        for _ in range(_ACCEPTS):
            try:
                fd, _ = listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - as socket.py
            except (BlockingIOError, InterruptedError):
                return
            except OSError as exc:
                if exc.errno not in _EXHAUSTED:
                    continue  # that one client is gone again
                if not self._find_descriptor():
                    return
                continue
            self._admit(Connection(fd, kind))

    def _admit(self, client: Connection) -> None:
        """Take a new client in, in place of an idle one if it must be, or send it away."""
        uid = client.peer.uid
        room = IN_ALL if self.access.is_privileged(uid) else IN_ALL - RESERVED
        of_uid = self._count.get(uid, 0)
        if of_uid >= PER_UID and not self._evict(uid):
            reason = f"uid {uid} has {of_uid} connections that are all in use"
        elif len(self._clients) >= room and not self._evict(None):
            reason = f"there are {len(self._clients)} connections that are all in use"
        else:
            self._clients[client.fd] = client
            self._newest.append(client)
            self._count[uid] = self._count.get(uid, 0) + 1
            self._settle(client)
            return
        name = f"{INTERFACE}.{TooManyClients.__name__}"
        client.write(write_error(name, TooManyClients(f"cannot serve you: {reason}; try again")))
        client.close()

    def _evict(self, uid: int | None) -> bool:
        """Close the client (of that uid) that is idle for longest; False if none is. Those that
        came with the present event had no time to say anything yet."""
        for client in self._clients.values():
            mine = uid in {None, client.peer.uid} and client not in self._newest
            if mine and client.is_idle() and not client.has_said_more():
                self._drop(client)
                return True
        return False

    def _find_descriptor(self) -> bool:
        """Free one to accept with, or pause: the event would come back at once, for ever. Those
        who came with it get a moment to say what they came for."""
        if self._evict(None):
            return True
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
            return True
        self._resume_ns = self._clock() + (_MOMENT_NS if self._newest else _PAUSE_NS)
        for fd in self._listeners:
            self._unwatch(fd)
        return False

    def _resume(self) -> None:
        self._resume_ns = 0
        for fd in self._listeners:
            self._watch(fd, EPOLLIN)

    def _drop(self, client: Connection) -> None:
        """Close the connection; what was open on it is over."""
        if client.gone:
            return
        self._unwatch(client.fd)
        self._clients.pop(client.fd)
        self._deadlines.pop(client, None)
        self._parked.discard(client)
        self._unread_bytes -= self._unread.pop(client, 0)
        uid = client.peer.uid
        self._count[uid] -= 1
        if not self._count[uid]:
            del self._count[uid]
        client.close()
        self._abandon(client)
        if self._spare < 0:
            try:
                self._spare = os.dup(next(iter(self._listeners)))
            except OSError:
                return  # somebody else had need of it
        if self._resume_ns:
            self._resume()

    def _abandon(self, client: Connection) -> None:
        """Its call, if one is open, is of no use to anybody any more."""
        call, client.call = client.call, None
        if call is not None:
            call.send = None
            if call.closed is not None:
                self._left.append(call.closed)

    def _tell(self) -> None:
        """Tell whose client left. Not at once, but when nobody is in the middle of anything."""
        left, self._left = self._left, []
        for closed in left:
            closed()

    # --- one client's turn ---------------------------------------------------------------------

    def _turn(self, client: Connection, mask: int) -> None:
        if mask & (EPOLLHUP | EPOLLERR) and not mask & EPOLLIN and client.hung_up():
            self._drop(client)
            return
        if mask & EPOLLIN and client.mask & EPOLLIN and not client.read():
            self._drop(client)
            return
        if client.out:
            self._write(client)
        try:
            if not (client.gone or client.out or client.call or client.closing):
                self._take(client)
        finally:
            self._settle(client)

    def _settle(self, client: Connection) -> None:
        """Watch the client for what it can do next."""
        if client.gone:
            return
        if client.closing and not client.out:
            self._drop(client)
            return
        if client.out:
            mask = EPOLLOUT
        elif client.call is not None or client in self._parked:
            mask = 0
        else:
            mask = EPOLLOUT if client.inbox.has_message() else EPOLLIN
        if mask != EPOLLIN or not client.inbox:
            self._deadlines.pop(client, None)
        elif client not in self._deadlines:
            self._deadlines[client] = self._clock() + MESSAGE_NS
        if mask != client.mask:
            client.mask = mask
            self._watch(client.fd, mask)

    def _write(self, client: Connection, data: bytes = b"") -> None:
        if not client.write(data):
            self._drop(client)
            return
        before = self._unread.get(client, 0)
        self._unread_bytes += len(client.out) - before
        if client.out:
            self._unread[client] = len(client.out)  # keeps its place if it had one
        elif before:
            del self._unread[client]
        while self._unread_bytes > UNREAD_BYTES and len(self._unread) > 1:
            self._drop(next(iter(self._unread)))

    def _answer(self, client: Connection, data: bytes, last: bool) -> None:
        """What an open call sends. Never drops a client under the feet of `_turn`."""
        if last:
            client.call = None
        elif client.out and len(client.out) + len(data) > STREAM_BYTES:
            self._abandon(client)
            self._end(client, TooSlow(
                f"cannot go on: {len(client.out)} bytes are still to be read;"
                " what came after them is lost, ask again"))
            return
        self._write(client, data)
        self._settle(client)

    def _end(self, client: Connection, refusal: BadMessage | TooSlow) -> None:
        """Say why, then close."""
        client.closing = True
        self._write(client, write_error(f"{INTERFACE}.{type(refusal).__name__}", refusal))
        self._settle(client)

    def _take(self, client: Connection) -> None:
        """Take the client's next message, if it is complete and its turn, and do what it says."""
        if not client.inbox.has_message():
            return
        uid = client.peer.uid
        started = self._clock()
        windows = (started - self._window_ns) // WINDOW_NS
        if windows:
            self._window_ns = started
            paid = windows * SHARE_NS  # one long call is paid for with the windows after it
            self._spent = {u: ns - paid for u, ns in self._spent.items() if ns > paid}
        spent = self._spent.get(uid, 0)
        if spent >= SHARE_NS and not self.access.is_privileged(uid) and (
            spent >= BURST_NS or not self._collects(uid)
        ):
            self._parked.add(client)
            return
        self._deadlines.pop(client, None)
        self._clients[client.fd] = self._clients.pop(client.fd)
        try:
            self._do(client)
        finally:
            self._spent[uid] = self._spent.get(uid, 0) + self._clock() - started

    def _do(self, client: Connection) -> None:
        """Do what the client's next message says."""
        try:
            envelope = read_call(client.inbox.take() or b"")
        except Malformed as exc:
            self._end(client, BadMessage(
                f"cannot read the message: {exc.reason}; the connection is closed"))
            return
        call = self._dispatcher.prepare(envelope, client.peer, partial(self._answer, client))
        if isinstance(call, OpenCall):
            client.call = call
            call.fds, client.fds = client.fds, ()
            try:
                call.run()
            finally:
                client.fds, call.fds = call.fds, ()
                client.close_fds()
        elif not envelope.oneway:
            self._write(client, call)
