"""`unboxed learn UNIT`: run it with nothing refused, note what it asks the kernel for, and print
that as [sandbox] and [network] of a unit file.

Law: the service waits in each call until it is answered here, so nothing here waits for anybody
else: the supervisor is listened to by a thread of its own, and at the end the service is stopped
while its calls are still answered.
"""
from __future__ import annotations

import os
import queue
import select
import sys
import threading
import time

from supervisor.cli.call import BAD_USAGE, DONE, NOT_PERMITTED, TIMED_OUT, Call, Failure
from supervisor.cli.learning import drop_in, started
from supervisor.cli.learning.listener import CannotTake, Listener, take
from supervisor.cli.learning.notes import Notes
from supervisor.cli.learning.process import Process
from supervisor.cli.learning.result import Subject, result, to_toml
from supervisor.cli.learning.watch import Watch
from supervisor.cli.screen import Screen, StatusLine
from supervisor.cli.server import Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DRAW_S = 0.5
_LAST_S = 120.0  # how long a unit may take to stop, before it is left to the supervisor


def run(call: Call) -> int:
    unit = call.words[0]
    seconds = _seconds(call.text("for"))
    if call.flag("force") and not call.flag("write"):
        raise Failure("cannot use --force without --write: nothing would be overwritten", BAD_USAGE)
    with Server(call, f"learn {unit}") as server:
        learner = Learner(call, server, unit)
        try:
            fresh = call.flag("write") and not call.flag("force")
            learner.learn(restart=call.flag("restart"), fresh=fresh, seconds=seconds)
        except Failure:
            if learner.about is not None:  # a manager that was replaced knows of no learner
                learner.stop()
            raise
        finally:
            learner.close()
    about = learner.about
    if about is None:
        learner.stop()
        raise Failure(f"cannot learn {unit}: it did not start: {learner.ended}; it is stopped")
    text = learner.text(about)
    if not call.flag("write"):
        sys.stdout.write(text)
        sys.stdout.flush()
        print(f"{unit} is stopped; `unboxed start {unit}` starts it as it was", file=sys.stderr)
        return DONE
    path, name = about["drop_in"], about["unit"]
    wrong = drop_in.faults(about["folders"], name, path, text)
    if wrong:
        print(text, end="")
        raise Failure(
            f"cannot write {path}: {name} would not be right with it; {unit} is stopped, and what"
            " was learned is printed above\n" + "\n".join(wrong))
    drop_in.write(path, text, force=call.flag("force"))
    print(
        f"wrote {path}; {unit} is stopped: `unboxed reload` and `unboxed start {name}` start it"
        " with that")
    for other in drop_in.over(path):
        print(f"warning: {other} lies over it, and has keys of a sandbox too: these count instead")
    return DONE


def _seconds(text: str | None) -> float | None:
    from supervisor.config.quantity import duration_text

    if text is None:
        return None
    found = duration_text(text)
    if not found:
        raise Failure(f"cannot learn for {text!r}: write a duration, as in 30s or 5m", BAD_USAGE)
    return found / 1e9


class Learner:
    """One unit that is being learned. `about`: what the supervisor told of its last process."""

    def __init__(self, call: Call, server: Server, unit: str) -> None:
        self._call = call
        self._server = server
        self._unit = unit
        self._notes = Notes()
        self._watch = Watch(os.uname().machine, self._notes)
        self._poll = select.poll()
        self._listeners: dict[int, Listener] = {}
        self._told: queue.SimpleQueue[dict[str, Any] | Failure] = queue.SimpleQueue()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._bell, select.POLLIN)
        self._line = StatusLine(Screen(2))
        self._begun = time.monotonic()
        self._stopping = False
        self.about: dict[str, Any] | None = None
        self.ended = ""

    def learn(self, *, restart: bool, fresh: bool, seconds: float | None) -> None:
        """Until the unit ends, for so long, or until Ctrl-C. Raises Failure."""
        asked = {"unit": self._unit, "restart": restart, "fresh": fresh}
        threading.Thread(target=self._hear, args=(asked,), daemon=True).start()
        end = None if seconds is None else self._begun + seconds
        while not self.ended:
            try:
                self._turn()
            except KeyboardInterrupt:
                if self._stopping or self.about is None:
                    raise
                end = 0.0
            if end is not None and time.monotonic() >= end:
                if self._stopping:
                    raise Failure(
                        f"cannot stop {self._unit}: it takes longer than {_LAST_S:.0f} s; the"
                        " supervisor goes on with it", TIMED_OUT)
                self._stop()
                end = time.monotonic() + _LAST_S
        self._line.clear()

    def _hear(self, asked: dict[str, Any]) -> None:
        """In a thread: what the supervisor says."""
        try:
            for reply in self._server.stream("Learn", asked):
                self._say(reply)
        except Failure as failure:
            self._say(failure)

    def _say(self, what: dict[str, Any] | Failure) -> None:
        self._told.put(what)
        os.eventfd_write(self._bell, 1)

    def _stop(self) -> None:
        """While its last calls are answered, so by a thread too."""
        self._stopping = True

        def stop() -> None:
            try:
                self.stop()
            except Failure as failure:
                self._say(failure)

        threading.Thread(target=stop, daemon=True).start()

    def stop(self) -> None:
        with Server(self._call, f"stop {self._unit}") as server:
            server.call("Stop", {"units": [self._unit], "wait": False})

    def _turn(self) -> None:
        for fd, mask in self._poll.poll(_DRAW_S * 1000):
            if fd == self._bell:
                os.eventfd_read(self._bell)
                while not self._told.empty():
                    self._take(self._told.get())
            elif mask & select.POLLIN:
                self._answer(self._listeners[fd])
            else:  # no process is left that has this filter
                self._poll.unregister(fd)
                self._listeners.pop(fd).close()
        self._draw()

    def _take(self, what: dict[str, Any] | Failure) -> None:
        if isinstance(what, Failure):
            raise what
        about = what.get("process")
        if about is None:
            self.ended = what.get("ended") or "it ended"
            return
        self.about = about
        try:
            fd = take(about["pid"], about["descriptor"])
        except CannotTake as why:
            raise Failure(
                f"cannot learn {self._unit}: {why}; it is stopped", NOT_PERMITTED) from None
        self._listeners[fd] = Listener(fd)
        self._poll.register(fd, select.POLLIN)

    def _answer(self, listener: Listener) -> None:
        question = listener.question()
        if question is None:
            return
        process = Process(question.pid)
        try:
            self._watch.see(process, question.call, question.args)
        finally:
            listener.go_on(question)
        self._notes.processes.add(question.pid)

    def _draw(self) -> None:
        spent = time.monotonic() - self._begun
        state = "stopping" if self._stopping else "Ctrl-C ends it"
        self._line.draw(
            f"learning {self._unit}: {spent:.0f} s, {self._notes.asked} calls,"
            f" {len(self._notes.uses)} paths; {state}")

    def text(self, about: dict[str, Any]) -> str:
        own = started.own(about["program"], about["root"])
        started.chain(self._notes, own, about["root"])
        words = tuple((one["word"], one["path"]) for one in about["words"])
        spent = time.monotonic() - self._begun
        subject = Subject(
            about["unit"], own, words, spent, hooks=about["hooks"], dynamic=about["dynamic"])
        return to_toml(result(self._notes, subject), subject, self._notes)

    def close(self) -> None:
        self._line.clear()
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
