"""The keeper is PID 1: small enough to be read in one sitting, and nothing in it may fail late."""
from __future__ import annotations

import re
import shutil
import struct
import sysconfig
from pathlib import Path

import pytest

from tests.law.source import KEEPER

LIMIT_LINES = 1_500  # of code; docs/decisions/0013 says what counts
LIMIT_MINI = 150
LIMIT_MACHINE = 420  # before the keeper and after it: docs/decisions/0022
PT_INTERP = 3
ALLOCATES = re.compile(r"\b(malloc|calloc|realloc|free|strdup|asprintf|fopen|printf|puts)\s*\(")
COMMENTS = re.compile(r'"(?:\\.|[^"\\])*"|/\*.*?\*/|//[^\n]*', re.DOTALL)


def sources() -> list[Path]:
    found = sorted([*KEEPER.glob("*.c"), *KEEPER.glob("*.h")])
    assert found, f"no C sources in {KEEPER}"
    return found


def lines_of_code(path: Path) -> int:
    text = COMMENTS.sub(lambda found: found[0] if found[0][0] == '"' else "", path.read_text())
    return sum(bool(line.strip()) for line in text.splitlines())


def test_the_keeper_stays_below_its_line_limit() -> None:
    lines = {path.name: lines_of_code(path) for path in sources()}
    assert lines.pop("mini.c") <= LIMIT_MINI
    assert lines.pop("machine.c") + lines.pop("down.c") <= LIMIT_MACHINE
    assert sum(lines.values()) <= LIMIT_LINES, lines


def test_the_keeper_never_allocates() -> None:
    found = [
        f"{path.name}: {match.group(1)}"
        for path in sources()
        for match in ALLOCATES.finditer(COMMENTS.sub(" ", path.read_text()))
    ]
    assert not found


def test_the_installed_keeper_is_static() -> None:
    path = shutil.which("unboxed-init", path=sysconfig.get_path("scripts"))
    if path is None:
        pytest.skip("unboxed-init is not installed beside this Python; `make test` installs it")
    image = Path(path).read_bytes()
    assert image[:5] == b"\x7fELF\x02", "a 64-bit ELF file"
    (table,) = struct.unpack_from("<Q", image, 32)
    size, count = struct.unpack_from("<HH", image, 54)
    kinds = [struct.unpack_from("<I", image, table + size * i)[0] for i in range(count)]
    assert PT_INTERP not in kinds, "it needs a dynamic loader"
