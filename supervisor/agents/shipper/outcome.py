"""What can become of a batch that is sent: taken (an int: so many of its lines were refused), or
one of these. Pure."""
from __future__ import annotations


class Outcome(Exception):
    """`why` continues "cannot deliver to URL: "."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Later(Outcome):
    """It may be taken another time, but not before `after_seconds` (0: the receiver named none)."""

    def __init__(self, why: str, after_seconds: float = 0) -> None:
        super().__init__(why)
        self.after_seconds = after_seconds


class TooLarge(Outcome):
    """Half of it may be taken."""


class Never(Outcome):
    """It is refused, and would be each time."""


def words(error: OSError) -> str:
    """What the kernel says of a connection; "" if it says nothing."""
    if isinstance(error, PermissionError):  # no receiver can cause it
        return f"{error.strerror}: is its port in [network] connect of this unit?"
    return error.strerror or ""
