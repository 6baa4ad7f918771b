"""A unit file and the drop-ins over it. Imported only for a unit that has some."""
from __future__ import annotations

import os
from typing import Any

from supervisor.config.build import BadText, build, document
from supervisor.config.files import Folder, Unreadable, open_inner, read_file, reason
from supervisor.config.problem import Broken, Problem
from supervisor.config.report import Layer, doubt, problems
from supervisor.model.unit import Unit

_MAX_DROP_INS = 256  # in one directory
_KEEPS_EMPTY = ("sandbox", "network")  # where an empty list says that nothing is allowed
_LEVELS = ("off", "base", "app", "strict")  # of the sandbox, each closer than the last
_MAX_TOTAL_BYTES = 256 * 1024  # of one unit with all its drop-ins


def load_layered(
    name: str, source: str, data: bytes, folders: list[Folder],
    instead: dict[str, str] | None = None, warnings: list[Problem] | None = None,
) -> Unit | Broken:  # fmt: skip
    """The unit of `data` with the drop-ins in `folders`, which are in order of rank. `instead`:
    path and text of some that are to be thought of as written ("": as not there). What is doubtful
    is appended to `warnings`."""
    layers: list[Layer] = []
    faults: list[Problem] = []
    files, unreadable = _files(f"{name}.toml.d", folders)
    if instead:
        others = [(path, content) for path, content in files if path not in instead]
        more = [(path, text.encode()) for path, text in instead.items() if text]
        files = sorted([*others, *more], key=lambda row: os.path.basename(row[0]))
    if len(data) + sum(len(content) for _, content in files) > _MAX_TOTAL_BYTES:
        why = f"cannot read it: with its drop-ins it has more than {_MAX_TOTAL_BYTES >> 10} KiB"
        return Broken(name, (Problem(source, 0, "", why),))
    for file, content in [(source, data), *files]:
        try:
            layers.append(Layer(file, content.decode(errors="replace"), document(content)))
        except BadText as bad:
            faults.append(Problem(file, bad.line, "", str(bad)))
    faults += unreadable
    if faults:
        return Broken(name, tuple(faults))
    merged: dict[str, Any] = {}
    for index, layer in enumerate(layers):
        merge(merged, layer.doc, clears=index > 0)
    unit, wrong = build(name, source, merged)
    if wrong:
        return Broken(name, problems(wrong, layers))
    if warnings is not None:
        warnings += _lowered(layers)
    return unit


def _lowered(layers: list[Layer]) -> list[Problem]:
    """A drop-in that takes the sandbox of a unit down, said: whoever wrote the higher level (in the
    unit file, under a preset that was copied) believes that it holds."""
    said = [(rank, layer) for layer in layers if (rank := _rank(layer.doc)) >= 0]
    if not said:
        return []
    last, highest = said[-1], max(said, key=lambda row: row[0])
    if last[0] == highest[0]:
        return []
    level, file = _LEVELS[highest[0]], highest[1].file
    why = f'lowers the level, which is "{level}" in {file}; take it out here to keep that'
    return [doubt(last[1], ("sandbox", "level"), why)]


def _rank(doc: dict[str, Any]) -> int:
    """Of the level that a layer says, -1 if it says none that there is: a later one has replaced
    that."""
    box = doc.get("sandbox")
    level = box.get("level") if type(box) is dict else None
    return _LEVELS.index(level) if level in _LEVELS else -1


def merge(under: dict[str, Any], over: dict[str, Any], *, clears: bool = True) -> None:
    """Merge `over` into `under`; `over` and what it holds stay as they are."""
    for key, value in over.items():
        below = under.get(key)
        if type(value) is dict:
            copy: dict[str, Any] = dict(below) if type(below) is dict else {}
            merge(copy, value, clears=clears and key not in _KEEPS_EMPTY)
            under[key] = copy
        elif clears and value == []:
            under.pop(key, None)
        else:
            under[key] = value


def _files(
    drop_in: str, folders: list[Folder]
) -> tuple[list[tuple[str, bytes]], list[Problem]]:
    """(path, bytes) of the drop-ins that count, in order of file name, and what cannot be read."""
    found: dict[str, tuple[str, bytes]] = {}
    faults: list[Problem] = []
    for folder in folders:
        try:
            home = open_inner(folder, drop_in)
        except Unreadable as why:
            faults.append(Problem(f"{folder.path}/{drop_in}", 0, "", str(why)))
            continue
        try:
            _read_all(home, found, faults)
        finally:
            os.close(home.fd)
    return [found[name] for name in sorted(found)], faults


def _read_all(
    home: Folder, found: dict[str, tuple[str, bytes]], faults: list[Problem]
) -> None:
    """Add the drop-ins of one open directory to `found`, unless one of their name is there."""
    try:
        names = _names(home)
    except Unreadable as why:
        faults.append(Problem(home.path, 0, "", str(why)))
        return
    for name in names:
        place = f"{home.path}/{name}"
        try:
            if name not in found:
                found[name] = place, read_file(home.fd, name)
        except Unreadable as why:
            faults.append(Problem(place, 0, "", str(why)))


def _names(home: Folder) -> list[str]:
    """The drop-ins in an open directory. Raises Unreadable."""
    try:
        names = [name for name in os.listdir(home.fd) if name.endswith(".toml") and name[0] != "."]
    except OSError as error:
        raise Unreadable(f"cannot read this drop-in directory: {reason(error)}") from None
    if len(names) > _MAX_DROP_INS:
        raise Unreadable(f"cannot read them: there are more than {_MAX_DROP_INS} drop-ins")
    return sorted(names)
