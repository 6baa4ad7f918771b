"""What the laws look at: every Python file of the package, and what each imports, as written."""
from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "supervisor"
KEEPER = PACKAGE / "keeper"


class Import(NamedTuple):
    """One import statement's target. `name` is a module: of `from a import b`, a.b if it is one.

    `late`: inside a function, or for type checkers only, so nothing is loaded at start.
    """

    name: str
    line: int
    late: bool

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name; the keeper's build scripts are none."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if KEEPER not in path.parents:
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(module: str) -> tuple[Import, ...]:
    """All of them, late ones and those for type checkers too: a coupling is a coupling."""
    path = modules()[module]
    found = []
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno, node.col_offset > 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            base = node.module or ""
            for alias in node.names:
                below = f"{base}.{alias.name}"
                name = below if below in modules() else base
                found.append(Import(name, node.lineno, node.col_offset > 0))
    return tuple(found)


def layer(module: str) -> str:
    """The folder directly under supervisor/, "" for the package itself."""
    return f"{module}.".split(".")[1]


def where(module: str, line: int) -> str:
    return f"{modules()[module].relative_to(ROOT)}:{line}"
