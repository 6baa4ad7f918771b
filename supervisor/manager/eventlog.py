"""What the supervisor itself has to say: JSON lines into its own log stream, plain ones on stderr.

Neither may ever hold the manager up, nor fill its memory: what a full pipe does not take, or what
waits while there is none, is kept up to WAITING bytes; the oldest lines beyond are lost, and how
many is written with the next line that gets through. A stuck terminal loses lines too, but whole
ones: what it took a part of is finished first.
"""
from __future__ import annotations

import os
from select import POLLOUT, poll
from time import time_ns

from msgspec import Struct, json

from supervisor.core.world import RESTING
from supervisor.manager import streams
from supervisor.manager.loop import WRITE
from supervisor.manager.supervisor import STREAM, Supervisor
from supervisor.model.state import Transition
from supervisor.model.unit import Logs

WAITING = 1 << 20  # bytes of lines that are kept: as many as a thousand services make at once
_CHUNK = 4096  # PIPE_BUF: what a pipe that is ready takes without waiting
_QUIET_NS = 2_000_000
_MANY = 64  # lines that wait for no more
_SHOWN = frozenset({"up", "down", "failed", "backoff"})
_WRONG = frozenset({"failed", "backoff"})
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
        """`quiet`: nothing on stderr. A machine that is to be quiet tells problems there."""
        self._sup = sup
        machine = sup.machine
        self._shown = _WRONG if machine is not None and machine.quiet else _SHOWN
        self._quiet = quiet
        self._fd = -1
        self._lost = 0
        self._asked = False  # for a pipe, and there was no answer yet
        self._said = False  # that there is none
        self._full = False  # it is watched for room
        self._lines: list[str] = []  # for stderr
        self._rest = b""  # of a line that stderr took a part of
        self._waiting: list[bytes] = []
        self._size = 0  # of all that waits
        for words in sup.early_words:
            self._keep(_message(words))
        self._stderr = poll()
        self._stderr.register(2, POLLOUT)
        sup.early_words.clear()
        sup.report = self.report
        sup.flush_log = self.flush
        sup.listeners.append(self._on_transitions)
        self._open()
        self._on_transitions([one for one in sup.world.history if one.id > sup.inherited])

    def _open(self) -> None:
        if not self._asked:
            self._asked = True
            self._sup.ask_descriptor("STREAM", f"{STREAM}\0{streams.options(Logs())}", self._opened)

    def _opened(self, fd: int) -> None:
        self._asked = False
        if fd >= 0:
            os.set_blocking(fd, False)
            self._fd = fd
            self._write()
        elif not self._said:
            self._said = True
            self.report(f"cannot open the log stream {STREAM}: {os.strerror(-fd)}; the next event"
                        " tries again")

    def _keep(self, line: bytes) -> None:
        """To be written; the oldest give way when too much waits."""
        self._waiting.append(line)
        self._size += len(line)
        if self._size > WAITING:
            over = 0
            while self._size > WAITING // 2:  # by halves, for moving the rest costs its length
                self._size -= len(self._waiting[over])
                over += 1
            del self._waiting[:over]
            self._lost += over

    def report(self, text: str) -> None:
        """Something that is no transition and that somebody should know."""
        self._keep(_message(text))
        self.flush()
        self._say(f"unboxed: {text}\n")

    def _on_transitions(self, fresh: list[Transition]) -> None:
        sup, lines = self._sup, []
        for moved in fresh:
            row = _Row(
                sup.realtime_ns(moved.time_ns), moved.key, moved.id, moved.source, moved.target,
                moved.cause, moved.cause_id,
            )  # fmt: skip
            self._keep(_encode(row) + b"\n")
            if moved.target in self._shown:
                same = moved.target == moved.source  # it is frozen, or thawed
                words = moved.cause if same else f"{moved.target} ({moved.cause})"
                lines.append(f"{moved.key}: {words}\n")
            elif moved.target == "waiting" and moved.source not in RESTING:  # without a delay
                if self._shown is _WRONG and moved.source != "finishing":
                    continue  # a restart that was asked for
                lines.append(f"{moved.key}: down ({moved.cause}), starting again\n")
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
            if self._waiting:
                self._open()
            return
        lines, self._waiting, self._size = self._waiting, [], 0
        lost, self._lost = self._lost, 0
        if lost:
            lines.insert(0, _message(f"{lost} lines of this log were lost: nobody took them"))
        at = 0
        while at < len(lines):
            chunk, count = lines[at], 1
            while at + count < len(lines) and len(chunk) + len(lines[at + count]) <= _CHUNK:
                chunk += lines[at + count]
                count += 1
            try:
                os.write(self._fd, chunk)
            except BlockingIOError:
                if lost and not at:
                    self._lost, at = lost, 1
                for line in lines[at:]:
                    self._keep(line)
                self._sup.loop.add(self._fd, WRITE, lambda _events: self.flush())
                self._full = True
                return
            at += count
        if self._full:
            self._full = False
            self._sup.loop.remove(self._fd)

    def _say(self, text: str) -> None:
        if self._quiet:
            return
        data, at = self._rest + text.encode(errors="replace"), 0
        try:
            while at < len(data):
                ready = self._stderr.poll(0)
                if not ready or not ready[0][1] & POLLOUT:
                    break  # nobody reads; the log stream has it
                chunk = data[at : at + _CHUNK]
                done = os.write(2, chunk)
                at += done
                if done < len(chunk):
                    break  # a console that is held (^S) after all
        except BlockingIOError:
            pass
        except OSError:
            self._quiet = self._sup.machine is None  # it is closed; a console comes back
        if at:  # a serial line may take all but the end of a line, which is two characters there
            whole = data[at - 1 : at] == b"\n"
            self._rest = b"" if whole else data[at : data.find(b"\n", at) + 1]


def _message(text: str) -> bytes:
    return _encode({"time_ns": time_ns(), "message": text}) + b"\n"
