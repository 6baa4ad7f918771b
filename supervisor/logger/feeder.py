"""The feed process: stored logs as JSON Lines on standard output, acknowledgements on standard
input (docs/agents.md).

Law: whatever the agent does, nobody else waits: the feed reads files, and no further than its
agent takes lines. It holds BUFFER_BYTES of text, a block of one stream, and an offset for each
stream. A feed that has nothing to do sleeps.

Its life ends when the agent is gone (standard output has no reader), or, after SIGTERM, which says
that no more will be written, once all that is stored was acknowledged or taken; or by SIGKILL at
any instant: a successor on the same pipe begins with a newline, as a line may have been cut off,
and goes on with what was acknowledged, or without a cursor with what was not delivered.
"""
from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` itself imports enum: 3 ms
import fcntl
import os
import select
import time
from errno import EPIPE
from math import ceil, inf

from supervisor.logger.feed_line import Encoder
from supervisor.logger.feed_memory import Memory
from supervisor.logger.feed_options import USAGE, Options, parse
from supervisor.logger.news import News
from supervisor.logger.notice import reason, say
from supervisor.logger.read import matches
from supervisor.logger.supply import SETTLE_SECONDS, Supply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervisor.logger.lines import Record

ACKS, OUT = 0, 1
FIONREAD = 0x541B  # ioctl_tty(2): bytes in a pipe; both of its ends can tell
BUFFER_BYTES = 64 << 10  # of text, and the line that crosses it
LOOK_SECONDS = 0.01  # between two looks at the logs: while they are written, some lines at once
BLOCKED_SECONDS = 0.5  # the same while the agent takes nothing
REST_BYTES = 4096  # of an acknowledgement that came in part
TAKEN_SECONDS = 0.02  # a pipe does not tell when it is empty: it is asked, at the end only
BROKEN = select.POLLERR | select.POLLHUP | select.POLLNVAL


class Feed:
    """`end`: SIGTERM came. `wake_up` is readable after a signal."""

    def __init__(self, options: Options, wake_up: int) -> None:
        self._options = options
        self._wake_up = wake_up
        self._poll = select.poll()
        self._listening: dict[int, int] = {}
        self._encoder = Encoder()
        self._buffer = b""
        self._sent: dict[str, int] = {}  # where to go on behind the buffer
        self._records: Iterator[Record] | None = None
        self._looked_at = 0.0
        self._last_look_at: float | None = None  # None: SIGTERM did not come
        self._last_looked = False
        self._reader = True  # OUT has one
        self._open = True  # OUT is
        self._acks = bool(options.cursor)  # more may come
        self._rest = b""

        self.memory = Memory(options.progress, options.cursor, os.fstat(OUT).st_ino)
        if self.memory.goes_on:
            self._buffer = b"\n"
        self._news = News(options.log_dir, self._wanted)
        self._supply = Supply(
            options.log_dir, self.memory.places, self.memory.saved_ns, options.since_ns)
        self._look()

    def run(self) -> int:
        for descriptor in (ACKS, OUT):
            os.set_blocking(descriptor, False)
        self._listen(ACKS, select.POLLIN if self._acks else None)
        self._listen(self._wake_up, select.POLLIN)
        while self._reader and not self._ended():
            self.memory.write_due(self._supply.behind_bytes)
            if not self._buffer and self._open:
                self._fill()
            if self._buffer:
                self._write()
            self._wait()
        self._read_acks()
        self.memory.write_all(self._supply.behind_bytes)
        return 0

    def end(self) -> None:
        # What was just printed may still be on its way to the disk.
        self._last_look_at = time.monotonic() + SETTLE_SECONDS

    def _wanted(self, key: str) -> bool:
        if not key.isascii():  # no unit's
            return False
        own = self._options.key.partition("/")[0]  # what it says about logs would be a log again
        return key.partition("/")[0] != own and matches(key, self._options.patterns)

    def _look(self) -> None:
        self._looked_at = time.monotonic()
        found = self._news.take()
        if found:
            self.memory.begins(self._supply.add(found))

    def _fill(self) -> None:
        """As many lines as the buffer takes."""
        if self._records is None:
            if self._supply.wanted_in() != 0:
                return
            self._records = self._supply.records()
        line, sent = self._encoder.line, self._sent
        parts: list[str] = []
        size = 0
        for record in self._records:
            text = line(record)
            parts.append(text)
            sent[record[1]] = record[5]
            size += len(text)
            if size >= BUFFER_BYTES:
                break
        else:
            self._records = None
        self._buffer = "".join(parts).encode()

    def _write(self) -> None:
        try:
            written = os.write(OUT, self._buffer)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != EPIPE:
                say(f"cannot write to the agent: {reason(error)}; it gets no more", "feed")
            self._reader = False
            return
        self._buffer = self._buffer[written:]
        if not self._buffer:
            self.memory.delivers(self._sent)
            self._sent.clear()

    def _wait(self) -> None:
        """Until there is something to do, taking note of what came."""
        now = time.monotonic()
        until = [self.memory.next_write_at()]
        look_at = self._looked_at + (BLOCKED_SECONDS if self._buffer else LOOK_SECONDS)
        unwatched = self._news.timeout()
        if self._last_looked:
            look_at = inf
        elif look_at > now:
            until.append(look_at)  # to listen again
        elif unwatched is not None:
            until.append(look_at := max(now, self._looked_at + unwatched))
        if not self._buffer:
            wanted_in = 0.0 if self._records else self._supply.wanted_in()
            until.append(None if wanted_in is None else now + wanted_in)
        if self._last_look_at is not None:
            until.append(max(now + TAKEN_SECONDS, self._last_look_at))
        self._listen(self._news.fileno(), select.POLLIN if look_at <= now else None)
        if self._open:
            self._listen(OUT, select.POLLOUT if self._buffer else 0)
        first = min((at for at in until if at is not None), default=None)
        timeout_ms = None if first is None else ceil(max(0.0, first - now) * 1000)
        ready = dict(self._poll.poll(timeout_ms))
        if ready.get(OUT, 0) & BROKEN:
            self._reader = False
        if ACKS in ready:
            self._read_acks()
        if self._wake_up in ready:
            os.read(self._wake_up, 4096)  # what it was for is noted by now
        if self._news.fileno() in ready or (unwatched is not None and look_at <= time.monotonic()):
            self._look()
            self.memory.changed()

    def _listen(self, descriptor: int, mask: int | None) -> None:
        if descriptor < 0 or self._listening.get(descriptor) == mask:
            return
        if mask is None:
            self._poll.unregister(descriptor)
            del self._listening[descriptor]
        else:
            self._poll.register(descriptor, mask)
            self._listening[descriptor] = mask

    def _read_acks(self) -> None:
        while self._acks:
            try:
                data = os.read(ACKS, BUFFER_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._acks = False
                self._listen(ACKS, None)
                return
            lines, newline, rest = (self._rest + data).rpartition(b"\n")
            self._rest = rest[-REST_BYTES:]
            if newline:
                self.memory.acknowledge(lines, self._sent)

    def _ended(self) -> bool:
        """All that there was is delivered, and acknowledged or taken."""
        if self._last_look_at is None or time.monotonic() < self._last_look_at:
            return False
        if not self._last_looked:
            self._last_looked = True
            self._look()
            self._supply.finish()
        if self._buffer or self._records or self._supply.wanted_in() is not None:
            return False
        if not self._options.cursor:
            return not _waiting(OUT)
        if self._open:
            self._open = False  # so that the agent waits for no more before it acknowledges
            self._listen(OUT, None)
            os.close(OUT)
        return not self._acks or self.memory.all_acknowledged()


def _waiting(pipe: int) -> int:
    """Bytes that its reader has not taken."""
    try:
        return int.from_bytes(fcntl.ioctl(pipe, FIONREAD, bytes(4)), "little")
    except OSError:  # no pipe: a file, for a look at what an agent gets
        return 0


def main(argv: list[str]) -> int:
    """Exit status: 0 the agent is gone or has all, 1 the logs cannot be fed, 2 bad usage."""
    for number in (_signal.SIGINT, _signal.SIGHUP, _signal.SIGQUIT):
        _signal.signal(number, _signal.SIG_IGN)
    try:
        options = parse(argv)
    except ValueError as error:
        say(f"{error}; usage: {USAGE}", "feed")
        return 2
    wake_up, signalled = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    _signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
    ended: list[int] = []
    _signal.signal(_signal.SIGTERM, lambda number, _: ended.append(number))
    try:
        feed = Feed(options, wake_up)
        _signal.signal(_signal.SIGTERM, lambda *_: feed.end())
        if ended:
            feed.end()
        return feed.run()
    except OSError as error:
        say(f"cannot read the logs in {options.log_dir}: {reason(error)}; the agent gets no more "
            "until a feed can", "feed")
        return 1
