"""What was learned as a drop-in of its unit."""
from __future__ import annotations

import os
from collections.abc import Sequence

from supervisor.cli.call import FAILED, Failure

_FILE_MODE, _FOLDER_MODE = 0o644, 0o755
_LEARNED = ("sandbox", "network")  # tables of a unit file


def over(path: str) -> list[str]:
    """The drop-ins beside this one that lie over it and say something of what it is about."""
    from supervisor.config.build import BadText, document

    folder, mine = os.path.split(path)
    found = []
    for name in sorted(os.listdir(folder)):
        if name <= mine or not name.endswith(".toml"):
            continue
        try:
            with open(f"{folder}/{name}", "rb") as file:
                keys = document(file.read())
        except (OSError, BadText):
            continue  # whoever reads all of them says what is wrong with it
        if any(table in keys for table in _LEARNED):
            found.append(f"{folder}/{name}")
    return found


def faults(folders: Sequence[str], unit: str, path: str, text: str) -> list[str]:
    """What would be wrong with the unit if that file had that text: one unit that is not right
    keeps all others from being read anew."""
    from supervisor.config.load import read_unit
    from supervisor.config.problem import Broken

    found = read_unit(folders, unit, {path: text})
    return [str(one) for one in found.problems] if isinstance(found, Broken) else []


def write(path: str, text: str, *, force: bool) -> None:
    """In one step, or not at all: then it is printed. Raises Failure."""
    folder = os.path.dirname(path)
    partial = f"{path}.new"
    try:
        os.makedirs(folder, _FOLDER_MODE, exist_ok=True)
        if os.path.lexists(path) and not force:
            print(text, end="")
            raise Failure(
                f"cannot write {path}: it is there already; --force overwrites it, and what was"
                " learned is printed above", FAILED)
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, _FILE_MODE)
        with open(fd, "w", encoding="utf-8") as file:
            os.fchmod(fd, _FILE_MODE)
            file.write(text)
        os.rename(partial, path)
    except OSError as error:
        print(text, end="")
        raise Failure(
            f"cannot write {path}: {(error.strerror or str(error)).lower()}; what was learned is"
            " printed above", FAILED) from None
