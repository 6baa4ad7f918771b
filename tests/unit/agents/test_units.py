"""The unit files of agents that come with the package are right, each alone and all together."""
from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from supervisor.config.load import read_units
from tests.stack import ROOT

AGENTS = ROOT / "units" / "agents"
FILES = sorted(AGENTS.rglob("*.toml"))


def test_there_are_some() -> None:
    assert {"metrics.toml", "node-exporter.toml", "proxy.toml"} <= {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_agent_is_read_without_a_word_and_says_what_it_is(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path)
    (tmp_path / "web.toml").write_text('command = ["/bin/sleep", "9"]\n')
    loaded = read_units([str(tmp_path)])
    assert list(map(str, [*loaded.problems, *loaded.warnings])) == []
    unit = loaded.units[path.stem]
    assert unit.description
    assert unit.attach
    assert unit.sandbox is not None
    assert unit.sandbox.level == "app"


def test_they_do_not_claim_each_others_places(tmp_path: Path) -> None:
    for path in FILES:
        shutil.copy(path, tmp_path)
    loaded = read_units([str(tmp_path)])
    addresses = [(one.host, one.port) for unit in loaded.units.values() for one in unit.listen]
    assert len(set(addresses)) == len(addresses)
