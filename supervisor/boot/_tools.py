"""Programs that a step runs: well-kept tools, each a child whose words and end are kept.

Law: nothing here raises for what a program does; that it is missing, fails, hangs or is killed is
an `Ended` with a code as a shell gives it (127: not there, 128 + N: died of signal N). Children
read from nothing, and what they print is kept up to 64 KiB, so none of them waits for a reader.
Quick to import: no subprocess module, which costs as much time as the rest of a step.
"""
from __future__ import annotations

import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NOT_FOUND, TIMED_OUT = 127, 124  # 124: as timeout(1)
_KEPT_BYTES = 65536
_SIGKILL, _SIGPIPE, _SIGTERM, _LAST_SIGNAL = 9, 13, 15, 64  # the module signal costs milliseconds
_KILL_S = 2.0  # after SIGTERM


class Ended:
    """`text`: what it printed, both streams in their order."""

    __slots__ = ("code", "text")

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text

    def words(self) -> str:
        """Why it failed, in one line."""
        said = "; ".join(line.strip() for line in self.text.splitlines() if line.strip())
        if 128 < self.code <= 128 + _LAST_SIGNAL:
            how = f"killed by {_signal_name(self.code - 128)}"
        else:
            how = {NOT_FOUND: "there is no such program", TIMED_OUT: "it took too long"}.get(
                self.code, f"exit code {self.code}")
        return f"{said} ({how})" if said else how


class Child:
    """One that runs. `pid` 0: it could not be started, and `poll` says why."""

    def __init__(
        self, words: Sequence[str], timeout_s: float | None, extra: Mapping[int, int],
    ) -> None:
        self.words = tuple(words)
        self.began = time.monotonic()
        self._timeout_s = timeout_s
        self._text = bytearray()
        self._silent = False  # it has closed its output
        self._ended: Ended | None = None
        self._out, their = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(their, True)
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        actions = [(os.POSIX_SPAWN_DUP2, nothing, 0), (os.POSIX_SPAWN_DUP2, their, 1),
                   (os.POSIX_SPAWN_DUP2, their, 2)]
        actions += [(os.POSIX_SPAWN_DUP2, ours, number) for number, ours in extra.items()]
        try:
            self.pid = os.posix_spawnp(
                self.words[0], self.words, os.environ, file_actions=actions, setpgroup=0,
                setsigmask=[], setsigdef=[_SIGPIPE])
            self._fd = os.pidfd_open(self.pid)
        except OSError as error:
            self.pid = self._fd = 0
            missing = isinstance(error, FileNotFoundError)
            text = "" if missing else (error.strerror or str(error)).lower()
            self._ended = Ended(NOT_FOUND if missing else 126, text)
            os.close(self._out)
        finally:
            os.close(nothing)
            os.close(their)

    def poll(self) -> Ended | None:
        """How it ended, None while it runs. Reads what it said; kills it when its time is over."""
        if self._ended:
            return self._ended
        self._read()
        gone = self._gone(0)
        over = (not gone and self._timeout_s is not None
                and time.monotonic() - self.began > self._timeout_s)
        if not gone and not over:
            return None
        if over:
            gone = self._kill()
        code = TIMED_OUT
        if gone:
            code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            code = TIMED_OUT if over else 128 - code if code < 0 else code
            self._read()
        else:  # it hangs in the kernel: whoever inherits it waits for it
            self._text += b"\nit cannot be killed"
        os.close(self._fd)
        os.close(self._out)
        self._ended = Ended(code, self._text.decode(errors="replace"))
        return self._ended

    def _gone(self, longest_s: float) -> bool:
        return bool(select.select([self._fd], [], [], longest_s)[0])

    def _kill(self) -> bool:
        """Its whole process group. Whether it is gone then."""
        for number in (_SIGTERM, _SIGKILL):
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                pass
            if self._gone(_KILL_S):
                return True
        return False

    def _read(self) -> None:
        while not self._silent:
            try:
                part = os.read(self._out, 65536)
            except BlockingIOError:
                return
            self._silent = not part
            self._text += part[:max(0, _KEPT_BYTES - len(self._text))]

    def wakes(self) -> tuple[int, ...]:
        """Descriptors that become readable when there is something to `poll` for."""
        if self._ended:
            return ()
        return (self._fd,) if self._silent else (self._fd, self._out)


class Tools:
    """The programs of this host, found in PATH. Tests have others."""

    def start(
        self, *words: str, timeout_s: float | None = None, extra: Mapping[int, int] | None = None,
    ) -> Child:
        """`extra`: descriptors that it gets besides, by their numbers there. `timeout_s` None: as
        long as it takes."""
        return Child(words, timeout_s, extra or {})

    def run(self, *words: str, timeout_s: float | None = None) -> Ended:
        child = self.start(*words, timeout_s=timeout_s)
        while True:
            ended = child.poll()
            if ended:
                return ended
            wait([child], 1.0)

    def find(self, name: str) -> str:
        """The path of a program, "" if there is none."""
        for folder in os.environ.get("PATH", os.defpath).split(":"):
            path = f"{folder}/{name}"
            if folder and os.access(path, os.X_OK):
                return path
        return ""


def wait(children: Sequence[Child], longest_s: float) -> None:
    """Until one of them has something to say, or so long."""
    wakes = [fd for child in children for fd in child.wakes()]
    if len(wakes) >= len(children):  # else one of them has ended already
        select.select(wakes, [], [], longest_s)


def _signal_name(number: int) -> str:
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
