"""What takes time, each in a thread of its own, which tells the screen by messages.

Law: a thread never touches a widget; `post` is the screen's inbox, and takes a message from any
thread. All are daemons: leaving never waits for a supervisor that is silent.
"""
from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from select import select
from typing import Any

from textual.message import Message

from supervisor.cli.call import Call, Failure
from supervisor.cli.causes import chain_lines
from supervisor.cli.clock import clock
from supervisor.cli.detail import head_lines, tree_lines
from supervisor.cli.lifecycle import METHODS, progress_text
from supervisor.cli.logs import directory, refused
from supervisor.cli.screen import Screen, clean
from supervisor.cli.server import Server
from supervisor.cli.top.machine import Gauge, Machine
from supervisor.logger.follow import Follower
from supervisor.logger.text import escape

CHUNK = 32  # instances whose figures are asked for at once: the manager serves others in between
KEPT_LINES = 1000
_RELIST_S = 10.0  # as often is looked for new instances of units that are known
_READ_S = 0.1  # between two reads of a log that is being written
_BEHIND = 20  # reads in a row that did not reach the end: then what is in between is left out
_LOSS = 3  # the kind of a record that says what was lost

Post = Callable[[Message], object]


class Listed(Message):
    """`statuses` of all instances there are, without figures."""

    def __init__(self, statuses: list[dict[str, Any]]) -> None:
        super().__init__()
        self.statuses = statuses


class Sampled(Message):
    """The figures of some, seen at `now_s` (monotonic)."""

    def __init__(self, statuses: list[dict[str, Any]], now_s: float) -> None:
        super().__init__()
        self.statuses = statuses
        self.now_s = now_s


class Looked(Message):
    """All have been sampled."""

    def __init__(self, supervisor: dict[str, Any], machine: Machine) -> None:
        super().__init__()
        self.supervisor = supervisor
        self.machine = machine


class Told(Message):
    """The states of some after something was done."""

    def __init__(self, statuses: list[dict[str, Any]]) -> None:
        super().__init__()
        self.statuses = statuses


class Lost(Message):
    """No supervisor answers, for that reason. It is asked again."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


class Said(Message):
    """For the line that tells how things went. `kind` as in words.STATES."""

    def __init__(self, text: str, kind: str = "") -> None:
        super().__init__()
        self.text = text
        self.kind = kind


class Lines(Message):
    """For the pane, if it still shows `turn`. `fresh`: in place of what it had."""

    def __init__(self, turn: int, lines: list[str], *, fresh: bool) -> None:
        super().__init__()
        self.turn = turn
        self.lines = lines
        self.fresh = fresh


class Broke(Message):
    """A thread of ours ended by an error that nobody expected."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


def tell_errors(post: Post) -> Callable[[], None]:
    """What a thread raises is for the screen: on standard error it would be drawn over. Returns
    what ends that."""
    before = threading.excepthook

    def told(what: threading.ExceptHookArgs) -> None:
        if what.exc_value is not None:
            post(Broke(what.exc_value))

    def restore() -> None:
        threading.excepthook = before

    threading.excepthook = told
    return restore


class Looker(threading.Thread):
    """Looks at all units each `interval_s`, while `wanted`."""

    def __init__(self, call: Call, interval_s: float, post: Post) -> None:
        super().__init__(daemon=True)
        self.wanted = threading.Event()
        self.wanted.set()
        self._over = threading.Event()
        self._call = call
        self._interval_s = interval_s
        self._post = post
        self._gauge = Gauge()
        self._known: tuple[str, ...] = ()
        self._units = -1
        self._relist_at = 0.0

    def close(self) -> None:
        self._over.set()
        self.wanted.set()

    def run(self) -> None:
        began = 0.0
        while self._goes_on(began):
            began = time.monotonic()
            try:
                with Server(self._call, "show the units") as server:
                    self._look(server)
                    while self._goes_on(began):
                        began = time.monotonic()
                        self._look(server)
            except Failure as failure:
                self._relist_at = 0.0
                if not self._over.is_set():
                    self._post(Lost(clean(failure.text.partition("\n")[0])))

    def _goes_on(self, began: float) -> bool:
        """Wait until it is time for the next look; False: there is none."""
        if began:
            self._over.wait(max(began + self._interval_s - time.monotonic(), 0.2))
        self.wanted.wait()
        return not self._over.is_set()

    def _look(self, server: Server) -> None:
        supervisor: dict[str, Any] | None = None
        if time.monotonic() >= self._relist_at:
            supervisor = self._list(server)
        for at in range(0, len(self._known), CHUNK):
            try:
                answer = server.call(
                    "Status", {"units": self._known[at : at + CHUNK], "usage": True})
            except Failure as failure:
                if failure.code != 3:
                    raise
                supervisor = self._list(server)  # one of them is gone
                break
            supervisor = answer["supervisor"]
            self._post(Sampled(answer["instances"], time.monotonic()))
        if supervisor is None or supervisor["units"] != self._units:
            supervisor = self._list(server)
        self._post(Looked(supervisor, self._gauge.look(
            {"manager": supervisor["pid"], "keeper": supervisor["keeper_pid"]})))

    def _list(self, server: Server) -> dict[str, Any]:
        answer = server.call("Status", {"units": self._call.words} if self._call.words else {})
        supervisor: dict[str, Any] = answer["supervisor"]
        self._known = tuple(status["key"] for status in answer["instances"])
        self._units = supervisor["units"]
        self._relist_at = time.monotonic() + _RELIST_S
        self._post(Listed(answer["instances"]))
        return supervisor


def act(call: Call, verb: str, key: str, post: Post, signal: int | None = None) -> None:
    """Ask for a change, and tell how it goes until it is true."""

    def work() -> None:
        asked: dict[str, Any] = {"units": [key], "wait": True}
        if signal is not None:
            asked["signal"] = signal
        post(Said(f"{verb} {key} ...", "busy"))
        try:
            with Server(call, f"{verb} {key}") as server:
                for reply in server.stream(METHODS[verb], asked):
                    if waiting := reply.get("progress"):
                        post(Said(f"{verb}: {clean(progress_text(waiting, time.time_ns()))}",
                                  "busy"))
                    elif "results" in reply:
                        post(result(verb, reply["results"]))
                post(Told(server.call("Status", {"units": [key]})["instances"]))
        except Failure as failure:
            post(Said(clean(failure.text.replace("\n", "; ")), "bad"))

    threading.Thread(target=work, daemon=True).start()


def result(verb: str, results: Sequence[dict[str, Any]]) -> Said:
    """How it went, in one line: what failed, else what each one is now."""
    wrong = [one for one in results if not one["ok"]]
    if not wrong:
        return Said("; ".join(
            f"{one['key']}: {clean(one.get('message') or 'done')}" for one in results), "good")
    texts = []
    for one in wrong:
        text = clean(one.get("message") or "it failed")
        texts.append(text if text.startswith("cannot ") else f"cannot {verb} {one['key']}: {text}")
    return Said("; ".join(texts), "bad")


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
            if self._ended(2.0):
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
            if self._ended(2.0):
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
