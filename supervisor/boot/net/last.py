"""The last network.toml that was applied as a whole: what a machine with a broken one boots with.

Law: kept are the very bytes that were applied, and only after nothing was missing or refused. The
copy is the whole file or none of it, root's alone, and lasts over boots.
"""
from __future__ import annotations

import os

from msgspec import Struct

from supervisor.boot.net.made import replace_file
from supervisor.config.machine_file import Wrong, load, parse
from supervisor.config.machine_network import MachineNetwork
from supervisor.config.problem import Problem


class Force(Struct, frozen=True):
    """What holds. `network` None: there is no file. `problems`: of the file, in whose place the
    copy holds; `data`: what of it to keep."""

    network: MachineNetwork | None = None
    data: bytes | None = None
    problems: tuple[Problem, ...] = ()


def in_force(file: str, last: str) -> Force:
    """The file, or where that is broken the copy `last` ("": none is to be used). Raises Wrong, if
    neither can be used, with what is wrong with both."""
    try:
        data = load(file)
        return Force() if data is None else Force(parse(file, data), data)
    except Wrong as wrong:
        return Force(_instead(wrong, last), None, wrong.problems)


def _instead(wrong: Wrong, last: str) -> MachineNetwork:
    try:
        data = load(last) if last else None
        if data is not None:
            return parse(last, data)
    except Wrong as worse:
        raise Wrong((*wrong.problems, *worse.problems)) from None
    raise wrong


def keep(data: bytes, last: str) -> None:
    """Raises OSError. What is kept already is not written again."""
    try:
        with open(last, "rb") as file:
            if file.read() == data:
                return
    except FileNotFoundError:
        os.makedirs(os.path.dirname(last), mode=0o755, exist_ok=True)
    replace_file(last, data, 0o600)
