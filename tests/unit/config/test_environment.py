"""What docs/units.md says of a program's environment is what the supervisor puts there."""
from __future__ import annotations

import ast
import re
from pathlib import Path

from supervisor.config.load import load_text
from supervisor.config.page import units_page
from supervisor.config.problem import Broken
from supervisor.kernel.sandbox import directories, vault
from supervisor.kernel.tracking import MARK
from supervisor.manager import given, launcher

_SOURCES = [module.__file__ or "" for module in (launcher, given)]
_HOME = {"PATH", "HOME", "USER", "LOGNAME", "SHELL"}
_DIRECTORIES = set(directories._VARIABLES.values())
_THEIRS = _HOME | _DIRECTORIES  # these may be set otherwise


def test_every_variable_is_listed_and_only_the_users_own_can_be_set() -> None:
    page = units_page()
    table = page[page.index("| variable | value |"):page.index("The first two rows")]
    listed = {name for row in table.strip().splitlines()[2:]
              for name in re.findall(r"`([A-Z_]+)`", row.split("|")[1])}
    assert listed == _set() | _DIRECTORIES | {vault.VARIABLE}
    for name in sorted(listed):
        found = load_text("web", f'command = "/x"\nenv.{name} = "x"', "f")
        assert isinstance(found, Broken) == (name not in _THEIRS), name


def _set() -> set[str]:
    """The names that the code of a launch gives to variables."""
    found: list[ast.expr] = []
    sources = [Path(file).read_text(encoding="utf-8") for file in _SOURCES]
    for node in (node for text in sources for node in ast.walk(ast.parse(text))):
        if isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "env":
            found.append(node.slice)
        if isinstance(node, ast.Dict) and "HOME" in ast.unparse(node):
            found += [key for key in node.keys if key is not None]
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pid_vars.append":
            found += node.args
    return {MARK, *(str(one.value) for one in found if isinstance(one, ast.Constant))}
