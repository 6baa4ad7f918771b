"""Which pipe is served when.

A pipe is calm (armed in epoll: its next byte wakes us) or queued (it has a turn at a time we
choose, and its writes wake nobody). A line now and then keeps a pipe calm. One that floods is
queued: it is enlarged, and between two turns we let it fill, because pages that are full cost the
least to move: the wait grows while turns move little, and shrinks to nothing while they move half a
pipe. One whose storage fails is queued too, with a longer wait, and so its unit waits in write(2)
until there is space again; or, with `on_full = "drop"`, it is looked at again and again, and what
is in it is dropped when it is full. The same goes for storage that takes long.

Law: nothing here blocks but the file system. After SLICE_NS of turns, calm pipes with new bytes
come first.
"""
from __future__ import annotations

import errno
import os
import select
import time
from _heapq import heappop, heappush

from supervisor.logger.losses import FULL, SLOW
from supervisor.logger.notice import reason, say
from supervisor.logger.stream import TURN_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.logger.directory import LogDirectory
    from supervisor.logger.pipe import Pipe
    from supervisor.logger.stream import Stream

SLICE_NS = 5_000_000
LONGEST_WAIT_NS = 1_000_000
SHORTEST_WAIT_NS = 60_000  # below it, a wait is none: a sleep would take longer than that anyway
LONE_NS = 2_000_000  # a move that long after the last one is a line now and then
FIRST_DELAY_NS = 100_000_000
LONGEST_DELAY_NS = 2_000_000_000
BOOT_NS = 60_000_000_000

SLOW_NS = 50_000_000  # a store that takes longer is what others should not wait for
LONGEST_SLOW_NS = 1_000_000_000  # it may have been us who were stopped
LARGE_NS = 10_000_000  # one that takes longer was too large
SMALL_NS = 5_000_000
LEAST_TURN_BYTES = 1 << 16
SHORTEST_LOOK_NS = 500_000
LONGEST_LOOK_NS = 50_000_000

FLOOD_PIPE_BYTES = 1 << 20
CALM_PIPE_BYTES = 1 << 16


class Turns:
    """`most_open`: segments that may be open at once. `grew` is told of each stream that has stored
    something, `ended` of each pipe that is empty for good."""

    def __init__(
        self, directory: LogDirectory, epoll: select.epoll, most_open: int,
        grew: Callable[[Stream], None], ended: Callable[[Pipe], None],
    ) -> None:
        self._directory = directory
        self._epoll = epoll
        self._most_open = most_open
        self._grew = grew
        self._ended = ended
        self._open: dict[Stream, None] = {}  # those with open files, longest unused first
        self._queue: list[tuple[int, int, Pipe]] = []  # (monotonic ns, ticket, pipe): a heap
        self._tickets = 0
        self._failing: set[Pipe] = set()
        self._failed_since_ns = 0
        self._lost = 0  # bytes since then
        self._told = False  # of this failure
        self._boots = "UNBOXED_MACHINE" in os.environ
        self._slow_until_ns = 0
        self._turn_bytes = TURN_BYTES

    def due_ns(self) -> int:
        """When the next turn is, in monotonic ns; -1: there is none."""
        return self._queue[0][0] if self._queue else -1

    def serve_due(self) -> None:
        """All that is due, for SLICE_NS at most."""
        now_ns = time.monotonic_ns()
        until_ns = now_ns + SLICE_NS
        while self._queue and self._queue[0][0] <= now_ns < until_ns:
            pipe = heappop(self._queue)[2]
            if pipe.fd >= 0:
                self.serve(pipe)
            now_ns = time.monotonic_ns()

    def serve(self, pipe: Pipe) -> None:
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
            self._grew(stream)
        now_ns = time.monotonic_ns()
        self._judge(now_ns - start_ns, now_ns)
        if pipe.delay_ns:
            self._recover(pipe, now_ns)
        if pipe.gone:
            if moved or stream.owed:
                self._enqueue(pipe, now_ns)
            else:
                self._ended(pipe)
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

    def queue(self, pipe: Pipe) -> None:
        """It has a turn now, whether or not it was calm."""
        if not pipe.queued:
            self._disarm(pipe)
            self._enqueue(pipe, 0)

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

    def forget(self, stream: Stream) -> None:
        """It is no more."""
        self._open.pop(stream, None)

    def close_all(self) -> None:
        """Close all segments; they can be opened again."""
        for stream in self._open:
            stream.close_tail()
        self._open.clear()

    def _fail(self, pipe: Pipe, error: OSError) -> None:
        """Its bytes stay in the pipe, so that nothing is lost; try again later."""
        if error.errno in {errno.EMFILE, errno.ENFILE}:
            self.close_all()
        self._open.pop(pipe.stream, None)
        now_ns = time.monotonic_ns()
        if not self._failing:
            self._failed_since_ns, self._lost, self._told = now_ns, 0, False
        # A machine's root is read-only until its file systems have been checked.
        patience_ns = BOOT_NS if self._boots and error.errno == errno.EROFS else 0
        if not self._told and now_ns - self._failed_since_ns >= patience_ns:
            self._told = True
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
        if not self._failing and (self._told or self._lost):
            seconds = (now_ns - self._failed_since_ns) / 1e9
            lost = f"{self._lost} bytes were lost" if self._lost else "nothing was lost"
            say(f"can write {self._directory.path} again after {seconds:.1f} s; {lost}")
