"""What is drawn: single lines, the list of units, and the pane below it.

Law: only lines that are seen are made, from what is known at that moment, so a thousand units cost
what twenty do. Colours are the terminal's own sixteen, and nothing depends on them: what is
selected is shown reversed, and a state is a word.
"""
from __future__ import annotations

import time
from collections.abc import Sequence
from textwrap import wrap

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from supervisor.cli.top.columns import Cell, Layout, cells, heading, layout
from supervisor.cli.top.table import Row, Units

STYLES = {
    "": Style(),
    "good": Style(color="green"),
    "busy": Style(color="yellow"),
    "bad": Style(color="red", bold=True),
    "idle": Style(dim=True),
    "odd": Style(color="cyan"),
    "faint": Style(dim=True),
    "head": Style(dim=True, underline=True),
    "chosen": Style(bold=True, underline=True),
    "title": Style(bold=True),
    "asks": Style(bold=True, reverse=True),
}
_SELECTED = Style(reverse=True)


def strip(
    parts: Sequence[Cell], width: int, style: Style | None = None, ground: Style | None = None
) -> Strip:
    """A line of exactly that width. `style` in place of all others; `ground` below all."""
    ground = ground or Style()
    segments = [
        Segment(text, style or ground + STYLES[kind]) for text, kind in parts]
    return Strip(segments).adjust_cell_length(width, style or ground)


class Line(Widget):
    """One line; what does not fit is cut at the right. `rule`: it parts what is above from what is
    below."""

    DEFAULT_CSS = "Line { height: 1; }"

    def __init__(self, identity: str, *, rule: bool = False) -> None:
        super().__init__(id=identity)
        self.parts: list[Cell] = []
        self._ground = Style(underline=True) if rule else None

    def show(self, *parts: Cell) -> None:
        if self.parts != list(parts):
            self.parts = list(parts)
            self.refresh()

    def text(self) -> str:
        return "".join(text for text, _ in self.parts)

    def render_line(self, y: int) -> Strip:
        return strip(self.parts, self.size.width, ground=self._ground)


class Answer(Line):
    """A line that takes more of them for a text that does not fit."""

    _MOST = 4

    def __init__(self, identity: str) -> None:
        super().__init__(identity)
        self._told: Cell | None = None
        self._more: list[Cell] = []

    def show(self, *parts: Cell) -> None:
        self._told = None
        self._grow([])
        super().show(*parts)

    def tell(self, text: str, kind: str) -> None:
        self._told = text, kind
        first, *more = (self.size.width > 2 and wrap(text, self.size.width - 2)) or [text]
        super().show((f" {first}", kind))
        self._grow([(f" {line}", kind) for line in more[: self._MOST - 1]])

    def on_resize(self) -> None:
        if self._told:
            self.tell(*self._told)

    def _grow(self, more: list[Cell]) -> None:
        if more != self._more:
            self._more = more
            self.styles.height = 1 + len(more)
            self.refresh()

    def text(self) -> str:
        return super().text() + "".join(text for text, _ in self._more)

    def render_line(self, y: int) -> Strip:
        if 0 < y <= len(self._more):
            return strip([self._more[y - 1]], self.size.width)
        return super().render_line(y)


class Heading(Line):
    """The headings of the list, which it scrolls under."""

    def __init__(self, units: Units) -> None:
        super().__init__("heading")
        self._units = units

    def render_line(self, y: int) -> Strip:
        shape = layout(self.size.width)
        return strip(spaced(heading(
            shape, self._units.order, backwards=self._units.backwards)), self.size.width)


def spaced(row: Sequence[Cell]) -> list[Cell]:
    """With a space between the columns."""
    found: list[Cell] = []
    for text, kind in row:
        found.append((text + " ", kind))
    return found


class List(ScrollView, can_focus=False):
    """The units. The selected one stays the same unit wherever it is sorted to."""

    DEFAULT_CSS = "List { height: 1fr; scrollbar-size: 0 0; }"

    def __init__(self) -> None:
        super().__init__(id="list")
        self.rows: list[Row] = []
        self.at = 0
        self.stale = False  # nobody answers: what is shown was so once
        self._shape: Layout = layout(80)

    @property
    def selected(self) -> Row | None:
        return self.rows[self.at] if self.rows else None

    def fill(self, rows: list[Row]) -> None:
        before = self.selected
        self.rows = rows
        keys = {row.key: at for at, row in enumerate(rows)}
        if before is not None and before.key in keys:
            self.at = keys[before.key]
        self.at = max(0, min(self.at, len(rows) - 1))
        size = Size(self.size.width, len(rows))
        if self.virtual_size != size:
            self.virtual_size = size
        self.keep_in_sight()
        self.refresh()

    def move(self, by: int) -> None:
        self.at = max(0, min(self.at + by, len(self.rows) - 1))
        self.keep_in_sight()
        self.refresh()

    def keep_in_sight(self) -> None:
        height = self.size.height
        top = int(self.scroll_offset.y)
        wanted = min(max(top, self.at - height + 1), self.at)
        if wanted != top and height:
            self.scroll_to(y=wanted, animate=False, force=True, immediate=True)

    def on_resize(self) -> None:
        self.keep_in_sight()

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        at = y + int(self.scroll_offset.y)
        if at >= len(self.rows):
            return Strip.blank(width)
        if self._shape.width != width:
            self._shape = layout(width)
        style = _SELECTED if at == self.at else STYLES["faint"] if self.stale else None
        return strip(spaced(cells(self.rows[at], self._shape, time.time_ns())), width, style)


class Text(ScrollView, can_focus=False):
    """The pane: lines as they are, cut at the right; it can be moved sideways. At its end it stays
    at its end."""

    DEFAULT_CSS = "Text { scrollbar-size: 0 0; }"
    _SIDEWAYS = 20

    def __init__(self, identity: str, most: int) -> None:
        super().__init__(id=identity)
        self.lines: list[str] = []
        self._most = most
        self._left = 0
        self._following = True

    def replace(self, lines: Sequence[str], *, end: bool) -> None:
        """`end`: show the last ones, and go on so."""
        self.lines = list(lines[-self._most :])
        self._following = end
        self._changed()

    def add(self, lines: Sequence[str]) -> None:
        over = max(len(self.lines) + len(lines) - self._most, 0)
        self.lines = [*self.lines, *lines][over:]
        if over and not self._following:  # what is read stays where it is
            self.scroll_to(y=max(self.scroll_offset.y - over, 0), animate=False, force=True,
                           immediate=True)
        self._changed()

    def move(self, by: int) -> None:
        most = max(len(self.lines) - self.size.height, 0)
        y = max(0, min(int(self.scroll_offset.y) + by, most))
        self._following = y == most
        self.scroll_to(y=y, animate=False, force=True, immediate=True)
        self.refresh()

    def sideways(self, by: int) -> None:
        widest = max(map(len, self.lines), default=0)
        self._left = max(0, min(self._left + by * self._SIDEWAYS, widest - self._SIDEWAYS))
        self.refresh()

    def on_resize(self) -> None:
        self._changed()

    def _changed(self) -> None:
        self.virtual_size = Size(self.size.width, len(self.lines))
        most = max(len(self.lines) - self.size.height, 0)
        if self._following or self.scroll_offset.y > most:
            self.scroll_to(y=most if self._following else 0, animate=False, force=True,
                           immediate=True)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        at = y + int(self.scroll_offset.y)
        text = self.lines[at][self._left :] if at < len(self.lines) else ""
        return strip([(f" {text}", "")], self.size.width)
