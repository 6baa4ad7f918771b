"""check: every error of the files that were named, at once, and nothing else needed."""
from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.unit.cli.fake import Cli


def unit(directory: Path, name: str, text: str) -> str:
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text(text)
    return str(path)


def test_good_files_are_counted(tmp_path: Path, cli: Cli) -> None:
    one = unit(tmp_path, "web.toml", 'command = "/bin/web"')
    assert cli("check", one) == (0, "1 unit is right\n", "")
    unit(tmp_path, "db.toml", 'command = "/bin/db"')
    assert cli("check", str(tmp_path)) == (0, "2 units are right\n", "")


def test_all_errors_of_all_files_are_told_with_file_line_and_key(
    tmp_path: Path, cli: Cli
) -> None:
    web = unit(tmp_path, "web.toml", 'comand = "/bin/web"\numask = "999"\n')
    db = unit(tmp_path, "db.toml", "instances = -1\n")
    code, out, _ = cli("check", db, web)
    assert code == 1
    assert f"{web}:1: comand: cannot use" in out
    assert "did you mean command?" in out
    assert f"{web}:2: umask: cannot " in out
    assert f"{db}:1: instances: cannot " in out
    assert out.splitlines()[-1].endswith("errors; these units would not start")
    document = json.loads(cli("check", "--json", db, web).out)
    assert document["ok"] is False
    assert {"file": web, "line": 1, "key": "comand"}.items() <= next(
        one for one in document["problems"] if one["key"] == "comand").items()


def test_cycles_and_missing_units_of_a_directory_are_errors(tmp_path: Path, cli: Cli) -> None:
    unit(tmp_path, "a.toml", 'command = "/a"\nneeds.requires = ["b"]')
    unit(tmp_path, "b.toml", 'command = "/b"\nneeds.requires = ["a"]')
    unit(tmp_path, "c.toml", 'command = "/c"\nneeds.requires = ["gone"]')
    code, out, _ = cli("check", str(tmp_path))
    assert code == 1
    assert "a cycle: " in out
    assert "cannot start c: it requires gone, which has no unit file" in out
    alone = cli("check", str(tmp_path / "c.toml"))
    assert alone == (0, "1 unit is right\n", "")


def test_drop_ins_count_when_a_directory_is_checked(tmp_path: Path, cli: Cli) -> None:
    unit(tmp_path, "web.toml", 'command = "/bin/web"')
    unit(tmp_path / "web.toml.d", "10.toml", "umask = 7.5")
    code, out, _ = cli("check", str(tmp_path))
    assert code == 1
    assert "10.toml:1: umask: " in out


def test_what_is_no_unit_file_is_an_error_and_not_a_crash(tmp_path: Path, cli: Cli) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    bad = tmp_path / "bad.toml"
    bad.write_bytes(b"\0\xff" * 100)
    other = tmp_path / "x.conf"
    other.touch()
    for path, text in ((empty, "cannot check it: no unit file (*.toml) is in this directory; "),
                       (bad, "cannot read it"), (other, "a unit file is called NAME.toml; rename"),
                       (Path("/dev/null"), "a unit file is called NAME.toml; rename")):
        code, out, err = cli("check", str(path))
        assert (code, err) == (1, "")
        assert str(path) in out
        assert text in out


@pytest.mark.parametrize("name", ["nope", "gone.toml", "no/x.toml", "no/such/directory/"])
def test_a_path_where_nothing_is_is_told_as_just_that(
    tmp_path: Path, cli: Cli, name: str
) -> None:
    path = f"{tmp_path}/{name}"
    told = f"{path}: cannot check it: no such file or directory; name a unit file or a directory"
    assert cli("check", path) == (1, f"{told}\n1 error\n", "")
    assert json.loads(cli("check", "--json", path).out)["problems"][0]["file"] == path
    assert cli("check", "").out.startswith("'': cannot check it: ")


def test_a_file_that_may_not_be_read_is_told_as_just_that(runtime: Path, cli: Cli) -> None:
    user = os.geteuid() or 65534  # root may read everything
    path = unit(runtime, "web.toml", 'command = "/bin/web"')
    os.chmod(path, 0)
    os.chown(path, user, -1)
    os.chown(runtime, user, -1)
    before = os.geteuid()
    os.seteuid(user)
    try:
        done = cli("check", path)
    finally:
        os.seteuid(before)
    assert done == (1, f"{path}: cannot read it: permission denied\n1 error\n", "")


def test_a_need_whose_file_has_errors_is_not_called_missing(tmp_path: Path, cli: Cli) -> None:
    unit(tmp_path, "web.toml", 'command = "/bin/web"\nneeds.requires = ["db"]')
    unit(tmp_path, "db.toml", 'comand = "/bin/db"')
    out = cli("check", str(tmp_path)).out
    assert "cannot start web: it requires db, whose file has errors\n" in out
    assert "no unit file" not in out
