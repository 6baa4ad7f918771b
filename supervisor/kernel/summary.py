"""The steps of a plan for people: system calls that work on one thing are told in one line.

Law: nothing is left out but that what was opened for a moment is closed again. Calls stay in their
order: one joins the line before it only if it takes what that line made, or does the same again.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from supervisor.kernel.calls import Argument, Out, Struct
from supervisor.kernel.plan import Step, describe


def summary(steps: list[Step]) -> list[tuple[str, str]]:
    """(name, words) of each line."""
    lines: list[tuple[str, str]] = []
    group: list[Step] = []
    for step in steps:
        if step.name == "CALL" and step.args[0] == "close":
            continue
        if group and not _continues(group, step):
            lines.append(("CALL", _words(group)))
            group = []
        if step.name == "CALL":
            group.append(step)
        else:
            lines.append((step.name, describe(step)))
    return [*lines, ("CALL", _words(group))] if group else lines


def _continues(group: list[Step], step: Step) -> bool:
    if step.name != "CALL":
        return False
    made = {str(one.args[2]) for one in group if one.args[2]}
    return not made.isdisjoint(_taken(step)) or (not made and step.args[0] == group[-1].args[0])


def _taken(step: Step) -> Iterator[str]:
    """Labels of earlier results that a call takes."""
    for arg in cast(tuple[Argument, ...], step.args[1]):
        for part in arg.parts if isinstance(arg, Struct) else (arg,):
            if isinstance(part, Out):
                yield part.label


def _words(group: list[Step]) -> str:
    names = ", ".join(dict.fromkeys(f"{step.args[0]}(2)" for step in group))
    return f"{names}: {'; '.join(dict.fromkeys(str(step.args[-1]) for step in group))}"
