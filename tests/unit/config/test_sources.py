"""The files that a unit is made of are named in the order in which they count."""
from __future__ import annotations

from pathlib import Path

from supervisor.config.load import read_units
from supervisor.config.sources import sources
from supervisor.model.unit import Unit


def test_files_are_named_as_they_are_merged(tmp_path: Path) -> None:
    high, low = tmp_path / "high", tmp_path / "low"
    names_in = {high: ("2.toml", "1.toml", ".x.toml", "y.conf"), low: ("1.toml", "0.toml")}
    for home, names in names_in.items():
        drop_ins = home / "web.toml.d"
        drop_ins.mkdir(parents=True)
        for name in names:
            (drop_ins / name).write_text(f'description = "{home.name} {name}"')
    (low / "web.toml").write_text('command = "/x"')
    dirs = [str(high), str(low), str(tmp_path / "gone")]
    unit = read_units(dirs).units["web"]
    assert isinstance(unit, Unit)
    found = sources(unit.source, dirs)
    assert found == [
        f"{low}/web.toml", f"{low}/web.toml.d/0.toml", f"{high}/web.toml.d/1.toml",
        f"{high}/web.toml.d/2.toml",
    ]  # fmt: skip
    assert sources("", dirs) == []
    assert unit.description == "high 2.toml"
    assert Path(found[-1]).read_text().endswith('"high 2.toml"')
