"""The keeper's side of the logger, for tests: pipes that outlive loggers, and the frames."""
from __future__ import annotations

import array
import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import zstandard

from supervisor.kernel import log_figures
from supervisor.kernel.wire import TO_LOGGER
from supervisor.logger.form import ENTRY, LOSS, OUTPUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).parent.parent
PROGRAM = str(ROOT / "supervisor" / "logger" / "__main__.py")
PYTHON = os.path.realpath(sys.executable)
SITE = str(Path(zstandard.__file__).parent.parent)


def frame(op: str, payload: bytes, descriptors: int = 0) -> bytes:
    head = (16 + len(payload)).to_bytes(4, "little") + TO_LOGGER[op].to_bytes(2, "little")
    return head + descriptors.to_bytes(2, "little") + bytes(8) + payload


def wait_until(condition: Callable[[], object], seconds: float = 10) -> None:
    """For files, which announce nothing to us."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


class FakeKeeper:
    """Starts loggers, one at a time, and tells each of all streams. `options` are for all, `more`
    arguments for the logger; its runtime directory is beside that of the logs unless given."""

    def __init__(
        self, log_dir: Path, options: str = "", stderr: int = 2, more: Sequence[str] = (),
        runtime: Path | None = None,
    ) -> None:
        self.log_dir = log_dir
        self.runtime = runtime or log_dir.parent / "rt"
        self.more = ["--runtime-dir", str(self.runtime), "--site", SITE, *more]
        self.options = options
        self.stderr = stderr
        self.pipes: dict[str, int] = {}
        self.ends: set[int] = set()
        self.pid = 0
        self.socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.pid:
            self.kill()
        for descriptor in (*self.pipes.values(), *self.ends):
            os.close(descriptor)

    def figures(self) -> dict[str, tuple[int, int, int, int]]:
        return log_figures.read(f"{self.runtime}/{log_figures.NAME}")

    def start(self, *wrapper: str) -> int:
        """A new logger's pid. `wrapper`: a command that executes the rest of its arguments."""
        command = [*wrapper, PYTHON, "-I", "-S", PROGRAM, "--log-dir", str(self.log_dir)]
        command += self.more
        self.runtime.mkdir(exist_ok=True)
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.pid = os.posix_spawnp(
                command[0],
                command,
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), 3),
                    (os.POSIX_SPAWN_DUP2, self.stderr, 2),
                ],
            )
        for name in self.pipes:
            self.announce(name)
        return self.pid

    def announce(self, name: str) -> None:
        text = f"{name}\0{self.options}\0".encode()
        fds = array.array("i", [self.pipes[name]])
        assert self.socket
        self.socket.sendmsg(
            [frame("STREAM_OPEN", text, 1)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)]
        )

    def stream(self, name: str) -> int:
        """A new stream: the end that a unit would write to."""
        readable, writable = os.pipe2(os.O_CLOEXEC)
        both = os.open(f"/proc/self/fd/{readable}", os.O_RDWR | os.O_CLOEXEC)
        os.close(readable)
        self.pipes[name] = both
        if self.pid:
            self.announce(name)
        self.ends.add(writable)
        return writable

    def close(self, end: int) -> None:
        self.ends.remove(end)
        os.close(end)

    def drop(self, name: str) -> None:
        os.close(self.pipes.pop(name))
        assert self.socket
        self.socket.send(frame("STREAM_GONE", f"{name}\0".encode()))

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self._forget()

    def finish(self) -> int:
        """End as the keeper would: the logger drains all pipes. Its exit status."""
        assert self.socket
        self.socket.close()
        return self._forget()

    def _forget(self) -> int:
        assert self.socket
        self.socket.close()
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def stored(self, name: str) -> bytes:
        """All bytes of a stream, without any help of the reader's."""
        return b"".join(content(path) for path in segments(self.log_dir / name))


def segments(directory: Path) -> list[Path]:
    """Each once, though a logger may be about to compress one."""
    found = {path.name[:16]: path for path in sorted(directory.glob("*.log*"), reverse=True)}
    return [found[name] for name in sorted(found)]


def content(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError:  # compressed just now
        path = path.with_suffix(".log.zst")
        data = path.read_bytes()
    if path.suffix != ".zst":
        return data
    return zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()


def arrivals(directory: Path) -> list[tuple[int, bytes]]:
    """(kind, bytes) of all that a stream holds, by its index, which must know of every byte; but of
    the last ones, if their logger was killed and nothing came after them: they are as the last."""
    found: list[tuple[int, bytes]] = []
    whole, kind = segments(directory), OUTPUT
    for path in whole:
        data, start, end = content(path), int(path.name[:16], 16), 0
        index = directory / f"{path.name[:16]}.idx"
        for _, begin, length, kind, _ in ENTRY.iter_unpack(index.read_bytes()):
            assert begin - start == end, "arrivals follow each other"
            end += length
            if length:
                found.append((kind, data[begin - start : end]))
        if end < len(data) and path == whole[-1]:
            found.append((kind, data[end:]))
            end = len(data)
        assert end == len(data), "bytes without an entry"
    return found


def check_all(directory: Path, expected: Callable[[int, int], bytes]) -> tuple[int, int]:
    """What one pipe brought is stored byte for byte, or declared as lost in its place. `expected`
    gives so many bytes from an offset of what was written. Returns (bytes, lost bytes)."""
    at = lost = 0
    for kind, data in arrivals(directory):
        if kind == LOSS:
            count = json.loads(data)["bytes"]
            lost += count
            at += count
        else:
            assert data == expected(at, len(data)), f"at {at}"
            at += len(data)
    return at, lost


def numbered(at: int, length: int) -> bytes:
    """Part of endless lines of 100 bytes, each its number."""
    first, last = at // 100, (at + length - 1) // 100
    return b"".join(b"%099d\n" % n for n in range(first, last + 1))[at % 100 :][:length]


@contextlib.contextmanager
def writer(descriptor: int, make: Callable[[], Iterator[bytes]]) -> Iterator[int]:
    """A child process that writes what `make` yields, one write(2) each, then ends. Its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            for chunk in make():
                left = memoryview(chunk)
                while left:
                    left = left[os.write(descriptor, left) :]
            status = 0
        finally:
            os._exit(status)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def ended(pid: int, seconds: float) -> bool:
    """Whether the child ends within that time; reaped if so."""
    descriptor = os.pidfd_open(pid)
    try:
        if not select.select([descriptor], [], [], seconds)[0]:
            return False
    finally:
        os.close(descriptor)
    _, status = os.waitpid(pid, 0)
    assert status == 0, "the writer failed"
    return True
