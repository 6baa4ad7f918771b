"""What is wrong with a unit file, said as `file:line: key: cannot ...; what to do`."""
from __future__ import annotations

from msgspec import Struct


class Problem(Struct, frozen=True):
    """`line` 0: the file as a whole, or no file. `key` "": no key in particular."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.key, self.message) if part)


class Broken(Struct, frozen=True):
    """A unit that cannot be used, and why: never without a problem. `name` "": a directory."""

    name: str
    problems: tuple[Problem, ...]
