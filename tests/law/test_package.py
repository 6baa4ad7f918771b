"""What the package needs beside its modules is installed with them."""
from __future__ import annotations

import subprocess
import sys

from tests.law.source import KEEPER, PACKAGE, ROOT


def test_every_file_beside_the_keepers_is_installed() -> None:
    listed = subprocess.run(
        [sys.executable, str(ROOT / "packaging" / "package_files.py")], capture_output=True,
        check=True, text=True).stdout.split()
    there = {
        str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*")
        if path.is_file() and KEEPER not in path.parents
        and not any(part.startswith((".", "__pycache__")) for part in path.parts)  # caches
    }
    assert set(listed) == there
