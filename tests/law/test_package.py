"""What the package needs beside its modules is installed with them."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.law.source import PACKAGE, ROOT

BUILT = ("keeper", "programs")  # in C


def is_cache(path: Path) -> bool:
    return any(part.startswith((".", "__pycache__")) for part in path.relative_to(ROOT).parts)


def test_every_file_that_is_not_built_is_installed() -> None:
    listed = subprocess.run(
        [sys.executable, str(ROOT / "packaging" / "package_files.py")], capture_output=True,
        check=True, text=True).stdout.split()
    there = {
        str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*")
        if path.is_file() and path.parent.name not in BUILT and not is_cache(path)
    }
    assert set(listed) == there
