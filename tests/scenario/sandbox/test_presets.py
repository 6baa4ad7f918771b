"""The drop-ins for common runtimes that are shipped: right, explained, installed."""
from __future__ import annotations

import os
import shutil
import sys
import tomllib
from pathlib import Path

import pytest

from supervisor.cli.main import main
from supervisor.config.load import read_units
from supervisor.model.policy import resolve
from tests.scenario.sandbox.real import PRESETS

NAMES = sorted(path.stem for path in PRESETS.glob("*.toml"))
RUNTIMES = {"python", "node", "go", "java", "nginx", "redis", "postgres", "gunicorn"}
INSTALLED = Path(sys.prefix, "share", "unboxed", "units", "presets")


def test_there_is_one_for_each_common_runtime() -> None:
    assert set(NAMES) >= RUNTIMES


@pytest.mark.parametrize("name", NAMES)
def test_it_is_right_over_the_smallest_unit(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "web.toml").write_text('command = "/bin/true"\n')
    (tmp_path / "web.toml.d").mkdir()
    copy = shutil.copy(PRESETS / f"{name}.toml", tmp_path / "web.toml.d" / f"00-{name}.toml")
    os.chmod(copy, 0o644)
    assert main(["check", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "1 unit is right\n"
    unit = read_units([str(tmp_path)]).units["web"]
    assert resolve(unit).level == "app"
    assert resolve(unit).require == "all"


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is_for_and_why_it_has_each_key(name: str) -> None:
    lines = (PRESETS / f"{name}.toml").read_text().splitlines()
    assert lines[0].startswith(f"# Preset {name}: ")
    assert f"cp {name}.toml web.toml.d/00-{name}.toml" in lines[3]
    above = ""
    for line in lines:
        is_key = "=" in line and not line.startswith("#")
        # A key alone, or the first of several that one reason is for.
        assert not is_key or "#" in line or above.startswith("#") or "=" in above, line
        above = line
    assert max(map(len, lines)) <= 100


@pytest.mark.skipif(not INSTALLED.parent.exists(), reason="unboxed is not installed here")
def test_it_is_installed() -> None:
    assert {path.stem for path in INSTALLED.glob("*.toml")} == set(NAMES)
    for name in NAMES:
        assert tomllib.loads((INSTALLED / f"{name}.toml").read_text())
