"""What one browser has not seen yet, as server-sent events.

Law: a browser is a Place: how far it is in what all share. What it has not seen is worked out when
it can be sent, so a slow browser costs no memory here and gets the latest state, not every step on
the way. An event's id is its place, so a connection goes on where another one ended; an id that
means nothing to this process begins anew with everything (`reset`: what a page knew is void).
"""
from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

from supervisor.agents.dashboard.watch import Watch

BOOT = secrets.token_hex(4)  # of this process: ids of another one mean nothing
_ID = re.compile(BOOT + r"\.([0-9]{1,15})\.([0-9]{1,15})\.([0-9]{1,15})")
APART_S = 0.1  # between two messages to one browser
ALIVE_S = 20.0  # without news: a comment, which finds out that a browser is gone
MOST_LINES = 500  # in one message
MOST_EVENTS = 300


class Place:
    """`unit`: the key whose lines and figures are wanted too; "" none."""

    def __init__(self, unit: str = "", after: str = "") -> None:
        self.unit = unit
        self.version = self.event = self.line = 0
        self._sample = -1
        self._link = 0
        if found := _ID.fullmatch(after):
            self.version, self.event, self.line = map(int, found.groups())

    def __str__(self) -> str:
        return f"{BOOT}.{self.version}.{self.event}.{self.line}"

    def news(self, watch: Watch) -> dict[str, Any]:
        """What is new since the last call; empty: nothing."""
        found: dict[str, Any] = {}
        if self._link != watch.link_version:
            self._link = watch.link_version
            found["link"] = watch.link
        self._rows(watch, found)
        self._events(watch, found)
        if self.unit:
            self._unit(watch, found)
        return found

    def _rows(self, watch: Watch, found: dict[str, Any]) -> None:
        if self.version == watch.rows.version:
            return
        changed = watch.rows.since(self.version)
        if self.version == 0 or changed is None:
            changed = watch.rows.since(0)
            found["reset"] = True
            self.event = 0
        self.version = watch.rows.version
        if changed is not None:
            found["rows"], gone = changed
            if gone:
                found["gone"] = gone

    def _events(self, watch: Watch, found: dict[str, Any]) -> None:
        if self.event >= watch.last_event:
            return
        fresh: list[dict[str, Any]] = []
        for number, event in reversed(watch.events):
            if number <= self.event or len(fresh) == MOST_EVENTS:
                break
            fresh.append(event)
        found["events"] = fresh[::-1]
        self.event = watch.last_event

    def _unit(self, watch: Watch, found: dict[str, Any]) -> None:
        lines, missed = watch.lines.after(self.unit, self.line, MOST_LINES)
        if lines:
            found["lines"] = lines
            if missed and self.line:
                found["missed"] = True
        self.line = max(self.line, watch.lines.last)
        if self._sample != watch.figures.taken:
            if self._sample < 0:
                found["figures"] = watch.figures.all(self.unit)
            elif (point := watch.figures.latest(self.unit)) is not None:
                found["figures"] = [point]
            self._sample = watch.figures.taken
        if found:
            found["unit"] = self.unit  # whose lines and figures these are


async def stream(watch: Watch, place: Place) -> AsyncIterator[str]:
    """Until the browser leaves, or this process ends."""
    yield "retry: 1000\n\n"
    with watch.viewer():
        told = time.monotonic()
        while not watch.ended:
            news = asyncio.ensure_future(watch.news())
            try:
                found = place.news(watch)
                if found:
                    told = time.monotonic()
                    yield text(place, found)
                    await asyncio.sleep(APART_S)
                    if news.done():
                        continue
                left = ALIVE_S - (time.monotonic() - told)
                done, _ = await asyncio.wait({news}, timeout=max(0, left))
                if not done:
                    told = time.monotonic()
                    yield ": still here\n\n"
            finally:
                news.cancel()


def text(place: Place, found: dict[str, Any]) -> str:
    """One event. JSON in ASCII has no line ends."""
    return f"id: {place}\ndata: {json.dumps(found, separators=(',', ':'))}\n\n"
