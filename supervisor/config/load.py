"""Unit files of several directories to Units: their precedence and their drop-ins.

Law: one broken unit never stops another, and nothing outside the directories is ever opened (see
`files`).

A unit file in a directory of higher rank hides those of the same name below it. Drop-ins
(`NAME.toml.d/*.toml`, in any of the directories) are merged over it in order of their file names; a
drop-in hides one of the same file name in a directory of lower rank. In a merge, tables are merged,
everything else replaces, and an empty array takes the key away, so that its default holds again.
"""
from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from supervisor.config.build import BadText, build, document
from supervisor.config.files import Folder, Unreadable, open_folder, read_file, reason
from supervisor.config.problem import Broken, Problem
from supervisor.config.values import is_unit_name
from supervisor.model.unit import Unit

RESERVED = "unboxed"  # the name of the supervisor's own event log
_MAX_ENTRIES = 65536  # of one directory


class Loaded(Struct, frozen=True):
    """Everything that was found. `problems` belong to broken units or directories; what `warnings`
    name was ignored."""

    units: dict[str, Unit]
    problems: list[Problem]
    warnings: list[Problem]


def read_units(dirs: Sequence[str]) -> Loaded:
    """All units of `dirs`, highest rank first. Raises nothing but MemoryError."""
    warnings: list[Problem] = []
    units: dict[str, Unit] = {}
    problems: list[Problem] = []
    for found in iter_units(dirs, warnings):
        if isinstance(found, Unit):
            units[found.name] = found
        else:
            problems += found.problems
    return Loaded(units, problems, warnings)


def iter_units(
    dirs: Sequence[str], warnings: list[Problem] | None = None
) -> Iterator[Unit | Broken]:
    """The units of `dirs` one by one, in order of name, so that a caller can start the first while
    the next is read. What was ignored is appended to `warnings`."""
    ignored: list[Problem] = [] if warnings is None else warnings
    folders: list[Folder] = []
    files: dict[str, Folder] = {}
    drop_ins: dict[str, list[Folder]] = {}
    try:
        for path in dirs:
            try:
                folder = open_folder(path)
                if folder is None:
                    continue
                folders.append(folder)
                _scan(folder, files, drop_ins, ignored)
            except Unreadable as why:
                yield Broken("", (Problem(path, 0, "", str(why)),))
        for file in sorted(files):
            folder = files[file]
            overlays = drop_ins.pop(file, None)
            yield _load(folder, file, overlays)
        ignored += [
            Problem(f"{folder.path}/{file}.d", 0, "", "cannot be used: no unit has that name")
            for file, homes in drop_ins.items()
            for folder in homes
        ]
    finally:
        for folder in folders:
            os.close(folder.fd)


def load_text(name: str, text: str, source: str) -> Unit | Broken:
    """The unit that `text` describes. `source` is the file that problems name."""
    bad_name = _bad_name(name)
    if bad_name:
        return Broken(_printable(name), (Problem(source, 0, "", bad_name),))
    return _of_bytes(name, text.encode(errors="surrogatepass"), source)


def load_table(name: str, table: dict[str, Any], source: str) -> Unit | Broken:
    """The unit of keys that came as a table, from a client or a command line, not as text."""
    bad_name = _bad_name(name)
    unit, faults = build(name, source, table)
    if not faults and not bad_name:
        return unit
    from supervisor.config.report import dotted

    found = [Problem(source, 0, dotted(where), message) for where, message in faults]
    if bad_name:
        found.insert(0, Problem(source, 0, "", bad_name))
    return Broken(name, tuple(found))


def _bad_name(name: str) -> str:
    """Why no unit can have that name; "" if one can."""
    if name == RESERVED:
        return f"cannot be a unit: {RESERVED} is the supervisor's own name; rename it"
    if is_unit_name(name):
        return ""
    return (
        "cannot be a unit: a name has 1 to 63 of a-z, 0-9, '.', '_' and '-', and begins with a "
        "letter or digit; rename it"
    )


# --- directories ---


def _scan(
    folder: Folder,
    files: dict[str, Folder],
    drop_ins: dict[str, list[Folder]],
    ignored: list[Problem],
) -> None:
    """Sort the entries of one directory. Raises Unreadable."""
    try:
        names = os.listdir(folder.fd)
    except OSError as error:
        raise Unreadable(f"cannot read this unit directory: {reason(error)}") from None
    if len(names) > _MAX_ENTRIES:
        raise Unreadable(f"cannot read this unit directory: it has over {_MAX_ENTRIES} entries")
    for name in names:
        if name.endswith(".toml") and name[0] != ".":
            files.setdefault(name, folder)
        elif name.endswith(".toml.d") and name[0] != ".":
            drop_ins.setdefault(name[:-2], []).append(folder)
        elif name[0] != "." and name[-1] != "~":
            why = "cannot be used: a unit file is NAME.toml; it is ignored"
            ignored.append(Problem(f"{folder.path}/{_printable(name)}", 0, "", why))


def _printable(name: str) -> str:
    """A file name as a message shows it; one with control characters, quoted."""
    from supervisor.config.table import show

    return name if name.isprintable() else show(name)


# --- one unit ---


def _load(folder: Folder, file: str, overlays: list[Folder] | None) -> Unit | Broken:
    name = file[:-5]
    source = f"{folder.path}/{file}"
    if not is_unit_name(name) or name == RESERVED:
        source = f"{folder.path}/{_printable(file)}"
        return Broken(_printable(name), (Problem(source, 0, "", _bad_name(name)),))
    try:
        data = read_file(folder.fd, file)
    except Unreadable as why:
        return Broken(name, (Problem(source, 0, "", str(why)),))
    if overlays is None:
        return _of_bytes(name, data, source)
    from supervisor.config.drop_in import load_layered

    return load_layered(name, source, data, overlays)


def _of_bytes(name: str, data: bytes, source: str) -> Unit | Broken:
    try:
        doc = document(data)
    except BadText as bad:
        return Broken(name, (Problem(source, bad.line, "", str(bad)),))
    unit, faults = build(name, source, doc)
    if not faults:
        return unit
    from supervisor.config.report import Layer, problems

    return Broken(name, problems(faults, [Layer(source, data.decode(), doc)]))
