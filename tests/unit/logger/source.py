"""Streams on real pipes, moved by hand, so that times and crashes are the test's choice."""
from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.logger.directory import LogDirectory
from supervisor.logger.form import OUTPUT
from supervisor.logger.losses import Ledger
from supervisor.logger.options import parse
from supervisor.logger.stream import Stream
from supervisor.logger.tally import Tally


class Source:
    """`crash` is what SIGKILL does to a logger: files stay as they are."""

    def __init__(
        self, logdir: Path, key: str, options: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.path = logdir / key.replace("/", "@")
        self.directory = LogDirectory(str(logdir))
        self.monkeypatch = monkeypatch
        self.readable, self.writable = os.pipe()
        self.key = key
        self.runtime: Path | None = None  # where losses are counted
        self.options = options
        self.begin()

    def begin(self) -> None:
        """As a new logger would, knowing nothing."""
        runtime = str(self.runtime) if self.runtime else ""
        ledger, tally = Ledger(runtime), Tally(runtime)
        self.stream = Stream(self.path.name, parse(self.options), ledger, tally)

    def crash(self) -> None:
        self.stream.close_tail()
        self.begin()

    def put(self, data: bytes, time_ns: int) -> None:
        """`data` arrives at once."""
        assert os.write(self.writable, data) == len(data)
        while data:
            data = data[self.move(time_ns) :]

    def move(self, time_ns: int, kind: int = OUTPUT, fd: int = 0) -> int:
        with self.monkeypatch.context() as patch:
            patch.setattr("supervisor.logger.stream.time.time_ns", lambda: time_ns)
            moved = self.stream.move(fd or self.readable, kind, self.directory)
        if moved and self.stream.tail:
            os.utime(self.stream.tail.index, ns=(time_ns, time_ns))  # readers choose by that
        return moved

    def stored(self) -> bytes:
        return b"".join(path.read_bytes() for path in sorted(self.path.glob("*.log")))

    def close(self) -> None:
        self.stream.close_tail()
        os.close(self.readable)
        os.close(self.writable)
        if self.directory.fd >= 0:
            os.close(self.directory.fd)
            self.directory.fd = -1


MakeSource = Callable[..., Source]
