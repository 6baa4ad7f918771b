"""A program that draws on the whole of a terminal, and what a person sees of it."""
from __future__ import annotations

import fcntl
import select
import struct
import termios
import time
from collections.abc import Mapping, Sequence

import pyte

from tests.terminal import PATIENCE_S, Terminal


class FullScreen(Terminal):
    """`lines` are all of the screen's, which may be resized."""

    def __init__(
        self, words: Sequence[str], env: Mapping[str, str] | None = None, columns: int = 80,
        rows: int = 24, prefix: Sequence[str] = (),
    ) -> None:
        self._drawn = pyte.Screen(columns, rows)
        self._stream = pyte.Stream(self._drawn)
        self._fed = 0
        super().__init__(words, env, columns, prefix)
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int) -> None:
        self._drawn.resize(rows, columns)
        fcntl.ioctl(self._other, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def lines(self) -> list[str]:
        new, self._fed = self.raw[self._fed :], len(self.raw)
        self._stream.feed(new)
        return [line.rstrip() for line in self._drawn.display]

    def clear(self) -> None:
        """As if nothing had been drawn so far."""
        while select.select([self._fd], [], [], 0)[0]:
            self._read(time.monotonic() + PATIENCE_S)
        self.screen()
        self._drawn.reset()

    def given_back(self) -> bool:
        """Whether the terminal is in the modes that it had before."""
        return termios.tcgetattr(self._other) == self.modes
