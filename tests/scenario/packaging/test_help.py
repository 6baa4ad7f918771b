"""What builds machines and packages says how it is used."""
from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.stack import ROOT


@pytest.mark.parametrize(
    "program", ["deb/build.py", "vm/run.py", "vm/build.py", "initramfs/build.py"])
def test_help_explains_each_option(program: str) -> None:
    source = ROOT / "packaging" / program
    done = subprocess.run(
        [sys.executable, source, "--help"], capture_output=True, check=True, text=True,
        env={**os.environ, "COLUMNS": "200"})  # fmt: skip
    said = done.stdout.partition("\noptions:\n")[2]
    options = re.findall(r'add_argument\(\s*"(--[a-z-]+)"', source.read_text())
    assert options
    for option in options:
        explained = rf"^  {option}\b(?: [A-Z{{][^ ]*)?(?:  +|\n {{8,}})\w"
        assert re.search(explained, said, re.MULTILINE), f"{option} in:\n{said}"
