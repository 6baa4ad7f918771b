"""Keeper and manager make way for what is installed now. Loaded when that is asked for."""
from __future__ import annotations

from collections.abc import Callable

from supervisor.manager.supervisor import Supervisor


def renew(sup: Supervisor, path: str, answered: Callable[[int], None]) -> None:
    """Have the keeper execute `path`; if it does, this manager ends, and the next one begins from
    what is installed. `answered` gets the errno, 0 for done."""

    def done(err: int) -> None:
        answered(err)
        if err:
            _note(sup, renewed=False)
        else:
            sup.leave_soon = True

    _note(sup, renewed=True)  # before: whatever ends this manager from here on
    sup.ask_keeper("REEXEC", path, done)


def _note(sup: Supervisor, *, renewed: bool) -> None:
    """For the next manager, which tells why it is there."""
    sup.header.renewed = renewed
    try:
        sup.journal.append([(b"H", sup.header)])
    except OSError:
        pass  # no memory: then it tells of a death, and the upgrade happens all the same
