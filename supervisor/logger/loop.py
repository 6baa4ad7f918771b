"""Which pipe is served when.

A pipe is calm (armed in epoll: its next byte wakes us) or queued (it has a turn at a time we
choose, and its writes wake nobody). A line now and then keeps a pipe calm. One that floods is
queued: it is enlarged, and between two turns we let it fill, because pages that are full cost the
least to move: the wait grows while turns move little, and shrinks to nothing while they move half a
pipe. One whose storage fails is queued too, with a longer wait, and so its unit waits in write(2)
until there is space again; or, with `on_full = "drop"`, it is looked at again and again, and what
is in it is dropped when it is full. The same goes for storage that takes long.

Law: nothing here blocks but epoll_wait, a sleep of less than half a millisecond, and the file
system itself. After SLICE_NS of turns, calm pipes with new bytes come first.
"""
from __future__ import annotations

import errno
import posix
import select
import time
from _heapq import heappop, heappush

from supervisor.logger import frames
from supervisor.logger.compressor import Compressor
from supervisor.logger.form import ERROR, ERRORS, OUTPUT
from supervisor.logger.intake import Intake
from supervisor.logger.losses import FULL, SLOW, Ledger
from supervisor.logger.notice import reason, say
from supervisor.logger.options import Options, parse
from supervisor.logger.pipe import Pipe, waiting
from supervisor.logger.retention import Retention
from supervisor.logger.stream import TURN_BYTES, Stream
from supervisor.logger.tally import Tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from supervisor.logger.directory import LogDirectory

EVENTS = 64
SLICE_NS = 5_000_000
LONGEST_WAIT_NS = 1_000_000
SHORTEST_WAIT_NS = 60_000  # below it, a wait is none: a sleep would take longer than that anyway
LONE_NS = 2_000_000  # a move that long after the last one is a line now and then
FIRST_DELAY_NS = 100_000_000
LONGEST_DELAY_NS = 2_000_000_000
LAST_DRAIN_NS = 4_000_000_000  # the keeper waits for 5 s
MOST_OPEN = 256  # segments at once; each takes two descriptors

SLOW_NS = 50_000_000  # a store that takes longer is what others should not wait for
LONGEST_SLOW_NS = 1_000_000_000  # it may have been us who were stopped
LARGE_NS = 10_000_000  # one that takes longer was too large
SMALL_NS = 5_000_000
LEAST_TURN_BYTES = 1 << 16
SHORTEST_LOOK_NS = 500_000
LONGEST_LOOK_NS = 50_000_000

FLOOD_PIPE_BYTES = 1 << 20
CALM_PIPE_BYTES = 1 << 16


class Logger:
    """`keeper` is the socket to the keeper, `most` how many descriptors there may be, `runtime` the
    runtime directory, `budget` how many bytes the log directory may hold (0: any number, -1: a
    share of its file system), `site` where libraries are."""

    def __init__(
        self, directory: LogDirectory, keeper: socket, most: int, *, runtime: str = "",
        budget: int = -1, site: str = "",
    ) -> None:
        self._directory = directory
        self._most_open = min(MOST_OPEN, most // 8)  # most are for pipes: one for each stream
        self._ledger = Ledger(runtime)
        self._tally = Tally(runtime)
        self._by_name: dict[str, Pipe] = {}
        self._by_fd: dict[int, Pipe] = {}
        self._streams: dict[str, Stream] = {}
        self._open: dict[Stream, None] = {}  # those with open files, longest unused first
        self._queue: list[tuple[int, int, Pipe]] = []  # (monotonic ns, ticket, pipe): a heap
        self._tickets = 0
        self._failing: set[Pipe] = set()
        self._failed_since_ns = 0
        self._lost = 0  # bytes since then
        self._slow_until_ns = 0
        self._turn_bytes = TURN_BYTES
        self._epoll = select.epoll()
        self._intake = Intake(keeper, most, self._epoll, self._close_all)
        self._compressor = Compressor(self._epoll, site)
        self._retention = Retention(directory, self._streams.get, budget, self._compressor)

    def run(self) -> int:
        """Serve until the keeper is gone. The exit status: 0 if everything is stored, else 1."""
        self._declare_left()
        while True:
            for fd, _ in self._epoll.poll(self._pause(), EVENTS):
                pipe = self._by_fd.get(fd)
                if pipe:
                    if not pipe.queued:  # a frame before it in this batch may have changed that
                        self._serve(pipe)
                elif fd == self._compressor.fd:
                    self._compressor.ended(self._directory)
                elif fd == self._intake.fd and not self._receive():
                    return self._finish()
            self._serve_queue()
            self._retention.work()

    def _declare_left(self) -> None:
        """What an earlier logger lost of streams that perhaps nobody writes any more."""
        for name in self._ledger.streams_left():
            stream = Stream(name, Options(), self._ledger, self._tally)
            try:
                stream.declare(self._directory)
            except OSError as error:
                say(f"cannot declare what was lost of {name}: {reason(error)}; its file stays")
            stream.close()

    def _pause(self) -> float | None:
        """Seconds until the next turn (None: there is none). Sleeps if that is too soon for epoll,
        which knows whole milliseconds only."""
        times = [self._queue[0][0]] if self._queue else []
        if self._intake.deaf_until_ns:
            times.append(self._intake.deaf_until_ns)
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
        if 0 < self._intake.deaf_until_ns <= now_ns:
            self._intake.hear()
        while self._queue and self._queue[0][0] <= now_ns < until_ns:
            pipe = heappop(self._queue)[2]
            if pipe.fd >= 0:
                self._serve(pipe)
            now_ns = time.monotonic_ns()

    def _serve(self, pipe: Pipe) -> None:
        """One turn, and when the next one is."""
        stream = pipe.stream
        start_ns = time.monotonic_ns()
        if (
            stream.options.drop
            and start_ns < max(pipe.retry_ns, self._slow_until_ns)
            and not pipe.gone
        ):
            self._look(pipe, start_ns)
            return
        try:
            moved = stream.move(pipe.fd, pipe.kind, self._directory, self._turn_bytes)
            if pipe.gone and not moved and stream.losses:
                stream.declare(self._directory)
        except OSError as error:
            self._fail(pipe, error)
            return
        self._note_open(stream)
        if moved:
            self._retention.grew(stream)
        now_ns = time.monotonic_ns()
        self._judge(now_ns - start_ns, now_ns)
        if pipe.delay_ns:
            self._recover(pipe, now_ns)
        if pipe.gone:
            if moved or stream.owed:
                self._enqueue(pipe, now_ns)
            else:
                self._end(pipe)
            return
        self._pace(pipe, moved, now_ns)

    def _judge(self, took_ns: int, now_ns: int) -> None:
        """Storage that is slow gets less at once, so that no one waits for long."""
        if took_ns > LARGE_NS:
            self._turn_bytes = max(self._turn_bytes // 2, LEAST_TURN_BYTES)
            if took_ns > SLOW_NS:
                self._slow_until_ns = now_ns + min(took_ns, LONGEST_SLOW_NS)
        elif took_ns < SMALL_NS and self._turn_bytes < TURN_BYTES:
            self._turn_bytes *= 2

    def _pace(self, pipe: Pipe, moved: int, now_ns: int) -> None:
        stream = pipe.stream
        lone = now_ns - pipe.moved_ns > LONE_NS
        if moved:
            pipe.moved_ns = now_ns
        more = stream.owed or stream.losses
        if not pipe.queued:
            if lone and moved < CALM_PIPE_BYTES // 2 and not more:
                return
            self._disarm(pipe)
        wait_ns = pipe.wait_ns
        if moved * 2 >= pipe.capacity:
            wait_ns //= 2
            if pipe.capacity < FLOOD_PIPE_BYTES:
                pipe.resize(FLOOD_PIPE_BYTES)
        elif moved * 8 < pipe.capacity:
            if not moved and wait_ns >= LONGEST_WAIT_NS:
                if not more:
                    self._calm(pipe)
                    return
                wait_ns = LONGEST_LOOK_NS // 4  # until what is lost can be declared
            else:
                wait_ns = min(wait_ns * 2, LONGEST_WAIT_NS)
        pipe.wait_ns = min(max(wait_ns, SHORTEST_WAIT_NS // 2), LONGEST_WAIT_NS)
        self._enqueue(pipe, now_ns + (wait_ns if wait_ns >= SHORTEST_WAIT_NS else 0))

    def _look(self, pipe: Pipe, now_ns: int) -> None:
        """Nothing of it is stored now: see to it that its writer does not wait."""
        if not pipe.queued:
            self._disarm(pipe)
        look_ns = min(max(pipe.look_ns * 2, SHORTEST_LOOK_NS), LONGEST_LOOK_NS)
        if pipe.is_full():
            look_ns = max(pipe.look_ns // 2, SHORTEST_LOOK_NS)
            if not (pipe.capacity < FLOOD_PIPE_BYTES and pipe.resize(FLOOD_PIPE_BYTES)):
                try:
                    why = FULL if now_ns < pipe.retry_ns else SLOW
                    self._lost += pipe.stream.lose(pipe.fd, why)
                except OSError as error:
                    say(f"cannot drop what {pipe.name} writes: {reason(error)}; it waits")
                    look_ns = LONGEST_DELAY_NS
        pipe.look_ns = look_ns
        until_ns = max(pipe.retry_ns, self._slow_until_ns)
        self._enqueue(pipe, min(now_ns + look_ns, until_ns))

    def _calm(self, pipe: Pipe) -> None:
        pipe.queued = False
        if pipe.capacity > CALM_PIPE_BYTES:
            pipe.resize(CALM_PIPE_BYTES)
        self._epoll.modify(pipe.fd, select.EPOLLIN)

    def _disarm(self, pipe: Pipe) -> None:
        """From now on it has turns; the caller enqueues it."""
        pipe.queued = True
        pipe.wait_ns = LONGEST_WAIT_NS
        pipe.measure()
        self._epoll.modify(pipe.fd, 0)

    def _enqueue(self, pipe: Pipe, at_ns: int) -> None:
        self._tickets += 1
        heappush(self._queue, (at_ns, self._tickets, pipe))

    def _note_open(self, stream: Stream) -> None:
        """Close what was used longest ago when too many files are open."""
        self._open.pop(stream, None)
        if stream.tail:
            self._open[stream] = None
            if len(self._open) > self._most_open:
                oldest = next(iter(self._open))
                oldest.close_tail()
                del self._open[oldest]

    def _close_all(self) -> None:
        for stream in self._open:
            stream.close_tail()
        self._open.clear()

    def _fail(self, pipe: Pipe, error: OSError) -> None:
        """Its bytes stay in the pipe, so that nothing is lost; try again later."""
        if error.errno in {errno.EMFILE, errno.ENFILE}:
            self._close_all()
        self._open.pop(pipe.stream, None)
        now_ns = time.monotonic_ns()
        if not self._failing:
            self._failed_since_ns, self._lost = now_ns, 0
            say(
                f"cannot write {self._directory.path}/{pipe.stream.name}: {reason(error)}; units"
                " wait when their pipes are full, or lose what is in them (logs.on_full), until"
                " this works again"
            )
        self._failing.add(pipe)
        if not pipe.queued:
            self._disarm(pipe)
        pipe.delay_ns = min(pipe.delay_ns * 2 or FIRST_DELAY_NS, LONGEST_DELAY_NS)
        pipe.retry_ns = now_ns + pipe.delay_ns
        looks = pipe.stream.options.drop and not pipe.gone
        self._enqueue(pipe, now_ns if looks else pipe.retry_ns)

    def _recover(self, pipe: Pipe, now_ns: int) -> None:
        pipe.delay_ns = pipe.retry_ns = 0
        self._failing.discard(pipe)
        if not self._failing:
            seconds = (now_ns - self._failed_since_ns) / 1e9
            lost = f"{self._lost} bytes were lost" if self._lost else "nothing was lost"
            say(f"can write {self._directory.path} again after {seconds:.1f} s; {lost}")

    def _receive(self) -> bool:
        """Handle one datagram of the keeper's; False when it has closed its end."""
        known = self._intake.receive()
        for op, name, text, fd in known or ():
            if op == frames.OPEN:
                self._add(name, parse(text), fd)
            elif pipe := self._by_name.get(name):
                self._retire(pipe)
        return known is not None

    def _add(self, name: str, options: Options, fd: int) -> None:
        known = self._by_name.get(name)
        if known is None:
            home = name.removesuffix(ERRORS)
            stream = self._streams.get(home)
            if stream is None:
                stream = self._streams[home] = Stream(home, options, self._ledger, self._tally)
            stream.pipes += 1
            pipe = Pipe(name, fd, OUTPUT if home == name else ERROR, stream)
            self._by_name[name] = pipe
            self._welcome(pipe, options)
        elif known.is_same(fd) and not known.gone:
            known.stream.options = options
            self._retention.meet(known.stream)
            posix.close(fd)
        else:
            if known.successor:
                posix.close(known.successor[0])
            known.successor = (fd, options)
            self._retire(known)

    def _welcome(self, pipe: Pipe, options: Options) -> None:
        pipe.stream.options = options
        self._retention.meet(pipe.stream)
        self._by_fd[pipe.fd] = pipe
        self._epoll.register(pipe.fd, select.EPOLLIN)
        if pipe.stream.losses:  # of a logger that was killed
            self._disarm(pipe)
            self._enqueue(pipe, 0)

    def _retire(self, pipe: Pipe) -> None:
        """Nobody writes any more: empty the pipe, then end."""
        pipe.gone = True
        if not pipe.queued:
            self._disarm(pipe)
            self._enqueue(pipe, 0)

    def _end(self, pipe: Pipe) -> None:
        """It is empty for good."""
        del self._by_fd[pipe.fd]
        self._epoll.unregister(pipe.fd)
        posix.close(pipe.fd)
        pipe.queued = pipe.gone = False
        if pipe.successor:
            pipe.fd, options = pipe.successor
            pipe.successor = None
            self._welcome(pipe, options)
        else:
            pipe.fd = -1
            self._forget(pipe)

    def _forget(self, pipe: Pipe) -> None:
        stream = pipe.stream
        del self._by_name[pipe.name]
        stream.pipes -= 1
        if not stream.pipes:
            self._open.pop(stream, None)
            del self._streams[stream.name]
            stream.forget()

    def _finish(self) -> int:
        """The keeper has ended, and with it all who write: store what is left."""
        self._compressor.finish(self._directory)
        self._epoll.unregister(self._intake.fd)
        for pipe in list(self._by_name.values()):
            left = pipe.stream.owed or pipe.stream.losses or pipe.queued or pipe.successor
            if not (left or waiting(pipe.fd)):
                self._forget(pipe)  # our own end closes it
        deadline_ns = time.monotonic_ns() + LAST_DRAIN_NS
        while self._by_name and (now_ns := time.monotonic_ns()) < deadline_ns:
            for pipe in self._by_name.values():
                if not pipe.gone:
                    self._retire(pipe)
            time.sleep(max(0, min(self._queue[0][0], deadline_ns) - now_ns) / 1e9)
            self._serve_queue()
        for pipe in self._by_name.values():
            count = waiting(pipe.fd)
            say(f"cannot store the last {count} bytes of {pipe.name}: out of time; they are lost")
            try:
                pipe.stream.lose(pipe.fd, FULL)  # which the next supervisor's logger declares
            except OSError:
                continue
        return 1 if self._by_name else 0
