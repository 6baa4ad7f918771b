"""Which stream is served when.

A stream is calm (armed in epoll: its next byte wakes us) or queued (it has a turn at a time we
choose, and its writes wake nobody). A line now and then keeps a stream calm. One that floods is
queued: its pipe is enlarged, and between two turns we let it fill, because pages that are full
cost the least to move: the wait grows while turns move little, and shrinks to nothing while they
move half a pipe. A stream whose storage fails is queued too, with a longer wait, and so its unit
waits in write(2) until there is space again.

Law: nothing here blocks but epoll_wait, a sleep of less than half a millisecond, and the file
system itself. After SLICE_NS of turns, calm streams with new bytes come first.
"""
from __future__ import annotations

import errno
import fcntl
import posix
import select
import time
from _heapq import heappop, heappush
from _socket import CMSG_LEN, MSG_CMSG_CLOEXEC, MSG_CTRUNC, MSG_DONTWAIT, SCM_RIGHTS, socket

from supervisor.kernel.wire import MAX_FDS, MAX_FRAME
from supervisor.logger import frames
from supervisor.logger.compressor import Compressor
from supervisor.logger.directory import LogDirectory
from supervisor.logger.form import directory_of
from supervisor.logger.notice import reason, say
from supervisor.logger.options import parse
from supervisor.logger.retention import Retention
from supervisor.logger.room import Room
from supervisor.logger.stream import Stream, waiting

EVENTS = 64
SLICE_NS = 5_000_000
LONGEST_WAIT_NS = 1_000_000
SHORTEST_WAIT_NS = 60_000  # below it, a wait is none: a sleep would take longer than that anyway
LONE_NS = 2_000_000  # a move that long after the last one is a line now and then
FIRST_DELAY_NS = 100_000_000
LONGEST_DELAY_NS = 2_000_000_000
LAST_DRAIN_NS = 4_000_000_000  # the keeper waits for 5 s
DEAF_NS = 500_000_000
MOST_OPEN = 256  # segments at once; each takes two descriptors

FLOOD_PIPE_BYTES = 1 << 20
CALM_PIPE_BYTES = 1 << 16
F_SETPIPE_SZ = 1031  # fcntl(2)
F_GETPIPE_SZ = 1032


class Logger:
    """`keeper` is the socket to the keeper, `most` how many descriptors there may be, `budget` how
    many bytes the log directory may hold (0: any number, -1: a share of its file system), `site`
    where libraries are."""

    def __init__(
        self, directory: LogDirectory, keeper: socket, most: int, budget: int = -1, site: str = ""
    ) -> None:
        self._directory = directory
        self._keeper = keeper
        self._room = Room(most)
        self._deaf_until_ns = 0  # the keeper is not heard until then; 0: it is
        self._most_open = min(MOST_OPEN, most // 8)  # most are for pipes: one for each stream
        self._by_name: dict[str, Stream] = {}
        self._by_pipe: dict[int, Stream] = {}
        self._open: dict[Stream, None] = {}  # those with open files, longest unused first
        self._queue: list[tuple[int, int, Stream]] = []  # (monotonic ns, ticket, stream): a heap
        self._tickets = 0
        self._failing: set[Stream] = set()
        self._failed_since_ns = 0
        self._epoll = select.epoll()
        self._epoll.register(keeper.fileno(), select.EPOLLIN)
        self._compressor = Compressor(self._epoll, site)
        self._retention = Retention(directory, self._by_name.get, budget, self._compressor)

    def run(self) -> int:
        """Serve until the keeper is gone. The exit status: 0 if everything is stored, else 1."""
        while True:
            for fd, _ in self._epoll.poll(self._pause(), EVENTS):
                stream = self._by_pipe.get(fd)
                if stream:
                    if not stream.queued:  # a frame before it in this batch may have changed that
                        self._serve(stream)
                elif fd == self._compressor.fd:
                    self._compressor.ended(self._directory)
                elif fd == self._keeper.fileno() and not self._receive():
                    return self._finish()
            self._serve_queue()
            self._retention.work()

    def _pause(self) -> float | None:
        """Seconds until the next turn (None: there is none). Sleeps if that is too soon for epoll,
        which knows whole milliseconds only."""
        times = [self._queue[0][0]] if self._queue else []
        if self._deaf_until_ns:
            times.append(self._deaf_until_ns)
        due_ns = self._retention.due_ns()
        if due_ns >= 0:
            times.append(due_ns)
        if not times:
            return None
        pause_ns = min(times) - time.monotonic_ns()
        if pause_ns <= 0:
            return 0
        if pause_ns < LONGEST_WAIT_NS // 2:
            time.sleep(pause_ns / 1e9)
            return 0
        return pause_ns / 1e9

    def _serve_queue(self) -> None:
        now_ns = time.monotonic_ns()
        until_ns = now_ns + SLICE_NS
        if 0 < self._deaf_until_ns <= now_ns:
            self._hear()
        while self._queue and self._queue[0][0] <= now_ns < until_ns:
            stream = heappop(self._queue)[2]
            if stream.pipe >= 0:
                self._serve(stream)
            now_ns = time.monotonic_ns()

    def _serve(self, stream: Stream) -> None:
        """One turn, and when the next one is."""
        try:
            moved = stream.move(self._directory)
        except OSError as error:
            self._fail(stream, error)
            return
        self._note_open(stream)
        if moved:
            self._retention.grew(stream)
        now_ns = time.monotonic_ns()
        if stream.delay_ns:
            self._recover(stream, now_ns)
        if stream.gone:
            if moved or stream.owed:
                self._enqueue(stream, now_ns)
            else:
                self._end(stream)
            return
        self._pace(stream, moved, now_ns)

    def _pace(self, stream: Stream, moved: int, now_ns: int) -> None:
        lone = now_ns - stream.moved_ns > LONE_NS
        if moved:
            stream.moved_ns = now_ns
        if not stream.queued:
            if lone and moved < CALM_PIPE_BYTES // 2 and not stream.owed:
                return
            self._disarm(stream)
        wait_ns = stream.wait_ns
        if moved * 2 >= stream.capacity:
            wait_ns //= 2
            if stream.capacity < FLOOD_PIPE_BYTES:
                _resize(stream, FLOOD_PIPE_BYTES)
        elif moved * 8 < stream.capacity:
            if not moved and wait_ns >= LONGEST_WAIT_NS and not stream.owed:
                self._calm(stream)
                return
            wait_ns = min(wait_ns * 2, LONGEST_WAIT_NS)
        stream.wait_ns = max(wait_ns, SHORTEST_WAIT_NS // 2)
        self._enqueue(stream, now_ns + (wait_ns if wait_ns >= SHORTEST_WAIT_NS else 0))

    def _calm(self, stream: Stream) -> None:
        stream.queued = False
        if stream.capacity > CALM_PIPE_BYTES:
            _resize(stream, CALM_PIPE_BYTES)
        self._epoll.modify(stream.pipe, select.EPOLLIN)

    def _disarm(self, stream: Stream) -> None:
        """From now on it has turns; the caller enqueues it."""
        stream.queued = True
        stream.wait_ns = LONGEST_WAIT_NS
        stream.capacity = fcntl.fcntl(stream.pipe, F_GETPIPE_SZ)
        self._epoll.modify(stream.pipe, 0)

    def _enqueue(self, stream: Stream, at_ns: int) -> None:
        self._tickets += 1
        heappush(self._queue, (at_ns, self._tickets, stream))

    def _note_open(self, stream: Stream) -> None:
        """Close what was used longest ago when too many files are open."""
        self._open.pop(stream, None)
        if stream.tail:
            self._open[stream] = None
            if len(self._open) > self._most_open:
                oldest = next(iter(self._open))
                oldest.close_tail()
                del self._open[oldest]

    def _fail(self, stream: Stream, error: OSError) -> None:
        """Its bytes stay in the pipe, so that nothing is lost; try again later."""
        if error.errno in {errno.EMFILE, errno.ENFILE}:
            self._close_all()
        self._open.pop(stream, None)
        now_ns = time.monotonic_ns()
        if not self._failing:
            self._failed_since_ns = now_ns
            say(
                f"cannot write {self._directory.path}/{stream.name}: {reason(error)}; "
                "units wait when their pipes are full, until this works again"
            )
        self._failing.add(stream)
        if not stream.queued:
            self._disarm(stream)
        stream.delay_ns = min(stream.delay_ns * 2 or FIRST_DELAY_NS, LONGEST_DELAY_NS)
        self._enqueue(stream, now_ns + stream.delay_ns)

    def _recover(self, stream: Stream, now_ns: int) -> None:
        stream.delay_ns = 0
        self._failing.discard(stream)
        if not self._failing:
            seconds = (now_ns - self._failed_since_ns) / 1e9
            say(f"can write {self._directory.path} again after {seconds:.1f} s; nothing was lost")

    def _close_all(self) -> None:
        for stream in self._open:
            stream.close_tail()
        self._open.clear()

    def _deafen(self) -> None:
        """Leave what the keeper has to say where it is, until there is room for the pipes."""
        if not self._deaf_until_ns:
            say("cannot take a log pipe: too many open files; its unit waits when the pipe is full")
            self._epoll.modify(self._keeper.fileno(), 0)
        self._deaf_until_ns = time.monotonic_ns() + DEAF_NS

    def _hear(self) -> None:
        if self._room.is_there(self._keeper.fileno()):
            self._deaf_until_ns = 0
            self._epoll.modify(self._keeper.fileno(), select.EPOLLIN)
        else:
            self._deafen()

    def _receive(self) -> bool:
        """Handle one datagram of the keeper's; False when it has closed its end."""
        if not (self._deaf_until_ns or self._room.is_there(self._keeper.fileno())):
            self._close_all()
            if not self._room.is_there(self._keeper.fileno()):
                self._deafen()
                return True
        try:
            datagram, control, flags, _ = self._keeper.recvmsg(
                MAX_FRAME, CMSG_LEN(4 * MAX_FDS), MSG_DONTWAIT | MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        fds: list[int] = []
        for _, kind, data in control:
            if kind == SCM_RIGHTS:
                fds += memoryview(data[: len(data) & ~3]).cast("i")
        if not datagram:
            return False
        if flags & MSG_CTRUNC:
            say("cannot take a log pipe: too many open files; starting anew, to be given it again")
            raise SystemExit(1)
        known, unwanted = frames.decode(datagram, fds)
        for fd in unwanted:
            posix.close(fd)
        for op, key, text, fd in known:
            try:
                name = directory_of(key)
            except ValueError as error:
                say(str(error))
                if fd >= 0:
                    posix.close(fd)
                continue
            if op == frames.OPEN:
                self._add(name, text, fd)
            elif stream := self._by_name.get(name):
                self._retire(stream)
        return True

    def _add(self, name: str, text: str, pipe: int) -> None:
        options = parse(text)
        known = self._by_name.get(name)
        if known is None:
            stream = Stream(name, pipe, options)
            self._by_name[name] = stream
            self._retention.meet(stream)
            self._listen(stream)
        elif _same_pipe(known.pipe, pipe) and not known.gone:
            known.options = options
            self._retention.meet(known)
            posix.close(pipe)
        else:
            if known.successor:
                posix.close(known.successor[0])
            known.successor = (pipe, options)
            self._retire(known)

    def _listen(self, stream: Stream) -> None:
        self._by_pipe[stream.pipe] = stream
        self._epoll.register(stream.pipe, select.EPOLLIN)

    def _retire(self, stream: Stream) -> None:
        """Nobody writes any more: empty the pipe, then end."""
        stream.gone = True
        if not stream.queued:
            self._disarm(stream)
            self._enqueue(stream, 0)

    def _end(self, stream: Stream) -> None:
        """Its pipe is empty for good."""
        del self._by_pipe[stream.pipe]
        self._epoll.unregister(stream.pipe)
        posix.close(stream.pipe)
        stream.queued = stream.gone = False
        if stream.successor:
            stream.pipe, stream.options = stream.successor
            self._retention.meet(stream)
            stream.successor = None
            self._listen(stream)
            return
        stream.pipe = -1
        stream.close_tail()
        self._open.pop(stream, None)
        del self._by_name[stream.name]

    def _finish(self) -> int:
        """The keeper has ended, and with it all who write: store what is left."""
        self._compressor.stop()
        self._epoll.unregister(self._keeper.fileno())
        for stream in list(self._by_name.values()):
            if not (stream.owed or stream.queued or stream.successor or waiting(stream.pipe)):
                stream.close_tail()
                del self._by_name[stream.name]  # our own end closes its pipe
        deadline_ns = time.monotonic_ns() + LAST_DRAIN_NS
        while self._by_name and (now_ns := time.monotonic_ns()) < deadline_ns:
            for stream in self._by_name.values():
                if not stream.gone:
                    self._retire(stream)
            time.sleep(max(0, min(self._queue[0][0], deadline_ns) - now_ns) / 1e9)
            self._serve_queue()
        for stream in self._by_name.values():
            left = waiting(stream.pipe)
            say(f"cannot store the last {left} bytes of {stream.name}: out of time; they are lost")
        return 1 if self._by_name else 0


def _resize(stream: Stream, size: int) -> None:
    """May be refused: pipe(7) limits a user's pages, and a smaller pipe must hold what is in it."""
    try:
        stream.capacity = fcntl.fcntl(stream.pipe, F_SETPIPE_SZ, size)
    except OSError:
        return


def _same_pipe(one: int, other: int) -> bool:
    a, b = posix.fstat(one), posix.fstat(other)
    return (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
