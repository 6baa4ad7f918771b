"""All that the manager imports at its start, in one file: a read for each module, in place of a
dozen calls.

Law: never older than what it was made from. A bundle of another interpreter, one that is not whole,
or from before a file was put into, replaced in or taken from one of its directories, is not used;
nor is what it has of a file that was overwritten. Then, and where there is none, as in a checkout,
imports are what they always are. make_bundle.py makes it for a package.
"""
from __future__ import annotations

import marshal
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader

# `os` itself is one of the modules that it brings.
from posix import O_CLOEXEC, O_RDONLY, close, fstat, open, pread, stat  # noqa: A004 - see above

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

NAME = "__pycache__/manager.bundle"  # below the package's directory
HEAD = 16  # bytes before the table: its length, as text
Directory = tuple[str, int]  # path, modification time in s: an archive keeps no more
Version = tuple[int, int]  # of a file: modification time in s, size
# Offset, bytes (0: an extension), its file, is a package, of which version
Entry = tuple[int, int, str, bool, Version]


def directory(path: str) -> Directory:
    """What changes when a file in it is replaced. Raises OSError."""
    return path, int(stat(path).st_mtime)


def version(path: str) -> Version:
    """What changes when it is overwritten; of one that is gone what none has."""
    try:
        found = stat(path)
    except OSError:
        return -1, -1
    return int(found.st_mtime), found.st_size


class Bundle:
    """A finder for sys.meta_path, and the loader of what it finds."""

    def __init__(self, fd: int, first: int, table: dict[str, Entry]) -> None:
        self._fd = fd
        self._first = first
        self._table = table

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: object = None
    ) -> ModuleSpec | None:
        entry = self._table.get(name)
        if entry is None:
            return None
        _, size, file, package, made_from = entry
        if size and version(file) != made_from:
            return None
        loader = self if size else ExtensionFileLoader(name, file)
        spec = ModuleSpec(name, loader, origin=file)  # type: ignore[arg-type]
        spec.has_location = True
        if package:
            spec.submodule_search_locations = [file.rpartition("/")[0]]
        return spec

    def create_module(self, _spec: ModuleSpec) -> None:
        """As usual."""

    def exec_module(self, module: ModuleType) -> None:
        offset, size, *_ = self._table[module.__name__]
        text = pread(self._fd, size, self._first + offset)
        code = marshal.loads(text)  # noqa: S302 - trusted as the .pyc files beside it are
        exec(code, module.__dict__)  # noqa: S102 - that is what importing is


def use(package: str) -> None:
    """Import from the bundle of the package in that directory, if there is one that is good."""
    try:
        fd = open(f"{package}/{NAME}", O_RDONLY | O_CLOEXEC)
    except OSError:
        return
    try:
        size = int(pread(fd, HEAD, 0))
        head = marshal.loads(pread(fd, size, HEAD))  # noqa: S302 - as above
        interpreter, directories, table, code = head
        whole = fstat(fd).st_size == HEAD + size + code
        if whole and interpreter == sys.version and all(
            directory(one[0]) == one for one in directories
        ):
            sys.meta_path.insert(0, Bundle(fd, HEAD + size, table))
            return
    except (OSError, ValueError, EOFError, TypeError):
        pass  # damaged, or one of the directories is gone
    close(fd)
