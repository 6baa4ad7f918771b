"""What is kept: no stream longer than its `max_age`, all together no more than the budget.

(How much of one stream, `keep`, is seen to when a segment is begun: see tail.py.)

Law: nothing is looked at unless something is due: a stream with `max_age` when its oldest entry may
be too old; the whole log directory after the first bytes came, and when it seems to hold too much
(others delete files too), but not more often than once a minute. The newest segment of a stream is
deleted only after an empty one was begun at its end, so no offset is used twice. What fails is said
and tried again later; writing goes on meanwhile.
"""
from __future__ import annotations

import posix
import time
from _heapq import heappop, heappush

from supervisor.logger import tail as tails
from supervisor.logger.compressor import Compressor
from supervisor.logger.directory import DIRECTORY
from supervisor.logger.form import LOG, PACKED, key_of, segment_name
from supervisor.logger.notice import reason, say
from supervisor.logger.options import LEAST_SEGMENT_BYTES, Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from supervisor.logger.directory import LogDirectory
    from supervisor.logger.stream import Stream

SECOND_NS = 1_000_000_000
SCAN_DELAY_NS = 3 * SECOND_NS  # whatever starts now is not to be disturbed
SLICE_NS = 2_000_000
SEEN_NS = 60 * SECOND_NS
FAILED_DELAY_NS = 60 * SECOND_NS
LONGEST_SLEEP_NS = 3600 * SECOND_NS  # a clock that was set forward is noticed that late
MOST_BUDGET_BYTES = 4 << 30
BUDGET_SHARE = 10  # of the file system: a tenth
LEAST_SEGMENTS = 8  # that the budget has room for


class Retention:
    """`budget_bytes`: 0 for none, -1 for the default. `find` gives a stream by its directory's
    name, None if it is not written now."""

    def __init__(
        self,
        directory: LogDirectory,
        find: Callable[[str], Stream | None],
        budget_bytes: int,
        compressor: Compressor,
    ) -> None:
        self._directory = directory
        self._find = find
        self._budget_bytes = budget_bytes
        self._compressor = compressor
        self._fair_bytes = 1 << 63  # no segment is larger; known when the budget is
        self._due: list[tuple[int, str]] = []  # (monotonic ns, stream with max_age): a heap
        self._armed: set[str] = set()  # those in it
        self._scan: Iterator[str] | None = None
        self._scan_ns = 0  # when it goes on; 0: there was none yet, -1: done
        self._seen_ns = 0  # when the last one was done
        self._shrink_ns = -1  # when to go on shrinking; -1: it all fits
        self._said = False  # that the budget deletes: it may be less than what units say of `keep`

    def grew(self, stream: Stream) -> None:
        """The stream has stored something."""
        holdings = self._directory.holdings
        if not self._scan_ns:
            self._begin_scan()
        stream.options.segment_bytes = min(stream.options.segment_bytes, self._fair_bytes)
        if self._budget_bytes and holdings.total > self._budget_bytes and self._shrink_ns < 0:
            self._exceed()
        if stream.options.max_age_s and stream.name not in self._armed:
            self._arm(stream.name, stream.options.max_age_s * SECOND_NS)

    def meet(self, stream: Stream) -> None:
        """A stream that is written from now on: what is there of it may be too old already."""
        options = stream.options
        packs = self._directory.holdings.packs
        if options.compress and self._compressor.works:
            packs.add(stream.name)
        else:
            packs.discard(stream.name)
        if options.max_age_s and stream.name not in self._armed:
            self._arm(stream.name, min(SCAN_DELAY_NS, options.max_age_s * SECOND_NS))

    def due_ns(self) -> int:
        """When `work` wants to be called, in monotonic ns; -1: not before something happens."""
        times = [at for at in (self._scan_ns, self._shrink_ns) if at > 0]
        if self._shrink_ns == 0:
            return 0
        if self._due:
            times.append(self._due[0][0])
        if self._directory.holdings.waiting and self._compressor.free:
            times.append(self._compressor.not_before_ns)
        return min(times) if times else -1

    def work(self) -> None:
        """What is due now, for a few milliseconds at most."""
        now_ns = time.monotonic_ns()
        try:
            if 0 < self._scan_ns <= now_ns:
                self._go_on_scanning(now_ns + SLICE_NS)
            if 0 <= self._shrink_ns <= now_ns:
                self._shrink(now_ns + SLICE_NS)
        except OSError as error:
            say(f"cannot keep the logs within their budget: {reason(error)}; trying again later")
            if self._scan_ns > 0:
                self._scan, self._scan_ns = None, now_ns + FAILED_DELAY_NS
            else:
                self._shrink_ns = now_ns + FAILED_DELAY_NS
        while self._due and self._due[0][0] <= now_ns:
            name = heappop(self._due)[1]
            self._armed.discard(name)
            try:
                self._age(name)
            except OSError as error:
                say(f"cannot delete old logs of {key_of(name)}: {reason(error)}; trying again"
                    " later")
                self._arm(name, FAILED_DELAY_NS)
        waiting = self._directory.holdings.waiting
        if waiting and self._compressor.free and self._compressor.not_before_ns <= now_ns:
            self._compressor.begin(self._directory, next(iter(waiting)))

    # --- Age

    def _arm(self, name: str, delay_ns: int) -> None:
        self._armed.add(name)
        delay_ns = max(0, min(delay_ns, LONGEST_SLEEP_NS))
        heappush(self._due, (time.monotonic_ns() + delay_ns, name))

    def _age(self, name: str) -> None:
        """Delete what is too old, and look again when the next segment is."""
        stream = self._find(name)
        if not (stream and stream.options.max_age_s):
            return
        max_age_ns = stream.options.max_age_s * SECOND_NS
        try:
            home = self._enter(name)
        except FileNotFoundError:
            return  # nothing was ever written, or somebody removed it all
        try:
            holdings = self._directory.holdings
            newest = holdings.look(name, home)
            for start in list(holdings.stocks[name].segments):
                last_ns = _last_ns(home, start)
                if last_ns < 0 and start == newest:
                    return  # empty: whatever comes next arms the clock again
                left_ns = last_ns + max_age_ns - time.time_ns()
                if left_ns > 0:
                    self._arm(name, left_ns + 1)
                    return
                if start == newest:
                    self._renew(name, stream.options)
                holdings.delete(name, home, start)
        finally:
            posix.close(home)

    # --- Budget

    def _begin_scan(self) -> None:
        if self._budget_bytes < 0:
            found = posix.fstatvfs(self._directory.fd)
            share = found.f_blocks * found.f_frsize // BUDGET_SHARE
            self._budget_bytes = min(share, MOST_BUDGET_BYTES)
        if self._budget_bytes:
            fair = self._budget_bytes // LEAST_SEGMENTS
            self._fair_bytes = max(LEAST_SEGMENT_BYTES, fair)
        self._scan_ns = time.monotonic_ns() + SCAN_DELAY_NS

    def _exceed(self) -> None:
        """There seems to be more than the budget."""
        now_ns = time.monotonic_ns()
        if self._scan_ns > 0:
            return  # what is there is not known yet
        if now_ns - self._seen_ns > SEEN_NS:
            self._scan_ns = now_ns
        else:
            self._shrink_ns = 0

    def _go_on_scanning(self, until_ns: int) -> None:
        """Count what is there: also of units that are quiet, and of those that are gone."""
        if self._scan is None:
            names = posix.listdir(self._directory.refresh())
            for name in self._directory.holdings.stocks.keys() - set(names):
                self._directory.holdings.forget(name)
            self._scan = iter(names)
        for name in self._scan:
            if key_of(name):
                self._count(name)
            if time.monotonic_ns() > until_ns:
                self._scan_ns = time.monotonic_ns()
                return
        self._scan, self._scan_ns = None, -1
        self._seen_ns = time.monotonic_ns()
        if 0 < self._budget_bytes < self._directory.holdings.total:
            self._shrink_ns = 0

    def _count(self, name: str) -> None:
        try:
            home = self._enter(name)
        except OSError:  # a file, a link, gone: nothing of ours
            self._directory.holdings.forget(name)
            return
        try:
            self._directory.holdings.look(name, home)
        finally:
            posix.close(home)

    def _shrink(self, until_ns: int) -> None:
        """Delete the oldest segment of the largest stream, until all is within the budget."""
        holdings = self._directory.holdings
        self._shrink_ns = -1
        while holdings.total > self._budget_bytes and (name := holdings.largest()):
            try:
                home = self._enter(name)
            except FileNotFoundError:
                holdings.forget(name)
                continue
            try:
                believed = holdings.stocks[name].total
                newest = holdings.look(name, home)
                if holdings.stocks[name].total < believed:
                    continue  # somebody else has deleted something
                oldest = next(iter(holdings.stocks[name].segments))
                if oldest == newest:
                    stream = self._find(name)
                    self._renew(name, stream.options if stream else Options())
                if not self._said:
                    self._said = True
                    say(f"the logs hold more than their budget of {self._budget_bytes} bytes"
                        " (--log-budget): from now on the oldest of who holds most are deleted")
                holdings.delete(name, home, oldest)
            finally:
                posix.close(home)
            if time.monotonic_ns() > until_ns:
                self._shrink_ns = 0
                return

    # --- Both

    def _renew(self, name: str, options: Options) -> None:
        """Begin an empty segment, so that the one that is the newest now may go."""
        stream = self._find(name)
        if stream:
            stream.close_tail()
        tails.renew(self._directory, name, options)

    def _enter(self, name: str) -> int:
        return posix.open(name, DIRECTORY, dir_fd=self._directory.refresh())


def _last_ns(home: int, start: int) -> int:
    """When the last byte of a segment came; -1 if it is empty."""
    for suffix in (LOG, PACKED):
        try:
            found = posix.stat(segment_name(start, suffix), dir_fd=home, follow_symlinks=False)
            break
        except FileNotFoundError:
            continue
    else:
        return 0  # an index without a segment
    if not found.st_size:
        return -1
    return tails.last_entry(home, start)[0] or found.st_mtime_ns
