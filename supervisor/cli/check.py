"""`unboxed check PATH...`: all errors of unit files, offline, as an editor or CI wants them.

A directory is read as the supervisor would read it, drop-ins included; a file by itself. Relations
are checked within what was named: a missing unit counts only where a directory was, since a file
alone says nothing about its neighbours.
"""
from __future__ import annotations

import os
import stat

from supervisor.cli.call import DONE, FAILED, Call
from supervisor.cli.screen import Screen, clean
from supervisor.cli.server import print_json
from supervisor.config.files import Unreadable, open_folder, read_file, reason
from supervisor.config.load import Loaded, load_text, read_units
from supervisor.config.problem import Broken, Problem
from supervisor.core.graph import build

_SUFFIX = ".toml"
_MISSING = "which has no unit file"  # how core puts it


def run(call: Call) -> int:
    count = 0
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for path in call.words:
        loaded = _load(path) if path else _bad("''", "cannot check it: that is no path; name one")
        count += len(loaded.units)
        problems += loaded.problems
        warnings += loaded.warnings
        problems += _relations(loaded, alone=not os.path.isdir(path))
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


def _relations(loaded: Loaded, *, alone: bool) -> list[Problem]:
    """What units need of each other and cannot get. `alone`: the neighbours were not looked at."""
    wrong = {os.path.basename(problem.file).removesuffix(_SUFFIX) for problem in loaded.problems}
    found = []
    for name, why in sorted(build(loaded.units).broken.items()):
        slice_ = why.startswith("its slice")
        if alone and (_MISSING in why or (slice_ and why.endswith("has no unit file"))):
            continue
        there = any(f" {one}, {_MISSING}" in why for one in wrong)
        words = why.replace(_MISSING, "whose file has errors") if there else why
        found.append(Problem(
            loaded.units[name].source, 0, "limits.slice" if slice_ else "needs",
            f"cannot start {name}: {words}"))
    return found


def _load(path: str) -> Loaded:
    try:
        facts = os.stat(path)
    except (OSError, ValueError) as error:
        return _bad(path, f"cannot check it: {reason(error)}; name a unit file or a directory")
    if stat.S_ISDIR(facts.st_mode):
        loaded = read_units([path])
        if loaded.units or loaded.problems:
            return loaded
        return _bad(path, f"cannot check it: no unit file (*{_SUFFIX}) is in this directory;"
                    " nothing was checked")
    parent, name = os.path.split(path)
    if not name.endswith(_SUFFIX):
        return _bad(path, f"cannot check it: a unit file is called NAME{_SUFFIX}; rename it")
    try:
        text = _read(parent or ".", name)
    except Unreadable as why:
        return _bad(path, str(why))
    found = load_text(name.removesuffix(_SUFFIX), text, path)
    if isinstance(found, Broken):
        return Loaded({}, list(found.problems), [])
    return Loaded({found.name: found}, [], [])


def _read(parent: str, name: str) -> str:
    """The file as text; what is no UTF-8 stays recognisable as such. Raises Unreadable."""
    folder = open_folder(parent)
    if folder is None:
        raise Unreadable("cannot read it: no such file or directory")
    try:
        return read_file(folder.fd, name).decode("utf-8", "surrogateescape")
    finally:
        os.close(folder.fd)


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
