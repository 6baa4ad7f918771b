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
    name was ignored, or is perhaps not what was meant."""

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


def read_unit(
    dirs: Sequence[str], name: str, instead: dict[str, str]
) -> Unit | Broken | None:
    """One unit, as if the drop-ins that `instead` names had its text (none if that is ""). None: no
    file has that name."""
    from supervisor.config.drop_in import load_layered

    texts = Texts(dirs, [], only=name)
    found: Unit | Broken | None = None
    try:
        for text in texts.found():
            if isinstance(text, Broken):
                found = text
            else:
                homes = texts.drop_ins(name)
                found = load_layered(name, text.source, text.data, homes, instead)
    finally:
        texts.close()
    return found


def iter_units(
    dirs: Sequence[str], warnings: list[Problem] | None = None
) -> Iterator[Unit | Broken]:
    """The units of `dirs` one by one, in order of name. What was ignored or is doubtful
    is appended to `warnings`."""
    yield from Texts(dirs, [] if warnings is None else warnings).units()


class Texts:
    """All files of `dirs`, read but not understood yet, so that a caller can take a look at the
    whole (`may_order`) and then start the first units while the next are parsed (`units`, which
    must be run or closed: it owns the open directories)."""

    def __init__(self, dirs: Sequence[str], warnings: list[Problem], only: str = "") -> None:
        """`only`: read no file but that unit's."""
        self._warnings = warnings
        self._folders: list[Folder] = []
        self._broken: list[Broken] = []
        self._drop_ins: dict[str, list[Folder]] = {}
        files: dict[str, Folder] = {}
        for path in dirs:
            try:
                folder = open_folder(path)
                if folder is None:
                    continue
                self._folders.append(folder)
                _scan(folder, files, self._drop_ins, warnings)
            except Unreadable as why:
                self._broken.append(Broken("", (Problem(path, 0, "", str(why)),)))
        names = sorted(files) if not only else [f"{only}.toml"] if f"{only}.toml" in files else []
        self._texts = [_read(files[file], file) for file in names]

    def may_order(self) -> bool:
        """Whether a unit could have a say in when another starts: whether any text has the word
        `before`, `conflicts` or `attach`. A backslash counts, since keys can be written with
        escapes."""
        return bool(self._drop_ins) or any(
            b"before" in text.data or b"conflicts" in text.data or b"attach" in text.data
            or b"\\" in text.data
            for text in self._texts
            if isinstance(text, _Text)
        )

    def has(self, name: str) -> bool:
        """Whether there is a file of that unit, right or wrong."""
        return any(text.name == name for text in self._texts)

    def found(self) -> list[_Text | Broken]:
        return self._texts

    def drop_ins(self, name: str) -> list[Folder]:
        """The directories with drop-ins of a unit."""
        return self._drop_ins.get(f"{name}.toml", [])

    def close(self) -> None:
        for folder in self._folders:
            os.close(folder.fd)

    def units(self) -> Iterator[Unit | Broken]:
        """The units in order of name."""
        try:
            yield from self._broken
            for text in self._texts:
                if isinstance(text, Broken):
                    yield text
                    continue
                overlays = self._drop_ins.pop(text.name + ".toml", None)
                if overlays is None:
                    yield _of_bytes(text.name, text.data, text.source)
                else:
                    from supervisor.config.drop_in import load_layered

                    layers = (text.name, text.source, text.data, overlays)
                    yield load_layered(*layers, warnings=self._warnings)
            self._warnings += [
                Problem(f"{folder.path}/{file}.d", 0, "", "cannot be used: no unit has that name")
                for file, homes in self._drop_ins.items()
                for folder in homes
            ]
        finally:
            self.close()


class _Text(Struct, frozen=True, gc=False):
    name: str
    source: str
    data: bytes


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


def _read(folder: Folder, file: str) -> _Text | Broken:
    name = file[:-5]
    source = f"{folder.path}/{file}"
    if not is_unit_name(name) or name == RESERVED:
        source = f"{folder.path}/{_printable(file)}"
        return Broken(_printable(name), (Problem(source, 0, "", _bad_name(name)),))
    try:
        return _Text(name, source, read_file(folder.fd, file))
    except Unreadable as why:
        return Broken(name, (Problem(source, 0, "", str(why)),))


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
