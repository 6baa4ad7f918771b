"""Another process of a service as its main one (MAINPID): believed once the keeper has taken it.

ADOPT is answered under the launch's number, and so is a signal that failed. Only ADOPT is ever
answered with 0, so that tells at once; that it failed is known when the request behind it is
answered. An exit of that launch heard meanwhile is the former main process's: of no more meaning if
the keeper takes the new one, and to be told after all if it does not.
"""
from __future__ import annotations

from collections.abc import Callable
from errno import ESRCH
from typing import TYPE_CHECKING

from supervisor.kernel.keeper import Frame

if TYPE_CHECKING:
    from supervisor.manager.supervisor import Supervisor

NOTHING = "nothing"  # no name in the store: asked to drop it, the keeper only answers


class Adoptions:
    def __init__(self, sup: Supervisor) -> None:
        self._sup = sup
        self._open: dict[int, _Adoption] = {}  # by launch
        self.replay: Callable[[Frame], None] = lambda _frame: None  # observer

    def ask(self, launch: int, pid: int, done: Callable[[int], None]) -> None:
        """Make `pid` the main process of a launch; `done` gets an errno, 0 once it is."""
        asked = self._open[launch] = _Adoption(done)
        self._sup.keeper.send("ADOPT", launch, pid.to_bytes(4, "little"))
        self._sup.ask_keeper("DROP", NOTHING, lambda _err: self._failed(launch, asked))

    def holds(self, frame: Frame) -> bool:
        """Whether what this exit means depends on an answer that is still to come."""
        asked = self._open.get(frame.tag)
        if asked is not None:
            asked.held.append(frame)
        return asked is not None

    def result(self, launch: int, err: int) -> bool:
        """Take a RESULT under a launch's number. False: it is about nothing of ours."""
        asked = self._open.get(launch)
        if asked is None:
            return False
        asked.err = err
        if not err:
            del self._open[launch]
            asked.done(0)
        return True

    def _failed(self, launch: int, asked: _Adoption) -> None:
        if self._open.get(launch) is asked:
            del self._open[launch]
            asked.done(asked.err)
            for frame in asked.held:
                self.replay(frame)


class _Adoption:
    def __init__(self, done: Callable[[int], None]) -> None:
        self.done = done
        self.err = ESRCH
        self.held: list[Frame] = []
