"""Writes the boot plan: loaded when a machine is up and started something that none has yet.

In a plan are launches that followed from unit files before anything had happened, and that need
nothing opened or made for them: as root, without a sandbox or limits, of units that are not asked
to report. It has the content of all that they were made from, so that unboxed-early can see whether
that is still the same. Its records, in this order (programs/early.c reads them):

    G  the directory of the units' control groups, and the frame that stores it
    H  the frame that stores the plan itself
    A  the manager's command line     O  1 on a machine of our own, 0 in a container
    W  the kernel's words for us      D  a directory, and how many entries it has (-1: none)
    F  a file, and its bytes          P  a path, and whether it is there
    L  a file, and one of its lines
    S  a frame with a launch          E  the end, and the CRC-32 of all between the magic and it

It is not synced: what a power failure leaves of it is no plan, or the whole.
"""
from __future__ import annotations

import os
import sys
from binascii import crc32
from collections.abc import Iterator
from errno import EFBIG, EROFS
from typing import TYPE_CHECKING

import supervisor
from supervisor.config.load import read_units
from supervisor.core.graph import Graph
from supervisor.kernel.host import read
from supervisor.kernel.keeper import LAUNCHES, encoded
from supervisor.kernel.users import find_program
from supervisor.manager.boot_plan import MAGIC, MOST, RECORD, BootPlan, launches
from supervisor.manager.facts import BOOT_PLAN
from supervisor.manager.kernel_line import is_ours
from supervisor.manager.launcher import PATH
from supervisor.model.unit import Unit

if TYPE_CHECKING:
    from supervisor.manager.supervisor import Supervisor

_NOT_THERE = -1
_DROP_INS = ".toml.d"
_USERS = "/etc/passwd"  # what root's home and shell are
Record = tuple[str, str, bytes]  # kind, text, data


def keep(sup: Supervisor, plan: BootPlan) -> None:
    """Make it the next boot's, unless that is what it is."""
    graph = sup.world.graph
    launched = [
        (unit, payload) for unit, payload in plan.first
        if graph.units.get(unit.name) == unit and _waits_for_nobody(graph, unit.name)
    ]  # fmt: skip
    first = [payload for _, payload in launched]
    known = launches(plan.path)
    if plan.sent_ns and list(known.values()) == first:
        return  # it has just been seen to be true
    try:
        if first and sup.tracker.name == "cgroup":
            text = _plan(sup, [unit for unit, _ in launched], first)
            if text is None:
                return  # units were changed meanwhile: at the next boot
            _write(plan.path, text)
        elif known:
            os.unlink(plan.path)
    except OSError as exc:
        if exc.errno == EROFS:
            return  # and so it will be at the next boot
        sup.report(f"cannot make the boot plan: {exc.filename or plan.path}: {exc.strerror}; the"
                   " next boot waits for the manager")


def _waits_for_nobody(graph: Graph, name: str) -> bool:
    """Who waits was launched at once only because all others were skipped or had failed, and
    nobody looks whether they will be."""
    return not graph.deps.get(name) and not graph.conflicts.get(name)


def _plan(sup: Supervisor, units: list[Unit], first: list[bytes]) -> bytes | None:
    """None: the unit files are not what the manager knows."""
    folders = [path for path in sup.paths.units if path != sup.paths.transient_units]
    files = [*_files(folders)]
    today = read_units(sup.paths.units).units
    if today != sup.world.graph.units or files != [*_files(folders)]:
        return None
    code = os.path.realpath(supervisor.__file__)
    files += [("F", code, _content(code)), _root(os.path.realpath(_USERS))]
    base: str = sup.tracker.base  # type: ignore[attr-defined]
    ours = is_ours()
    records: list[Record] = [
        ("G", base, encoded("PUT", LAUNCHES, b"cgroup\0", 1)),
        ("H", "", encoded("PUT", LAUNCHES, BOOT_PLAN.encode() + b"\0", 1)),
        ("A", "", b"".join(os.fsencode(word) + b"\0" for word in sys.orig_argv)),
        ("O", "", bytes((ours,))),
        ("W", "", words_for_us(read("/proc/cmdline") if ours else "")),
        *files,
        *(("P", path, bytes((there,))) for unit in units for path, there in _paths(unit)),
        *(("S", "", encoded("SPAWN", number, payload)) for number, payload in enumerate(first, 1)),
    ]
    text = b"".join(_packed(*record) for record in records)
    return MAGIC + text + _packed("E", "", crc32(text).to_bytes(4, "little"))


def words_for_us(line: str) -> bytes:
    """Of the kernel's command line, as early.c knows them. Behind "--" none is for us; where there
    are quotes any may be a part of one that is."""
    return b"".join(
        f"{word}\n".encode() for word in line.split()
        if '"' in line or "unboxed." in word or word == "--"
    )  # fmt: skip


def _paths(unit: Unit) -> Iterator[tuple[str, bool]]:
    """What must be there, and what not: for its conditions, and for its program to be that one."""
    for path in unit.conditions.path_exists:
        yield path.lstrip("!"), path[0] != "!"
    word = unit.command[0]
    for folder in dict(unit.env).get("PATH", PATH).split(":") if "/" not in word else ():
        found = find_program(word, folder) is not None
        yield f"{folder}/{word}", found
        if found:
            return


def _packed(kind: str, text: str, data: bytes) -> bytes:
    name = os.fsencode(text) + b"\0"
    return RECORD.pack(ord(kind), len(name), len(data)) + name + data


def _files(folders: list[str]) -> Iterator[Record]:
    """Unit directories, unit files and drop-ins. Raises OSError."""
    for folder in folders:
        try:
            names = sorted(os.listdir(folder))
        except FileNotFoundError:
            names = None
        yield "D", folder, _count(names)
        for name in names or ():
            path = f"{folder}/{name}"
            if os.path.islink(path) or not (os.path.isfile(path) or os.path.isdir(path)):
                yield "F", path, b"\0"  # what nobody reads is no such file: no plan with it holds
            elif os.path.isfile(path):
                yield "F", path, _content(path)
            elif name.endswith(_DROP_INS):
                yield from _files([path])
            else:  # not to be given such a name unseen
                yield "D", path, _count(os.listdir(path))


def _root(path: str) -> Record:
    """What that file says of root. A small system has none."""
    try:
        text = _content(path)
    except FileNotFoundError:
        return "P", path, b"\0"
    lines = (line for line in text.split(b"\n") if line.split(b":")[2:3] == [b"0"])
    line = next(lines, None)
    return ("F", path, text) if line is None else ("L", path, line)


def _count(names: list[str] | None) -> bytes:
    count = _NOT_THERE if names is None else len(names)
    return count.to_bytes(4, "little", signed=True)


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        text = file.read(MOST)
    if len(text) == MOST:
        raise OSError(EFBIG, os.strerror(EFBIG), path)
    return text


def _write(path: str, text: bytes) -> None:
    """In place of the one that is there. What services are told (env) is not for everybody."""
    try:
        if _content(path) == text:
            return
    except OSError:
        pass  # there is none
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(fd, "wb") as file:
        file.write(text)
    os.replace(f"{path}.new", path)
