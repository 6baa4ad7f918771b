"""What the pane shows of a unit: its log as it is written, its processes, or its state and causes.

Law: one thread for each thing that is shown, until something else is; what was asked for before
and comes late is known by its turn. It ends with the program, whatever it waits for.
"""
from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from select import select
from typing import Any

from supervisor.cli.call import Call, Failure
from supervisor.cli.causes import chain_lines
from supervisor.cli.clock import clock
from supervisor.cli.detail import head_lines, tree_lines
from supervisor.cli.logs import directory, refused
from supervisor.cli.screen import Screen, clean
from supervisor.cli.server import Server
from supervisor.cli.top.messages import Lines, Post
from supervisor.logger.follow import Follower
from supervisor.logger.text import escape

KEPT_LINES = 1000
_AGAIN_S = 2.0  # between two looks at processes and causes
_READ_S = 0.1  # between two reads of a log that is being written
_BEHIND = 20  # reads in a row that did not reach the end: then what is in between is left out
_LOSS = 3  # the kind of a record that says what was lost


class Pane(threading.Thread):
    """Shows one thing about some instances of a unit until it is closed: its `turn` tells it from
    others."""

    def __init__(
        self, call: Call, what: str, keys: tuple[str, ...], turn: int, post: Post
    ) -> None:
        super().__init__(daemon=True)
        self._call = call
        self._what = what
        self._keys = keys
        self._turn = turn
        self._post = post
        self._over, self._close = os.pipe2(os.O_CLOEXEC)

    def close(self) -> None:
        if self._close >= 0:
            os.close(self._close)
            self._close = -1

    def run(self) -> None:
        try:
            if self._what == "logs":
                self._follow()
            else:
                self._describe()
        finally:
            os.close(self._over)

    def _tell(self, lines: list[str], *, fresh: bool) -> None:
        self._post(Lines(self._turn, lines, fresh=fresh))

    def _ended(self, wait_s: float | None, *others: int) -> bool:
        """Wait that long, or until one of `others` is readable, or it is closed: True then."""
        return self._over in select([self._over, *others], [], [], wait_s)[0]

    def _describe(self) -> None:
        """Its processes, or its state and causes, again and again."""
        plain = Screen()
        plain.colour = False
        while True:
            try:
                lines = []
                with Server(self._call, f"describe {self._keys[0]}") as server:
                    for key in self._keys:
                        if self._what == "processes":
                            lines += self._processes(server, key)
                        else:
                            lines += self._causes(server, key, plain)
            except Failure as failure:
                lines = failure.text.split("\n")
            self._tell([clean(line) for line in lines], fresh=True)
            if self._ended(_AGAIN_S):
                return

    def _processes(self, server: Server, key: str) -> list[str]:
        tree = server.call("Describe", {"unit": key}).get("tree") or []
        lines = tree_lines(tree, raw=False)[1:] or [f"{key} has no processes"]
        return [line.removeprefix("  ") for line in lines]

    def _causes(self, server: Server, key: str, plain: Screen) -> list[str]:
        now_ns = time.time_ns()
        answer = server.call("Why", {"unit": key})
        return [*head_lines(answer["status"], now_ns, plain), "",
                *chain_lines(answer["chain"], plain, now_ns), ""]

    def _follow(self) -> None:
        while True:
            try:
                if self._read_log():
                    return
            except PermissionError as error:
                self._tell([refused(error).text], fresh=True)
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                self._tell([f"cannot show its log: {reason}; it is tried again"], fresh=True)
            if self._ended(_AGAIN_S):
                return

    def _read_log(self) -> bool:
        """What is stored and what comes. False: it comes faster than it can be read, so begin anew
        with its end."""
        with Follower(directory(self._call), self._keys, last_n=KEPT_LINES) as follower:
            lines = [self._line(record) for record in follower.stored()]
            self._tell(lines or ["nothing was written so far"], fresh=True)
            fresh, behind = not lines, 0
            while not self._ended(
                    follower.timeout(), *(fd for fd in [follower.fileno()] if fd >= 0)):
                if found := [self._line(record) for record in follower.poll()]:
                    self._tell(found[-KEPT_LINES:], fresh=fresh)
                    fresh = False
                behind = behind + 1 if follower.timeout() == 0 else 0
                if behind > _BEHIND:
                    return False
                if self._ended(_READ_S):
                    return True
        return True

    def _line(self, record: Sequence[Any]) -> str:
        at_ns, key, kind, line = record[:4]
        name = "" if len(self._keys) == 1 else f"{key} "
        text = lost(line) if kind == _LOSS else escape(line)
        return f"{clock(at_ns)[:8]} {name}{text}".replace("\t", "    ")


def lost(line: bytes) -> str:
    """A record of a loss, as a sentence."""
    import json

    try:
        found = json.loads(line)
        return f"-- {found['bytes']} bytes were lost: {escape(str(found['reason']).encode())} --"
    except (ValueError, KeyError, TypeError):
        return escape(line)
