"""What takes time, each in a thread of its own, which tells the screen by messages.

Law: a thread never touches a widget. All are daemons: leaving never waits for a supervisor that is
silent.
"""
from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from supervisor.cli.call import Call, Failure
from supervisor.cli.lifecycle import METHODS, progress_text
from supervisor.cli.screen import clean
from supervisor.cli.server import Server
from supervisor.cli.top.machine import Gauge
from supervisor.cli.top.messages import Broke, Listed, Looked, Lost, Post, Said, Sampled, Told

CHUNK = 32  # instances whose figures are asked for at once: the manager serves others in between
_RELIST_S = 10.0  # as often is looked for new instances of units that are known
_SHARE = 10  # looking takes at most one part in so many of the time, however many units there are


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
            took_s = time.monotonic() - began
            self._over.wait(max(self._interval_s - took_s, _SHARE * took_s, 0.1))
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
