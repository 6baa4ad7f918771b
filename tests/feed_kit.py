"""A feed process between real pipes, for tests: the manager's and the agent's side of it."""
from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import zstandard

from supervisor.logger.form import ENTRY, INDEX, LOG, OUTPUT, PACKED, segment_name
from supervisor.logger.packed import pack

ROOT = Path(__file__).parent.parent
PROGRAM = str(ROOT / "supervisor" / "logger" / "feed.py")
PYTHON = os.path.realpath(sys.executable)
SITE = str(Path(zstandard.__file__).parent.parent)


class Store:
    """A stream on disk, written as the logger does, but by hand."""

    def __init__(self, home: Path, key: str) -> None:
        self.path = home / "log" / key.replace("/", "@")
        self.begin()

    def begin(self, offset: int = 0) -> None:
        """The directory, made anew if it is gone, and its first segment."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.offset = self.start = offset

    def put(self, data: bytes, *, kind: int = OUTPUT, time_ns: int = 0, note: bool = True) -> None:
        """One arrival, now unless `time_ns` is given. Without `note`: its writer was killed."""
        with (self.path / segment_name(self.start, LOG)).open("ab") as file:
            file.write(data)
        if note:
            entry = ENTRY.pack(time_ns or time.time_ns(), self.offset, len(data), kind, 0)
            with (self.path / segment_name(self.start, INDEX)).open("ab") as file:
                file.write(entry)
        self.offset += len(data)

    def rotate(self) -> None:
        self.start = self.offset

    def compress(self) -> None:
        """All segments but the newest."""
        for path in self.path.glob("*" + LOG):
            if path.name != segment_name(self.start, LOG):
                with path.open("rb") as plain, path.with_suffix(PACKED).open("wb") as packed:
                    pack(plain.fileno(), packed.fileno())
                path.unlink()

    def expire(self) -> None:
        """Delete all segments but the newest."""
        for path in self.path.iterdir():
            if not path.name.startswith(segment_name(self.start, "")):
                path.unlink()


class Feed:
    """`start` and `kill` as often as wanted: all feeds have the same pipes until `cut`."""

    def __init__(self, home: Path, *patterns: str, cursor: bool = False, key: str = "") -> None:
        self.log_dir = home / "log"
        self.progress_path = home / "agents" / "agent.progress"
        self.progress_path.parent.mkdir(parents=True, exist_ok=True)
        self.cursor_path = home / "state" / "agent" / "cursor"
        self.program = PROGRAM
        self.arguments = ["--site", SITE, "--log-dir", str(self.log_dir)]
        self.arguments += ["--progress", str(self.progress_path)]
        if cursor:
            self.arguments += ["--cursor", str(self.cursor_path)]
        if key:
            self.arguments += ["--key", key]
        self.patterns = patterns or ("*",)
        self.pid = 0
        self._lay()

    def _lay(self) -> None:
        self.lines, self.into = os.pipe2(os.O_CLOEXEC)
        self.from_agent, self.acks = os.pipe2(os.O_CLOEXEC)
        self._text = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.pid:
            self.kill()
        for descriptor in (self.lines, self.into, self.from_agent, self.acks):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def start(self, *more: str, stderr: int = 2) -> int:
        command = [PYTHON, "-I", "-S", self.program, *self.arguments, *more, "--", *self.patterns]
        self.pid = os.posix_spawn(PYTHON, command, os.environ, file_actions=[
            (os.POSIX_SPAWN_DUP2, self.from_agent, 0),
            (os.POSIX_SPAWN_DUP2, self.into, 1),
            (os.POSIX_SPAWN_DUP2, stderr, 2),
        ])
        return self.pid

    def begin(self, *more: str) -> None:
        """Start the only feed there is to be: nobody else holds its ends of the pipes."""
        self.start(*more)
        os.close(self.into)
        os.close(self.from_agent)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def end(self) -> None:
        """SIGTERM, once the feed can take one."""
        self.wait_progress()
        os.kill(self.pid, signal.SIGTERM)

    def wait(self) -> int:
        """The exit status."""
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def cut(self) -> int:
        """The agent is gone; returns the feed's exit status, and lays new pipes."""
        os.close(self.lines)
        os.close(self.acks)
        status = self.wait() if self.pid else 0
        for descriptor in (self.into, self.from_agent):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._lay()
        return status

    def read(self, seconds: float = 10) -> list[dict[str, Any]]:
        """The next lines that come, at least one; [] at the end."""
        assert select.select([self.lines], [], [], seconds)[0], "waited in vain"
        data = os.read(self.lines, 1 << 20)
        whole, _, self._text = (self._text + data).rpartition(b"\n")
        found = list(parse(whole))
        return found if found or not data else self.read(seconds)

    def take(self, count: int) -> list[dict[str, Any]]:
        """Lines until there are `count`, and no more may come than that."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            new = self.read()
            assert new, f"the end after {len(found)}"
            found += new
        assert len(found) == count, found[count:]
        return found

    def rest(self) -> list[dict[str, Any]]:
        """All lines to the end of the pipe, which the feed closes."""
        found: list[dict[str, Any]] = []
        while new := self.read():
            found += new
        return found

    def acknowledge(self, *lines: dict[str, Any]) -> None:
        os.write(self.acks, "".join(f"{line['cursor']}\n" for line in lines).encode())

    def progress(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.progress_path.read_text())
        return found

    def wait_progress(self, **wanted: object) -> None:
        deadline = time.monotonic() + 10
        while not self.progress_path.exists() or not wanted.items() <= self.progress().items():
            assert time.monotonic() < deadline, wanted
            time.sleep(0.01)


def parse(text: bytes) -> Iterator[dict[str, Any]]:
    """As an agent is to: what is no JSON is no line."""
    for line in text.split(b"\n"):
        try:
            yield json.loads(line)
        except ValueError:
            continue
