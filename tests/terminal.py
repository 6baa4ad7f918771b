"""A program on a terminal of 80 columns: what it wrote, and what a person sees of it."""
from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 20.0


class Terminal:
    """`raw` is all that was written. `lines` is the screen's text, with colours left out; a line
    that ran over the right edge is longer than `columns`. `prefix`: words before the command."""

    def __init__(
        self, words: Sequence[str], env: Mapping[str, str] | None = None, columns: int = 80,
        prefix: Sequence[str] = (),
    ) -> None:
        self.columns = columns
        self.raw = ""
        self._fd, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.modes = termios.tcgetattr(other)
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "supervisor.cli", *words],
            stdin=other, stdout=other, stderr=other, close_fds=True, start_new_session=True,
            cwd=ROOT, env={**os.environ, "TERM": "xterm", **(env or {})},
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no threads
        )
        self._other = other

    def until(self, text: str) -> None:
        """Read until `text` stands on the screen."""
        self.found(re.escape(text))

    def found(self, pattern: str) -> re.Match[str]:
        """Read until what stands on the screen matches."""
        end = time.monotonic() + PATIENCE_S
        while not (match := re.search(pattern, self.screen())):
            if not self._read(end, step=0.1) or self.process.poll() is not None:
                while select.select([self._fd], [], [], 0)[0]:
                    self._read(end)
                if match := re.search(pattern, self.screen()):
                    return match
                raise AssertionError(f"{pattern!r} never came; the screen is\n{self.screen()}")
        return match

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def end(self, again: str = "") -> int:
        """Read to the end; the exit code. `again`: what is typed once more each second: a signal
        that comes right before a call that blocks is seen by Python after it only."""
        end = time.monotonic() + PATIENCE_S
        next_s = time.monotonic() + 1
        while self.process.poll() is None and self._read(end, step=0.05):
            if again and time.monotonic() > next_s:
                next_s += 1
                self.type(again)
        if self.process.poll() is None:
            self.process.kill()
            raise AssertionError(f"it does not end; the screen is\n{self.screen()}")
        while select.select([self._fd], [], [], 0)[0]:
            self._read(end)
        assert termios.tcgetattr(self._other) == self.modes, "the terminal was left changed"
        os.close(self._other)
        os.close(self._fd)
        return self.process.returncode

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.type("\x03")

    def hang_up(self) -> None:
        """The window is closed."""
        os.close(self._other)
        os.close(self._fd)
        self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)

    def _read(self, end: float, step: float | None = None) -> bool:
        wait = end - time.monotonic()
        if wait <= 0:
            return False
        if select.select([self._fd], [], [], min(wait, step or wait))[0]:
            self.raw += os.read(self._fd, 65536).decode("utf-8", "replace")
            return True
        return step is not None

    @property
    def lines(self) -> list[str]:
        return render(self.raw)

    def screen(self) -> str:
        return "\n".join(self.lines)


def render(raw: str) -> list[str]:
    """The lines that `raw` leaves: carriage return, erase to the end of the line, and colours."""
    lines, row, at = [""], 0, 0
    position = 0
    while position < len(raw):
        char = raw[position]
        position += 1
        if char == "\r":
            at = 0
        elif char == "\n":
            row += 1
            lines.append("")
        elif char == "\x1b":
            end = position + 1
            while not raw[end : end + 1].isalpha():
                end += 1
            if raw[end] == "K":
                lines[row] = lines[row][:at]
            elif raw[end] != "m":
                raise AssertionError(f"unexpected escape sequence {raw[position - 1 : end + 1]!r}")
            position = end + 1
        else:
            lines[row] = lines[row][:at].ljust(at) + char + lines[row][at + 1 :]
            at += 1
    return [line.rstrip() for line in lines]
