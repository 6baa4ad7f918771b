"""What goes to a terminal: is there one, how wide, which colours, and nothing that could harm it.

Law: text from services and unit files passes `clean` on its way to a terminal. Nothing here changes
a mode of the terminal, so there is nothing to restore after a crash: lines, colours and one status
line that erases itself.
"""
from __future__ import annotations

import os

from supervisor.cli.words import BAD, BUSY, GOOD, IDLE, ODD
from supervisor.logger.text import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DEFAULT_WIDTH = 80
NAME_WIDTH = 32
_COLOURS = {GOOD: "32", BUSY: "33", BAD: "31;1", IDLE: "2", ODD: "36", "head": "1", "faint": "2"}
NAME_COLOURS = ("36", "35", "34", "33", "32", "96", "95", "94")


class Screen:
    """`terminal` false: no colour, no cutting, no width."""

    def __init__(self, fd: int = 1) -> None:
        self.fd = fd
        self.terminal = os.isatty(fd)
        dumb = os.environ.get("TERM", "dumb") == "dumb"
        self.colour = self.terminal and not dumb and not os.environ.get("NO_COLOR")
        self.redraws = self.terminal and not dumb

    @property
    def width(self) -> int:
        """Columns, at present."""
        try:
            return os.get_terminal_size(self.fd).columns or DEFAULT_WIDTH
        except OSError:
            return DEFAULT_WIDTH

    def paint(self, text: str, kind: str) -> str:
        """`text` in the colour of `kind` (a key of the colour table, or the number of a colour)."""
        code = _COLOURS.get(kind, kind)
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and code and text else text


def clean(text: str, *, tabs: bool = False) -> str:
    r"""`text` with control characters made visible ("\x1b"). `tabs`: those may stay."""
    if text.isprintable() and text.isascii():
        return text
    shown = escape(text.encode("utf-8", "backslashreplace"))
    return shown if tabs else shown.replace("\t", "\\t")


def columns(text: str) -> int:
    """How many columns of a terminal printable `text` takes."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    return sum(
        0 if category(char) in {"Mn", "Me"} else 2 if east_asian_width(char) in "WF" else 1
        for char in text
    )


def cut(text: str, width: int) -> str:
    """At most `width` columns of `text`; what was cut shows as "…"."""
    if columns(text) <= width:
        return text
    kept = text[: max(width - 1, 0)]
    while kept and columns(kept) > width - 1:
        kept = kept[:-1]
    return kept.rstrip() + "…" if width > 0 else ""


def name_colour(name: str) -> str:
    """The colour of a unit's name: the same in every run."""
    return NAME_COLOURS[sum(name.encode()) % len(NAME_COLOURS)]


def name_width(names: Iterable[str], least: int = 0) -> int:
    """The column for `names` before lines of theirs. A longer one than NAME_WIDTH shifts its line
    instead of all."""
    return max(least, *(min(len(name), NAME_WIDTH) for name in names), 0)


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None,
    right: Iterable[int] = (), least: int = 12,
) -> list[list[str]]:
    """Cells padded to columns, head first, the last column ragged. `width`: cut the last column,
    and if that leaves it less than `least` columns the first one too, so that lines fit."""
    every = [head, *rows]
    widths = [max(map(columns, cells)) for cells in zip(*every, strict=True)]
    if width is not None:
        fixed = sum(widths[:-1]) + 2 * (len(widths) - 1)
        over = fixed + min(least, widths[-1]) - width
        if over > 0:
            widths[0] = max(least, widths[0] - over)
            fixed = sum(widths[:-1]) + 2 * (len(widths) - 1)
        widths[-1] = max(width - fixed, 0)
    right = set(right)
    last = len(widths) - 1
    padded = []
    for row in every:
        cells = []
        for index, cell in enumerate(row):
            if width is not None and index in {0, last}:
                cell = cut(cell, widths[index])
            space = " " * (widths[index] - columns(cell)) if index != last else ""
            cells.append(space + cell if index in right else cell + space)
        padded.append(cells)
    return padded


class StatusLine:
    """One line at the bottom that is drawn again and again, and gone after `clear`. It writes to
    the descriptor itself, so that a timer's handler may draw while other output is buffered."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._shown = False

    def draw(self, text: str) -> None:
        if self._screen.redraws:
            # One column stays free: some terminals wrap as soon as the last one is written.
            line = cut(clean(text), self._screen.width - 1)
            self._shown = True  # first: Ctrl-C may come between the two
            self._write(f"\r\x1b[K{self._screen.paint(line, 'faint')}")

    def clear(self) -> None:
        if self._shown:
            self._write("\r\x1b[K")
            self._shown = False

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        while data:
            data = data[os.write(self._screen.fd, data) :]
