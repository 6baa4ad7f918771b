"""What was learned becomes a drop-in, and what lies over that is told."""
from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.cli.call import Failure
from supervisor.cli.learning import drop_in


def test_it_is_written_readable_by_all_and_never_over_another_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "web.toml.d" / "learned.toml"
    drop_in.write(str(path), "one = 1\n", force=False)
    assert path.stat().st_mode & 0o777 == 0o644
    with pytest.raises(Failure, match="--force"):
        drop_in.write(str(path), "two = 2\n", force=False)
    assert capsys.readouterr().out == "two = 2\n"  # nothing that was learned is lost
    assert path.read_text() == "one = 1\n"
    drop_in.write(str(path), "two = 2\n", force=True)
    assert path.read_text() == "two = 2\n"
    assert [one.name for one in path.parent.iterdir()] == ["learned.toml"]


def test_what_would_break_the_unit_is_told_before_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "web.toml").write_text('command = "/bin/web"\n')
    path = str(tmp_path / "web.toml.d" / "learned.toml")
    text = '[sandbox]\nlevel = "strict"\npromises = ["stdio"]\n[network]\nlisten = ["tcp:8080"]\n'
    (wrong,) = drop_in.faults([str(tmp_path)], "web", path, text)
    assert wrong.startswith(f"{path}:5: network.listen: cannot be used without the promise ")
    right = text.replace('"stdio"', '"stdio", "inet"')
    assert drop_in.faults([str(tmp_path)], "web", path, right) == []
    assert not (tmp_path / "web.toml.d").exists()


def test_drop_ins_that_sort_after_it_and_have_keys_of_a_sandbox_are_told(tmp_path: Path) -> None:
    texts = {
        "00-python.toml": '[sandbox]\nlevel = "app"\n', "learned.toml": "[sandbox]\n",
        "node.toml": '[sandbox]\nlevel = "app"\n', "own.toml": "[network]\nlisten = []\n",
        "stop.toml": "[stop]\ndrain = 1\n", "torn.toml": "[sandbox", "zz.txt": "[sandbox]\n",
    }  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    found = drop_in.over(str(tmp_path / "learned.toml"))
    assert found == [f"{tmp_path}/node.toml", f"{tmp_path}/own.toml"]
