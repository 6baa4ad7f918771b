"""The logger: its pipes and streams, from the keeper's first word to its last.

Law: nothing here blocks but epoll_wait, a sleep of less than half a millisecond, and the file
system itself.
"""
from __future__ import annotations

import posix
import select
import time

from supervisor.logger import frames
from supervisor.logger.compressor import Compressor
from supervisor.logger.form import ERROR, ERRORS, OUTPUT
from supervisor.logger.intake import Intake
from supervisor.logger.losses import FULL, Ledger
from supervisor.logger.notice import reason, say
from supervisor.logger.options import Options, parse
from supervisor.logger.pipe import Pipe, waiting
from supervisor.logger.retention import Retention
from supervisor.logger.stream import Stream
from supervisor.logger.tally import Tally
from supervisor.logger.turns import Turns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from supervisor.logger.directory import LogDirectory

EVENTS = 64
LAST_DRAIN_NS = 4_000_000_000  # the keeper waits for 5 s
MOST_OPEN = 256  # segments at once; each takes two descriptors
SHORTEST_EPOLL_NS = 500_000  # it knows whole milliseconds only


class Logger:
    """`keeper` is the socket to the keeper, `most` how many descriptors there may be, `runtime` the
    runtime directory, `budget` how many bytes the log directory may hold (0: any number, -1: a
    share of its file system), `site` where libraries are."""

    def __init__(
        self, directory: LogDirectory, keeper: socket, most: int, *, runtime: str = "",
        budget: int = -1, site: str = "",
    ) -> None:
        self._directory = directory
        self._runtime = runtime
        self._ledger: Ledger | None = None  # until the first stream, see `_begin`
        self._tally = Tally(runtime)
        self._by_name: dict[str, Pipe] = {}
        self._by_fd: dict[int, Pipe] = {}
        self._streams: dict[str, Stream] = {}
        self._epoll = select.epoll()
        self._compressor = Compressor(self._epoll, site)
        self._retention = Retention(directory, self._streams.get, budget, self._compressor)
        most_open = min(MOST_OPEN, most // 8)  # most are for pipes: one for each stream
        self._turns = Turns(directory, self._epoll, most_open, self._retention.grew, self._end)
        self._intake = Intake(keeper, most, self._epoll, self._turns.close_all)

    def run(self) -> int:
        """Serve until the keeper is gone. The exit status: 0 if everything is stored, else 1."""
        while True:
            for fd, _ in self._epoll.poll(self._pause(), EVENTS):
                pipe = self._by_fd.get(fd)
                if pipe:
                    if not pipe.queued:  # a frame before it in this batch may have changed that
                        self._turns.serve(pipe)
                elif fd == self._compressor.fd:
                    self._compressor.ended(self._directory)
                elif fd == self._intake.fd and not self._receive():
                    return self._finish()
            if 0 < self._intake.deaf_until_ns <= time.monotonic_ns():
                self._intake.hear()
            self._turns.serve_due()
            self._retention.work()

    def _begin(self) -> Ledger:
        """Take over what an earlier logger lost, of streams that perhaps nobody writes any more.
        Not before there is a first stream: a supervisor that is refused its runtime directory has
        none, and what is there is another's."""
        ledger = self._ledger = Ledger(self._runtime)
        for name in ledger.streams_left():
            stream = Stream(name, Options(), ledger, self._tally)
            try:
                stream.declare(self._directory)
            except OSError as error:
                say(f"cannot declare what was lost of {name}: {reason(error)}; it is tried again"
                    " when that is written")
                ledger.put_back(stream.losses)
            stream.close()
        return ledger

    def _pause(self) -> float | None:
        """Seconds until the next turn (None: there is none). Sleeps if that is too soon for epoll,
        which knows whole milliseconds only."""
        times = [self._turns.due_ns(), self._retention.due_ns(), self._intake.deaf_until_ns or -1]
        times = [due_ns for due_ns in times if due_ns >= 0]
        if not times:
            return None
        pause_ns = min(times) - time.monotonic_ns()
        if pause_ns <= 0:
            return 0
        if pause_ns < SHORTEST_EPOLL_NS:
            time.sleep(pause_ns / 1e9)
            return 0
        return pause_ns / 1e9

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
                ledger = self._ledger or self._begin()
                stream = self._streams[home] = Stream(home, options, ledger, self._tally)
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
            self._turns.queue(pipe)

    def _retire(self, pipe: Pipe) -> None:
        """Nobody writes any more: empty the pipe, then end."""
        pipe.gone = True
        self._turns.queue(pipe)

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
            self._turns.forget(stream)
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
            time.sleep(max(0, min(self._turns.due_ns(), deadline_ns) - now_ns) / 1e9)
            self._turns.serve_due()
        for pipe in self._by_name.values():
            count = waiting(pipe.fd)
            say(f"cannot store the last {count} bytes of {pipe.name}: out of time; they are lost")
            try:
                pipe.stream.lose(pipe.fd, FULL)  # which the next supervisor's logger declares
            except OSError:
                continue
        self._tally.end()
        return 1 if self._by_name else 0
