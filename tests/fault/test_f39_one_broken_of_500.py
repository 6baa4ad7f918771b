"""Fault 39, the loader's part: one broken unit among 500 is named with file and line, alone.

That a reload then changes nothing is the manager's part, and tested with it.
"""
from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.config.load import read_units

BROKEN = {
    "syntax": ('command = "/bin/x"\nuser = www\n', 2, "cannot read it"),
    "open text": ('command = "/bin/x"\n\nuser = "www\n', 3, "no closing quote"),
    "key": ('command = "/bin/x"\n[restart]\ndelya = 5\n', 3, "did you mean delay?"),
    "value": ('command = "/bin/x"\n[restart]\n\ndelay = "soon"\n', 4, "no duration"),
    "missing": ("autostart = true\n", 1, "cannot start without a command"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_one_broken_unit_of_500_is_named_with_its_line(tmp_path: Path, kind: str) -> None:
    text, line, reason = BROKEN[kind]
    for number in range(500):
        (tmp_path / f"unit-{number:03}.toml").write_text('command = "/bin/sleep 1000"\n')
    (tmp_path / "unit-250.toml").write_text(text)

    loaded = read_units([str(tmp_path)])

    assert len(loaded.units) == 499
    assert "unit-250" not in loaded.units
    assert len(loaded.problems) == 1
    shown = str(loaded.problems[0])
    assert shown.startswith(f"{tmp_path}/unit-250.toml:{line}: ")
    assert reason in shown
