"""What a client may ask: the parameters of each method, and what who answers it must implement.

The other half of report.py, compared with the interface file by the same test. Parameters are
converted strictly: an unknown field, a wrong type or a value out of bounds never gets here.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Protocol

from msgspec import Meta, Struct

from supervisor.model.report import Refusal
from supervisor.model.state import Power
from supervisor.model.unit import SECOND_NS

# A unit name, an instance key (web/1), a group, or a glob of names (web*).
Pattern = Annotated[str, Meta(min_length=1, max_length=128)]
MOST_USAGES = 128  # of one answer: some 20 ms, in which nobody else gets one
Words = Annotated[tuple[str, ...], Meta(min_length=1)]


class Nothing(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A method without parameters."""


class Which(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """`units` empty: all of them. `usage`: with all figures, of MOST_USAGES instances at most."""

    units: tuple[Pattern, ...] = ()
    usage: bool = False


class Named(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """`units` empty: all of them."""

    units: tuple[Pattern, ...] = ()


class One(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A unit name or an instance key; no glob."""

    unit: Pattern


class Operate(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """`wait` false: answer as soon as the request is accepted. What takes no time (a signal, a
    reset) is done when it is answered, either way."""

    units: Annotated[tuple[Pattern, ...], Meta(min_length=1)]
    wait: bool = True


class Kill(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    units: Annotated[tuple[Pattern, ...], Meta(min_length=1)]
    signal: Annotated[int, Meta(ge=1, le=64)] = 15
    wait: bool = True


class Set(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """`keys`: as a unit file would have them; None takes back what was set so. `persist`: in the
    administrator's directory, else until the host is started again."""

    unit: Pattern
    keys: dict[str, Any]
    persist: bool = False


class Try(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """`keys`: further keys of the unit, as its file would have them."""

    command: Words
    keys: dict[str, Any] = {}


class Exec(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Three descriptors come along: standard input, output and error. `term`: what kind of terminal
    the first one is; it becomes the command's own. "": it is none."""

    unit: Pattern
    command: Words
    term: Annotated[str, Meta(max_length=64)] = ""


class Learn(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """`restart`: also if it runs. `fresh`: not if the drop-in is there that this would become."""

    unit: Pattern
    restart: bool = False
    fresh: bool = False


class Close(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    wait: bool = True


class End(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """`timeout_ns` 0: as usual."""

    action: Power
    timeout_ns: Annotated[int, Meta(ge=0, le=86_400 * SECOND_NS)] = 0
    now: bool = False


class Call(Protocol):
    """One call of one client, to be answered once, at any later time.

    After `reply`, `fail`, or the client's leaving, whatever else is sent is dropped.
    """

    more: bool  # the client wants progress, or a stream
    uid: int  # of the peer, when it connected
    fds: tuple[int, ...]  # sent along; who takes them leaves (), the rest are closed
    closed: Callable[[], None] | None  # set it: called once if the client leaves unanswered

    @property
    def who(self) -> str:
        """The peer in words, for causes: "uid 1000"."""

    def permits(self, unit: str) -> bool:
        """Whether this peer may do this method to the unit of that name."""

    def reply(self, answer: Struct) -> None:
        """The last (or only) answer."""

    def progress(self, answer: Struct) -> None:
        """An answer that others follow; dropped unless `more`."""

    def fail(self, refusal: Refusal) -> None:
        """End the call with an error."""


class Requests(Protocol):
    """Who answers: the manager. Each method is called with a checked, permitted call and typed
    parameters, must not block, and answers through the call, now or later.

    Where parameters name units, only the role is checked so far: `call.permits(unit)` decides for
    each one that a pattern selects.
    """

    def status(self, call: Call, ask: Which) -> None: ...
    def figures(self, call: Call, ask: Named) -> None: ...
    def describe(self, call: Call, ask: One) -> None: ...
    def events(self, call: Call, ask: Nothing) -> None: ...
    def why(self, call: Call, ask: One) -> None: ...
    def explain(self, call: Call, ask: One) -> None: ...
    def audit(self, call: Call, ask: Named) -> None: ...
    def ports(self, call: Call, ask: Named) -> None: ...
    def relations(self, call: Call, ask: Named) -> None: ...
    def boot_report(self, call: Call, ask: Nothing) -> None: ...
    def start(self, call: Call, ask: Operate) -> None: ...
    def stop(self, call: Call, ask: Operate) -> None: ...
    def restart(self, call: Call, ask: Operate) -> None: ...
    def reload(self, call: Call, ask: Operate) -> None: ...
    def kill(self, call: Call, ask: Kill) -> None: ...
    def freeze(self, call: Call, ask: Operate) -> None: ...
    def thaw(self, call: Call, ask: Operate) -> None: ...
    def reset_failed(self, call: Call, ask: Operate) -> None: ...
    def reload_units(self, call: Call, ask: Nothing) -> None: ...
    def set_keys(self, call: Call, ask: Set) -> None: ...
    def exec_command(self, call: Call, ask: Exec) -> None: ...
    def try_command(self, call: Call, ask: Try) -> None: ...
    def learn(self, call: Call, ask: Learn) -> None: ...
    def shutdown(self, call: Call, ask: Close) -> None: ...
    def shutdown_now(self, call: Call, ask: Nothing) -> None: ...
    def end(self, call: Call, ask: End) -> None: ...
    def upgrade(self, call: Call, ask: Nothing) -> None: ...
