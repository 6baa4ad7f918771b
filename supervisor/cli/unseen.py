"""Arguments of a command that its sandbox hides: files that are there for whoever checks the unit,
and would not be for the program, which says no more than that it cannot open them.

Only for `check`, which looks at this host: a file that is not here may be elsewhere, and is let be.
"""
from __future__ import annotations

import os

from supervisor.cli.relations import find
from supervisor.config.problem import Problem
from supervisor.model.policy import Policy, plain, resolve
from supervisor.model.unit import Unit


def unseen(unit: Unit) -> list[Problem]:
    """A warning for each such argument."""
    policy = None if plain(unit) or unit.root else resolve(unit)
    if policy is None or not (policy.hide_homes or policy.private_tmp):
        return []
    found = []
    for word in unit.command[1:]:
        path = word[word.find("=/") + 1 :]  # of --config=/home/ann/x too
        top = _hidden_by(path, policy, unit) if path[:1] == "/" and os.path.exists(path) else ""
        if top:
            file, line = find(unit, ("command",))
            found.append(Problem(
                file, line, "command",
                f"its argument {path} would not be there for it: its sandbox hides {top}; move it"
                f' to /srv or /opt, or write directory = "{os.path.dirname(path)}"'))
    return found


def _hidden_by(path: str, policy: Policy, unit: Unit) -> str:
    """The directory of the host that is hidden and that it is in, "" if it is seen."""
    from supervisor.kernel.sandbox.scenery import HOMES, TMP

    own = [unit.command[0], unit.directory, *(one for key in (policy.read, policy.write,
           policy.exec) for one in key or ())]  # fmt: skip
    own += [os.path.realpath(one) for one in own if one[:1] == "/"]
    for one in (path, os.path.realpath(path)):
        for top in HOMES if policy.hide_homes else ():
            if _below(one, top) and not any(_below(mine, top) for mine in own):
                return top
        for top in TMP if policy.private_tmp else ():
            entry = f"{top}/{one[len(top) + 1 :].partition('/')[0]}"
            if _below(one, top) and not any(_below(mine, entry) for mine in own):
                return top
    return ""


def _below(path: str, top: str) -> bool:
    return path == top or path.startswith(f"{top}/")
