"""start, stop, restart, reload, kill, freeze, thaw, reset-failed: ask, and wait until it is true.

The supervisor works whether or not anybody waits: Ctrl-C here ends the waiting and nothing else.
While it waits, a line on the terminal names what for and until when, with its seconds counted down.
"""
from __future__ import annotations

import signal
import sys
import time

from supervisor.cli.call import BAD_USAGE, DONE, FAILED, Call, Failure
from supervisor.cli.screen import Screen, StatusLine, clean
from supervisor.cli.server import Server
from supervisor.cli.words import STATES, pending
from supervisor.model.values import signal_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

METHODS = {
    "start": "Start", "stop": "Stop", "restart": "Restart", "reload": "Reload", "kill": "Kill",
    "freeze": "Freeze", "thaw": "Thaw", "reset-failed": "ResetFailed",
}
_VERBS = {"reset-failed": "reset"}  # in sentences
_SHOWN = 2  # how many instances the progress line names


def run(call: Call) -> int:
    if call.verb == "reload" and not call.words:
        return _reload_files(call)
    asked: dict[str, Any] = {"units": list(call.words), "wait": not call.flag("no-wait")}
    if call.verb == "kill":
        given = call.text("signal")
        asked["signal"] = _signal("TERM" if given is None else given)
    names = " ".join(call.words)
    verb = _VERBS.get(call.verb, call.verb)
    with Server(call, f"{verb} {names}") as server:
        try:
            return finish(verb, request(server, METHODS[call.verb], asked))
        except KeyboardInterrupt:
            print(f"stopped waiting; the supervisor goes on, `unboxed status {names}` shows how far"
                  " it is", file=sys.stderr)
            raise


def request(server: Server, method: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Ask for a change, show how it goes, and return the results: {key, ok, message, code}."""
    with Progress(Screen(2)) as progress:
        for reply in server.stream(method, asked):
            if "results" in reply:
                results: list[dict[str, Any]] = reply["results"]
                return results
            progress.show(reply.get("progress") or [])
    raise Failure("cannot tell how it went: the supervisor gave no result; see `unboxed status`")


def finish(verb: str, results: list[dict[str, Any]]) -> int:
    """Say how it went, unit by unit; the exit code of the first that failed."""
    code = DONE
    for result in results:
        message = clean(result.get("message") or "")
        if result["ok"]:
            print(f"{result['key']}: {message or 'done'}")
            continue
        code = code or result.get("code") or FAILED
        sys.stdout.flush()
        if not message.startswith("cannot "):
            message = f"cannot {verb} {result['key']}: {message or 'it failed'}"
        print(message, file=sys.stderr)
    return code


def _signal(text: str) -> int:
    number = signal_number(text)
    if number is None:
        raise Failure(
            f"cannot send the signal {text!r}: there is none of that name; names are like TERM,"
            " HUP, USR1, numbers from 1 to 64", BAD_USAGE)
    return number


def _reload_files(call: Call) -> int:
    with Server(call, "reload unit files") as server:
        answer = server.call("ReloadUnits", {})
    said = False
    for what in ("added", "changed", "removed"):
        if answer.get(what):
            print(f"{what}: {', '.join(answer[what])}")
            said = True
    if not said:
        print("unit files are unchanged")
    return DONE


class Progress:
    """Counts down on the status line between the supervisor's replies, by SIGALRM: the wait for the
    next reply may then block. Only while there is something to count, and only on a terminal."""

    def __init__(self, screen: Screen) -> None:
        self._line = StatusLine(screen)
        self._redraws = screen.redraws
        self._waiting: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        if self._redraws:
            signal.signal(signal.SIGALRM, lambda _number, _frame: self._draw())
        return self

    def __exit__(self, *_: object) -> None:
        if self._redraws:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        self._line.clear()

    def show(self, waiting: list[dict[str, Any]]) -> None:
        self._waiting = waiting
        if self._redraws:
            signal.setitimer(signal.ITIMER_REAL, 1 if waiting else 0, 1)
            self._draw()

    def _draw(self) -> None:
        if self._waiting:
            self._line.draw(progress_text(self._waiting, time.time_ns()))


def progress_text(waiting: list[dict[str, Any]], now_ns: int) -> str:
    """"web: waiting for ready, 48 s left; db: waiting for disk (and 3 more)"."""
    parts = []
    for item in waiting[:_SHOWN]:
        status = item if item.get("state") in STATES else {**item, "state": "starting"}
        parts.append(f"{item['key']}: {pending(status, now_ns) or status['state']}")
    more = len(waiting) - _SHOWN
    return "; ".join(parts) + (f" (and {more} more)" if more > 0 else "")
