"""One invocation: what was asked, with which options, of which supervisor.

Whoever parsed the command line (parse.py, front.py) makes a Call, and a verb's handler gets it. A
handler returns an exit code or raises Failure; it never exits by itself.
"""
from __future__ import annotations

import os

from supervisor.model.paths import Paths, paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# The exit codes of every verb. 130 is what a shell reports for a program ended by Ctrl-C.
DONE, FAILED, BAD_USAGE, NOT_RUNNING, NOT_PERMITTED, TIMED_OUT, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

Value = str | int | bool | list[str]


class Failure(Exception):
    """`text` is the whole message: `cannot VERB UNIT: reason; what happens next`."""

    def __init__(self, text: str, code: int = FAILED) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


class Call:
    """`options` holds only what was given, under the long name without dashes. `keys` are the unit
    keys of `try`, as (dotted key, text)."""

    def __init__(
        self, verb: str, words: Sequence[str] = (), options: dict[str, Value] | None = None,
        keys: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.verb = verb
        self.words = tuple(words)
        self.options = options or {}
        self.keys = tuple(keys)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Call) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]  # holds a dict

    def __repr__(self) -> str:
        return f"Call({self.verb!r}, {self.words!r}, {self.options!r}, {self.keys!r})"

    def flag(self, name: str) -> bool:
        return bool(self.options.get(name))

    def text(self, name: str) -> str | None:
        value = self.options.get(name)
        return None if value is None else str(value)

    def number(self, name: str) -> int | None:
        value = self.options.get(name)
        return value if isinstance(value, int) else None

    def many(self, name: str) -> list[str]:
        value = self.options.get(name)
        return value if isinstance(value, list) else []

    def paths(self) -> Paths:
        """The supervisor of whoever calls. Relative directories count from here and now."""
        return self._paths(os.geteuid())

    def asked(self) -> Paths:
        """The supervisor that this call asks: the system's (/run/unboxed) for a user who names none
        and has none of his own, where there is one."""
        own = self.paths()
        named = self.text("runtime-dir") or os.environ.get("UNBOXED_RUNTIME_DIR")
        if named or self.verb == "run" or os.path.lexists(own.runtime):
            return own
        system = self._paths(0)
        return system if os.path.exists(system.status) else own

    def _paths(self, uid: int) -> Paths:
        return paths(
            os.environ,
            uid,
            _absolute(self.text("runtime-dir")),
            _absolute(self.text("state-dir")),
            _absolute(self.text("log-dir")),
            [os.path.abspath(unit) for unit in self.many("units")],
        )


def _absolute(path: str | None) -> str | None:
    return os.path.abspath(path) if path else path
