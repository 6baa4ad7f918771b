"""`unboxed check PATH...`: all errors of unit files, offline, as an editor or CI wants them.

A directory is read as the supervisor would read it, drop-ins included. A file is read with its
drop-ins beside it, and its neighbours for what it needs and which ports they claim: a cycle is an
error there too, a unit that is not among them only a warning, since it may be in another directory.
A drop-in stands for its unit.
"""
from __future__ import annotations

import os
import stat

from supervisor.cli.call import DONE, FAILED, Call
from supervisor.cli.relations import relations
from supervisor.cli.screen import Screen, clean
from supervisor.cli.server import print_json
from supervisor.cli.unseen import unseen
from supervisor.config.drop_in import load_layered
from supervisor.config.files import Unreadable, open_folder, read_file, reason
from supervisor.config.load import Loaded, load_text, read_units
from supervisor.config.problem import Broken, Problem
from supervisor.core.graph import ENDS
from supervisor.core.ports import claims
from supervisor.model.unit import Needs, Unit

_SUFFIX = ".toml"
_DROP_INS = ".toml.d"


def run(call: Call) -> int:
    found = [load(path) if path else _bad("''", "cannot check it: that is no path; name one")
             for path in call.words]
    everywhere = {name for one in found for name in one.units}
    machine = call.flag("machine")
    count = len({unit.source for one in found for unit in one.units.values()})
    problems: list[Problem] = []
    warnings: list[Problem] = []
    neighbours: dict[str, Loaded] = {}
    for path, one in zip(call.words, found, strict=True):
        problems += one.problems
        warnings += one.warnings
        if os.path.isdir(path) and not _of_drop_ins(path):
            wrong, doubtful = relations(one, everywhere, machine=machine)
        else:
            wrong, doubtful = _among_neighbours(one, everywhere, neighbours, machine=machine)
        problems += wrong
        warnings += doubtful
        warnings += [warning for unit in one.units.values() for warning in unseen(unit)]
    problems = list(dict.fromkeys(problems))  # of two files in one cycle, or named twice
    warnings = list(dict.fromkeys(warnings))
    if call.flag("json"):
        print_json({
            "ok": not problems,
            "units": count,
            "problems": [_plain(problem) for problem in problems],
            "warnings": [_plain(problem) for problem in warnings],
        })
    else:
        _show(count, problems, warnings)
    return FAILED if problems else DONE


def _among_neighbours(
    alone: Loaded, everywhere: set[str], known: dict[str, Loaded], *, machine: bool
) -> tuple[list[Problem], list[Problem]]:
    """What is wrong with the relations of the one unit in `alone`, which is not read again."""
    for name, unit in alone.units.items():
        sliced = unit.limits is not None and unit.limits.slice
        limit = unit.restart.limit
        ends = limit is not None and limit.then in ENDS
        if unit.needs == Needs() and not sliced and not ends and not any(claims(unit)):
            continue
        home = os.path.dirname(unit.source) or "."
        if home not in known:
            known[home] = read_units([home])
        units = {**known[home].units, name: unit}
        return relations(Loaded(units, known[home].problems, []), everywhere, only=name,
                         machine=machine)
    return [], []


def load(path: str) -> Loaded:
    """A unit file with its drop-ins, or a directory; what is wrong is among its problems."""
    try:
        facts = os.stat(path)
    except (OSError, ValueError) as error:
        return _bad(path, f"cannot check it: {reason(error)}; name a unit file or a directory")
    directory = stat.S_ISDIR(facts.st_mode)
    parent, name = os.path.split(os.path.normpath(path))
    if _of_drop_ins(path if directory else parent):
        return _drop_in(path, os.path.normpath(path) if directory else parent)
    if directory:
        loaded = read_units([path])
        homes = [os.path.join(path, one) for one in _names(path) if one.endswith(_DROP_INS)]
        loaded.warnings.extend(stray for home in homes for stray in _strays(home))
        if loaded.units or loaded.problems:
            return loaded
        return _bad(path, f"cannot check it: no unit file (*{_SUFFIX}) is in this directory;"
                    " nothing was checked")
    if not name.endswith(_SUFFIX):
        return _bad(path, f"cannot check it: a unit file is called NAME{_SUFFIX}; rename it")
    return _file(path)


def _drop_in(path: str, home: str) -> Loaded:
    """The unit that a drop-in, or a directory of them, belongs to."""
    base = home.removesuffix(".d")
    unit = os.path.basename(base).removesuffix(_SUFFIX)
    if not os.path.isdir(path) and not path.endswith(_SUFFIX):
        return _bad(path, f"cannot check it: a drop-in is called NAME{_SUFFIX}; rename it")
    if not os.path.exists(base):
        return _bad(path, f"cannot check it: it is a drop-in of {unit}, and there is no {base};"
                    " nothing was checked")
    loaded = _file(base)
    loaded.warnings.append(
        Problem(path, 0, "", f"it is a drop-in of {unit}: {base} was checked with all of them"))
    return loaded


def _file(path: str) -> Loaded:
    """One unit file with the drop-ins beside it."""
    parent, file = os.path.split(path)
    name = file.removesuffix(_SUFFIX)
    doubtful: list[Problem] = []
    try:
        folder = open_folder(parent or ".")
        if folder is None:
            raise Unreadable("cannot read it: no such file or directory")
        try:
            data = read_file(folder.fd, file)
            found: Unit | Broken
            if os.path.lexists(f"{path}.d"):
                found = load_layered(name, path, data, [folder], warnings=doubtful)
            else:
                found = load_text(name, data.decode("utf-8", "surrogateescape"), path)
        finally:
            os.close(folder.fd)
    except Unreadable as why:
        return _bad(path, str(why))
    doubtful += _strays(f"{path}.d")
    if isinstance(found, Broken):
        return Loaded({}, list(found.problems), doubtful)
    return Loaded({found.name: found}, [], doubtful)


def _of_drop_ins(directory: str) -> bool:
    return os.path.basename(os.path.normpath(directory)).endswith(_DROP_INS)


def _strays(home: str) -> list[Problem]:
    """Files among drop-ins that are none by their name."""
    return [
        Problem(f"{home}/{name}", 0, "", f"cannot be used: a drop-in is *{_SUFFIX}; it is ignored")
        for name in _names(home)
        if not name.endswith(_SUFFIX) and name[0] != "." and name[-1] != "~"
    ]


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []  # there is none, or it was said already


def _bad(path: str, message: str) -> Loaded:
    return Loaded({}, [Problem(path, 0, "", message)], [])


def _plain(problem: Problem) -> dict[str, str | int]:
    return {
        "file": problem.file, "line": problem.line, "key": problem.key, "message": problem.message,
    }


def _show(count: int, problems: list[Problem], warnings: list[Problem]) -> None:
    screen = Screen()
    for warning in warnings:
        print(f"{screen.paint('warning', 'faint')}: {clean(str(warning))}")
    for problem in problems:
        place, colon, rest = clean(str(problem)).partition(": ")
        print(screen.paint(place, "head") + colon + rest)
    if problems:
        errors = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        units = any(problem.line or problem.key for problem in problems)
        print(errors + ("; these units would not start" if units else ""))
    else:
        print("1 unit is right" if count == 1 else f"{count} units are right")
