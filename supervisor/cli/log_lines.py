"""How a record of a log is written: for a terminal, for programs, as JSON.

What came on standard error, where that is kept apart, and what tells of lost lines has a "!":
behind the name for programs, on a terminal in place of the "|" before the line.
"""
from __future__ import annotations

import sys
import time

from supervisor.cli import own
from supervisor.cli.clock import clock, exact_stamp
from supervisor.cli.own import STREAM, sentence
from supervisor.cli.screen import Screen, name_colour, name_width
from supervisor.logger.form import ERROR, LOSS
from supervisor.logger.text import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervisor.logger.lines import Record

_NAMES = {1: "output", ERROR: "error", LOSS: "lost"}
_SECOND_NS = 1_000_000_000
_WHY = {
    "full": "the disk was full, or failed",
    "rate": "it wrote more than its rate allows",
    "slow": "the disk was too slow",
    "damaged": "they are stored, but damaged",
    "expired": "they were deleted to keep within the limits",
}
_WORST = "31;1"
_COLOURS: dict[int | None, str] = {
    None: "", 0: _WORST, 1: _WORST, 2: _WORST, 3: "31", 4: "33", 7: "2",
}  # by syslog priority


def loss(line: bytes) -> str:
    """What the record of a loss says, in words."""
    said = _loss(line)
    if said is None:
        return "lines were lost; the record of that is damaged: " + line.decode(
            "utf-8", "backslashreplace")
    why = str(said.get("reason"))
    begin, end = said.get("from"), said.get("to")
    during = ""
    if isinstance(begin, int) and isinstance(end, int) and end - begin >= _SECOND_NS:
        during = f" in {(end - begin) / _SECOND_NS:,.0f} s"
    return f"{said['bytes']:,} bytes were lost{during}: {_WHY.get(why, why)}"


def _loss(line: bytes) -> dict[str, Any] | None:
    import json

    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) and isinstance(said.get("bytes"), int) else None


class Json:
    """One document a line."""

    def __init__(self) -> None:
        from json import JSONEncoder  # by who needs it: `logs` is to begin at once

        from supervisor.model.structured import facts

        self._encode = JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
        self._facts = facts

    def line(self, record: Record) -> bytes:
        """With its newline."""
        at, key, kind, line, _, _ = record
        unit, _, number = key.partition("/")
        document: dict[str, Any] = {
            "time": exact_stamp(at),
            "unit": unit,
            "instance": int(number) if number.isdigit() else 0,
            "stream": _NAMES.get(kind, str(kind)),
            "message": loss(line) if kind == LOSS else line.decode("utf-8", "backslashreplace"),
        }
        if kind == LOSS:
            said = _loss(line) or {}
            for name in ("from", "to"):
                when = said.get(name)
                document[name] = exact_stamp(when) if isinstance(when, int) else None
            document["bytes"] = said.get("bytes")
            document["reason"] = said.get("reason")
        else:
            priority, fields = self._facts(line)
            if priority is not None:
                document["priority"] = priority
            if fields:
                document["fields"] = fields
        try:
            text = self._encode(document)
        except RecursionError:  # it could just be read
            del document["fields"]
            text = self._encode(document)
        # Half a surrogate pair in a field becomes \udXXX, which is how JSON spells it.
        return text.encode("utf-8", "backslashreplace") + b"\n"


class Plain:
    """Time, key and the bytes of the line. Lines that came together share what is before them."""

    def __init__(self) -> None:
        self._last: tuple[int, str, int] = -1, "", 0
        self._lead = b""

    def line(self, record: Record) -> bytes:
        """With its newline."""
        at, key, kind, line, _, _ = record
        if self._last != (at, key, kind):
            self._last = at, key, kind
            mark = "!" if kind in {ERROR, LOSS} else ""
            self._lead = f"{exact_stamp(at)} {key}{mark} ".encode()
        if kind == LOSS:
            line = loss(line).encode("utf-8", "backslashreplace")
        elif key == STREAM:
            line = sentence(line).encode("utf-8", "backslashreplace")
        return self._lead + line + b"\n"


class Terminal:
    """Names are padded to the longest there is, and a new one may widen them. A line of another
    day than the last names the day."""

    def __init__(self, screen: Screen, names: list[str], *, raw: bool) -> None:
        self._screen = screen
        self._raw = raw
        self._width = name_width(names)
        self._day = time.localtime()[:3]

    def write(self, record: Record) -> None:
        at, key, kind, line, _, _ = record
        day = time.localtime(at // _SECOND_NS)[:3]
        if day != self._day:
            self._day = day
            print(self._screen.paint("-- {}-{:02}-{:02} --".format(*day), "faint"))
        self._width = name_width([key], self._width)
        name = self._screen.paint(f"{key:<{self._width}}", name_colour(key))
        mark = self._screen.paint("!", "31;1") if kind in {ERROR, LOSS} else "|"
        lead = f"{self._screen.paint(clock(at), 'faint')} {name} {mark} "
        colour = ""
        if kind == LOSS:
            line, colour = loss(line).encode("utf-8", "backslashreplace"), _WORST
        elif key == STREAM:
            colour = _COLOURS[own.priority(line)]
            line = sentence(line).encode("utf-8", "backslashreplace")
        elif self._screen.colour:
            from supervisor.model.structured import facts

            colour = _COLOURS.get(facts(line)[0], "")
        if self._raw:
            sys.stdout.flush()
            sys.stdout.buffer.write(lead.encode() + line + b"\n")
        else:
            print(lead + (self._screen.paint(escape(line), colour) if colour else escape(line)))
