"""What core is told. One flat struct for each kind; replaying them replays the supervisor.

`launch` is the keeper's launch number, so that what concerns an earlier run is known as stale.
"""
from __future__ import annotations

from typing import Literal

from msgspec import Struct


class GoUp(Struct, frozen=True, gc=False):
    cause: str
    cause_id: int = 0


class GoDown(Struct, frozen=True, gc=False):
    cause: str
    cause_id: int = 0


class GoAgain(Struct, frozen=True, gc=False):
    """Restart: stop if it runs, then start."""

    cause: str
    cause_id: int = 0


class Reset(Struct, frozen=True, gc=False):
    """Forget a failure and the restart counters."""

    cause: str


class NeedsMet(Struct, frozen=True, gc=False):
    cause: str = ""
    cause_id: int = 0


class NeedFailed(Struct, frozen=True, gc=False):
    cause: str
    cause_id: int = 0


class Released(Struct, frozen=True, gc=False):
    """Whatever had to stop before this instance has stopped."""

    cause: str = ""


class Execed(Struct, frozen=True, gc=False):
    launch: int
    pid: int


class LaunchFailed(Struct, frozen=True, gc=False):
    """`alive` true: the keeper started a child whose exit is still to come. `short`: for want of
    something that may be there again soon, such as memory, processes or descriptors."""

    launch: int
    words: str
    alive: bool
    short: bool = False


class Skipped(Struct, frozen=True, gc=False):
    launch: int
    words: str


class Exited(Struct, frozen=True, gc=False):
    """`code` CLD_EXITED 1, CLD_KILLED 2, CLD_DUMPED 3. `empty`: nothing of it is left."""

    launch: int
    code: int
    status: int
    empty: bool
    words: str = ""  # a better explanation than code and status ("out of memory")


class Empty(Struct, frozen=True, gc=False):
    """No process of the instance is left."""


class Ready(Struct, frozen=True, gc=False):
    """It says that it is ready (notify, fd)."""


class Notified(Struct, frozen=True, gc=False):
    """The rest of sd_notify: what is None was not said. Times in ns."""

    status: str | None = None
    reloading: bool = False
    stopping: bool = False
    watchdog: Literal["", "ping", "trigger"] = ""
    watchdog_ns: int | None = None
    extend_ns: int | None = None
    pid: int | None = None  # MAINPID, already checked and adopted


class Measured(Struct, frozen=True, gc=False):
    memory_bytes: int


class Froze(Struct, frozen=True, gc=False):
    """`cause`: who asked for it, "" if that was core itself."""

    frozen: bool
    cause: str = ""


class Reloaded(Struct, frozen=True, gc=False):
    """An operator asks for a reload of the running service."""

    cause: str


class Due(Struct, frozen=True, gc=False):
    """One of the instance's deadlines has passed."""


Event = (
    GoUp | GoDown | GoAgain | Reset | NeedsMet | NeedFailed | Released | Execed | LaunchFailed
    | Skipped | Exited | Empty | Ready | Notified | Measured | Froze | Reloaded | Due
)  # fmt: skip
EVENTS: tuple[type, ...] = (
    GoUp, GoDown, GoAgain, Reset, NeedsMet, NeedFailed, Released, Execed, LaunchFailed,
    Skipped, Exited, Empty, Ready, Notified, Measured, Froze, Reloaded, Due,
)  # fmt: skip
