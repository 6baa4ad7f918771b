"""A unit file and the drop-ins over it. Imported only for a unit that has some."""
from __future__ import annotations

import os
from typing import Any

from supervisor.config.build import BadText, build, document
from supervisor.config.files import Folder, Unreadable, open_inner, read_file, reason
from supervisor.config.problem import Broken, Problem
from supervisor.config.report import Layer, problems
from supervisor.model.unit import Unit

_MAX_DROP_INS = 256  # of one unit


def load_layered(name: str, source: str, data: bytes, folders: list[Folder]) -> Unit | Broken:
    """The unit of `data` with the drop-ins in `folders`, which are in order of rank."""
    layers: list[Layer] = []
    faults: list[Problem] = []
    files, unreadable = _files(f"{name}.toml.d", folders)
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
    return Broken(name, problems(wrong, layers)) if wrong else unit


def merge(under: dict[str, Any], over: dict[str, Any], *, clears: bool = True) -> None:
    """Merge `over` into `under`; `over` and what it holds stay as they are."""
    for key, value in over.items():
        below = under.get(key)
        if type(value) is dict:
            copy: dict[str, Any] = dict(below) if type(below) is dict else {}
            merge(copy, value, clears=clears)
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
        place = f"{folder.path}/{drop_in}"
        try:
            home = open_inner(folder, drop_in)
            try:
                for name in _names(home):
                    place = f"{home.path}/{name}"
                    if name not in found:
                        found[name] = place, read_file(home.fd, name)
            finally:
                os.close(home.fd)
        except Unreadable as why:
            faults.append(Problem(place, 0, "", str(why)))
    return [found[name] for name in sorted(found)], faults


def _names(home: Folder) -> list[str]:
    """The drop-ins in an open directory. Raises Unreadable."""
    try:
        names = [name for name in os.listdir(home.fd) if name.endswith(".toml") and name[0] != "."]
    except OSError as error:
        raise Unreadable(f"cannot read this drop-in directory: {reason(error)}") from None
    if len(names) > _MAX_DROP_INS:
        raise Unreadable(f"cannot read them: there are more than {_MAX_DROP_INS} drop-ins")
    return sorted(names)
