"""When each instance came how far while the supervisor started: what `unboxed boot-report` shows.

Law: only the start, and afterwards. Nothing is kept for it while it lasts: it is read from the
journal, which has every transition, when somebody asks or before the journal is written anew.
"""
from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from supervisor.core.world import COMING
from supervisor.model.state import Phase, Transition


class BootTimes(Struct, gc=False, omit_defaults=True):
    """Monotonic ns. `marks`: when a step of the supervisor itself was done. `came`: instance, phase
    and when it was first in it. `early`: when one of the boot plan was executed. `begun`: all that
    was to start is at least waiting. `done_ns`: when the last of them was up or had ended, 0 while
    one is under way."""

    marks: dict[str, int] = {}
    came: dict[str, dict[Phase, int]] = {}
    early: dict[str, int] = {}
    under_way: set[str] = set()
    begun: bool = False
    done_ns: int = 0

    def add(self, part: BootTimes) -> None:
        """What was written down later. What is known already stays."""
        self.marks = part.marks | self.marks
        self.came = part.came | self.came
        self.early = part.early | self.early
        self.under_way |= part.under_way
        self.begun = self.begun or part.begun
        self.done_ns = self.done_ns or part.done_ns
        self._settle()

    def note(self, moved: Sequence[Transition]) -> None:
        """Transitions in their order; some may come twice."""
        if self.done_ns:
            return
        for one in moved:
            self.came.setdefault(one.key, {}).setdefault(one.target, one.time_ns)
            if one.target in COMING:
                self.under_way.add(one.key)
            else:
                self.under_way.discard(one.key)
        self._settle()

    def _settle(self) -> None:
        if self.begun and not self.done_ns and not self.under_way:
            times = [when for phases in self.came.values() for when in phases.values()]
            self.done_ns = max([*times, *self.marks.values()], default=1)
