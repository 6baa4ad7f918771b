"""Programs that run other programs: what has to be executable beside what was seen to be."""
from __future__ import annotations

from collections.abc import Collection

from supervisor.cli.learning.collapse import below
from supervisor.cli.learning.notes import Notes
from supervisor.kernel.sandbox.elf import asked
from supervisor.kernel.sandbox.part import CannotConfine
from supervisor.kernel.sandbox.paths import own_program
from supervisor.kernel.sandbox.trace import trace

_DEPTH = 4  # the kernel goes no further


def own(program: str, root: str) -> tuple[str, ...]:
    """What @self stands for, with what its links lead to."""
    try:
        found = own_program(program, root)
    except CannotConfine:
        found = (program,)  # its start will say why it is not to be trusted
    real = (_real(path, root) for path in found)
    return tuple(dict.fromkeys((*found, *(path for path in real if path))))


def _real(path: str, root: str) -> str:
    try:
        return trace(path, root).real
    except (OSError, CannotConfine):
        return ""


def chain(notes: Notes, known: Collection[str], root: str) -> None:
    """Note the "#!" interpreters and loaders of each program that was executed; these the kernel
    opens by itself."""
    pending = [(path, _DEPTH) for path, uses in notes.uses.items() if "exec" in uses]
    while pending:
        path, left = pending.pop()
        asks = asked(root + _real(path, root))
        for other in (*asks.script[:1], asks.loader):
            seen = "exec" in notes.uses.get(other, ())
            if other and left and not seen and not below(other, known):
                notes.uses.setdefault(other, set()).add("exec")
                notes.kinds[other] = "file"
                pending.append((other, left - 1))
