"""Has closed segments compressed: one child at a time (compress.py), whose end a pidfd tells.

Law: nothing depends on it. A segment that could not be compressed stays as it is and is tried once
more, each time after a longer while. Without zstandard that is said once, and all stay as they are.
"""
from __future__ import annotations

import posix
import sys
import time

from supervisor.logger.directory import DIRECTORY
from supervisor.logger.notice import reason, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select

    from supervisor.logger.directory import LogDirectory

PROGRAM = __file__.rpartition("/")[0] + "/compress.py"
HOME = 3  # the child's descriptor of the stream's directory
NO_LIBRARY = 4  # its exit status
AT_ONCE = 16  # segments for one child; starting it costs as much as compressing one of 10 MiB
START_DELAY_NS = 1_000_000_000  # whatever starts with us is not to be disturbed
FIRST_DELAY_NS = 2_000_000_000
LONGEST_DELAY_NS = 3_600_000_000_000
SIGKILL = 9
EPOLLIN = 1


class Compressor:
    """`site`: where zstandard is. `free`: no child runs. `not_before_ns`: monotonic."""

    __slots__ = (
        "_delay_ns", "_epoll", "_first", "_name", "_pid", "_site", "fd", "not_before_ns", "works",
    )

    def __init__(self, epoll: select.epoll, site: str) -> None:
        self._epoll = epoll
        self._site = site
        self._pid = 0
        self._name = ""
        self._first = -1  # of what it compresses
        self._delay_ns = 0
        self.fd = -1  # in epoll, readable when the child has ended
        self.not_before_ns = time.monotonic_ns() + START_DELAY_NS
        self.works = True

    @property
    def free(self) -> bool:
        return self.fd < 0

    def begin(self, directory: LogDirectory, name: str) -> None:
        """Compress what waits in the stream `name`."""
        holdings = directory.holdings
        try:
            home = posix.open(name, DIRECTORY, dir_fd=directory.refresh())
        except OSError:  # gone
            holdings.forget(name)
            return
        try:
            holdings.look(name, home)
            starts = holdings.stocks[name].plain[:AT_ONCE]
            if starts:
                self._spawn(home, [f"{start:x}" for start in starts])
                self._name = holdings.packing = name
                self._first = starts[0]
        except OSError as error:
            say(f"cannot compress logs: {reason(error)}; they stay as they are for now")
            self._put_off()
        finally:
            posix.close(home)

    def _spawn(self, home: int, starts: list[str]) -> None:
        argv = [sys.executable, "-I", "-S", "-B", PROGRAM, self._site, *starts]
        self._pid = posix.posix_spawn(
            argv[0], argv, {}, file_actions=[(posix.POSIX_SPAWN_DUP2, home, HOME)]
        )
        try:
            self.fd = posix.pidfd_open(self._pid)
            self._epoll.register(self.fd, EPOLLIN)
        except OSError:
            self.stop()
            raise

    def ended(self, directory: LogDirectory) -> None:
        """The child has: count what it made."""
        status = posix.waitstatus_to_exitcode(self._forget())
        holdings = directory.holdings
        holdings.packing = ""
        if status == NO_LIBRARY:
            self.works = False
            holdings.packs.clear()
            holdings.waiting.clear()
            say("cannot compress logs: the Python library zstandard is not installed; segments stay"
                " as they are")
        if self._name in holdings.stocks:
            self._count(directory)
        stock = holdings.stocks.get(self._name)
        if status or (stock and self._first in stock.plain):  # somebody else has locked it, say
            self._put_off()
        else:
            self._delay_ns = self.not_before_ns = 0

    def finish(self, directory: LogDirectory) -> None:
        """Nothing more is to be compressed by us."""
        if self._pid:
            self.stop()
            directory.holdings.packing = ""
            self._count(directory)

    def stop(self) -> None:
        """Kill the child; what it was about to do is left as it was."""
        if self._pid:
            posix.kill(self._pid, SIGKILL)
            self._forget()

    def _count(self, directory: LogDirectory) -> None:
        home = -1
        try:
            home = posix.open(self._name, DIRECTORY, dir_fd=directory.refresh())
            directory.holdings.look(self._name, home)
        except OSError:  # gone, or not to be read: whoever writes there next will tell
            directory.holdings.forget(self._name)
        if home >= 0:
            posix.close(home)

    def _forget(self) -> int:
        _, status = posix.waitpid(self._pid, 0)
        if self.fd >= 0:
            self._epoll.unregister(self.fd)
            posix.close(self.fd)
        self.fd, self._pid = -1, 0
        return status

    def _put_off(self) -> None:
        self._delay_ns = min(self._delay_ns * 2 or FIRST_DELAY_NS, LONGEST_DELAY_NS)
        self.not_before_ns = time.monotonic_ns() + self._delay_ns
