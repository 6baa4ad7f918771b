"""What the supervisor itself has to say: JSON lines into its own log stream, plain ones on stderr.

Neither may ever hold the manager up: a full pipe or a stuck terminal loses lines, which are counted
and the count is written with the next line that gets through.
"""
from __future__ import annotations

import os
from select import POLLOUT, poll
from time import time_ns

from msgspec import Struct, json

from supervisor.manager.supervisor import Supervisor
from supervisor.model.state import Transition
from supervisor.model.unit import Logs

STREAM = "unboxed"
_CHUNK = 4096  # PIPE_BUF: what a pipe that is ready takes without waiting
_QUIET_NS = 2_000_000
_MANY = 64  # lines that wait for no more
_SHOWN = frozenset({"up", "down", "failed", "backoff"})
_encode = json.Encoder().encode


class _Row(Struct, gc=False, rename={"source": "from", "target": "to"}):
    time_ns: int
    unit: str
    id: int
    source: str
    target: str
    cause: str
    cause_id: int


class EventLog:
    def __init__(self, sup: Supervisor, *, quiet: bool) -> None:
        self._sup = sup
        self._quiet = quiet
        self._fd = -1
        self._lost = 0
        self._lines: list[str] = []  # for stderr
        self._waiting: list[bytes] = list(map(_message, sup.early_words))
        self._stderr = poll()
        self._stderr.register(2, POLLOUT)
        sup.early_words.clear()
        sup.report = self.report
        sup.flush_log = self.flush
        sup.listeners.append(self._on_transitions)
        options = f"keep={Logs().keep_bytes} segment={Logs().segment_bytes}"
        sup.ask_descriptor("STREAM", f"{STREAM}\0{options}", self._opened)
        self._on_transitions(list(sup.world.history))

    def _opened(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._write()

    def report(self, text: str) -> None:
        """Something that is no transition and that somebody should know."""
        self._waiting.append(_message(text))
        self.flush()
        self._say(f"unboxed: {text}\n")

    def _on_transitions(self, fresh: list[Transition]) -> None:
        sup, lines = self._sup, []
        for moved in fresh:
            row = _Row(
                sup.realtime_ns(moved.time_ns), moved.key, moved.id, moved.source, moved.target,
                moved.cause, moved.cause_id,
            )  # fmt: skip
            self._waiting.append(_encode(row) + b"\n")
            if moved.target in _SHOWN:
                lines.append(f"{moved.key}: {moved.target} ({moved.cause})\n")
        self._lines += lines
        if len(self._waiting) >= _MANY:
            self.flush()
        elif self._waiting and not sup.log_due_ns:
            sup.log_due_ns = sup.now() + _QUIET_NS

    def flush(self) -> None:
        """Write what waits. Transitions wait a moment for each other: a new process is better off
        without the logger being woken while it begins."""
        self._sup.log_due_ns = 0
        lines, self._lines = self._lines, []
        self._write()
        if lines:
            self._say("".join(lines))

    def _write(self) -> None:
        if self._fd < 0:
            return
        lines, self._waiting = self._waiting, []
        if self._lost:
            words = f"{self._lost} lines of this log were lost: its pipe was full"
            lines.insert(0, _message(words))
        at = 0
        while at < len(lines):
            chunk, count = lines[at], 1
            while at + count < len(lines) and len(chunk) + len(lines[at + count]) <= _CHUNK:
                chunk += lines[at + count]
                count += 1
            try:
                os.write(self._fd, chunk)
            except BlockingIOError:
                self._lost += len(lines) - at
                return
            at += count
        self._lost = 0

    def _say(self, text: str) -> None:
        if self._quiet:
            return
        data = text.encode(errors="replace")
        for at in range(0, len(data), _CHUNK):
            ready = self._stderr.poll(0)
            if not ready or not ready[0][1] & POLLOUT:
                return  # nobody reads; the log stream has it
            try:
                os.write(2, data[at : at + _CHUNK])
            except OSError:
                self._quiet = True  # it is closed
                return


def _message(text: str) -> bytes:
    return _encode({"time_ns": time_ns(), "message": text}) + b"\n"
