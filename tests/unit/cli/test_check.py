"""check: every error of the files that were named, at once, and nothing else needed."""
from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

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


def test_agents_of_each_other_are_errors(tmp_path: Path, cli: Cli) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.toml").write_text(f'command = "/bin/true"\nattach = "{other}"\n')
    code, out, _ = cli("check", str(tmp_path))
    assert code == 1
    for name in ("a", "b"):
        assert f"{name}.toml:2: attach: cannot start {name}: its attachments are a cycle: " in out


def test_cycles_and_missing_units_of_a_directory_are_errors(tmp_path: Path, cli: Cli) -> None:
    unit(tmp_path, "a.toml", 'command = "/a"\nneeds.requires = ["b"]')
    unit(tmp_path, "b.toml", 'command = "/b"\nneeds.requires = ["a"]')
    unit(tmp_path, "c.toml", 'command = "/c"\nneeds.requires = ["gone"]')
    code, out, _ = cli("check", str(tmp_path))
    assert code == 1
    assert f"{tmp_path}/c.toml:2: needs.requires: cannot start c: it requires gone, which" in out
    assert out.count("a cycle: ") == 1
    assert (
        f"{tmp_path}/a.toml:2: needs.requires: cannot start a, b: their order is a cycle: a goes"
        f" after b ({tmp_path}/a.toml:2: needs.requires); b goes after a ({tmp_path}/b.toml:2:"
        " needs.requires); take one of these away") in out
    assert out.splitlines()[-1] == "2 errors; these units would not start"


def test_a_file_alone_is_checked_with_its_neighbours_and_drop_ins(tmp_path: Path, cli: Cli) -> None:
    unit(tmp_path, "a.toml", 'command = "/a"\n[needs]\nbefore = ["b"]')
    unit(tmp_path, "b.toml", 'command = "/b"')
    unit(tmp_path, "c.toml", 'command = "/c"\nneeds.requires = ["b", "gone"]')
    unit(tmp_path, "broken.toml", "x = 1")
    told = "needs.requires: it requires gone, whose file must be in another directory than this"
    assert cli("check", str(tmp_path / "c.toml")) == (
        0, f"warning: {tmp_path}/c.toml:2: {told}\n1 unit is right\n", "")
    other = tmp_path / "other"
    gone = unit(other, "gone.toml", 'command = "/gone"')
    assert cli("check", str(tmp_path / "c.toml"), gone) == (0, "2 units are right\n", "")
    assert cli("check", str(tmp_path / "b.toml")) == (0, "1 unit is right\n", "")

    late = unit(tmp_path / "a.toml.d", "1.toml", 'needs.after = ["b"]\n')
    told = f"{late}:1: needs.after: cannot start a, b: their order is a cycle: a goes after b"
    out = cli("check", str(tmp_path / "a.toml")).out
    assert told in out
    assert f"b goes after a ({tmp_path}/a.toml:3: needs.before)" in out
    assert cli("check", str(tmp_path / "a.toml"), str(tmp_path / "b.toml")).out.count("cycle") == 1


def test_a_drop_in_is_checked_with_its_unit(tmp_path: Path, cli: Cli) -> None:
    web = unit(tmp_path, "web.toml", 'command = "/bin/web"')
    good = unit(tmp_path / "web.toml.d", "1.toml", 'umask = "022"')
    told = f"it is a drop-in of web: {web} was checked with all of them"
    assert cli("check", good) == (0, f"warning: {good}: {told}\n1 unit is right\n", "")
    stray = unit(tmp_path / "web.toml.d", "2.conf", "umask = 9")
    ignored = f"warning: {stray}: cannot be used: a drop-in is *.toml; it is ignored\n"
    for path in (web, str(tmp_path), good, str(tmp_path / "web.toml.d")):
        code, out, _ = cli("check", path)
        assert code == 0
        assert ignored in out
    assert "a drop-in is called NAME.toml; rename it" in cli("check", stray).out
    bad = unit(tmp_path / "web.toml.d", "3.toml", "umask = 9")
    assert f"{bad}:1: umask: cannot use 9" in cli("check", web).out
    assert f"{bad}:1: umask: cannot use 9" in cli("check", good).out
    orphan = unit(tmp_path / "db.toml.d", "1.toml", 'umask = "022"')
    code, out, _ = cli("check", orphan)
    assert code == 1
    assert f"it is a drop-in of db, and there is no {tmp_path}/db.toml; nothing was checked" in out


def test_a_preset_that_lowers_the_level_is_a_warning(tmp_path: Path, cli: Cli) -> None:
    strict = 'command = "/bin/web"\n[sandbox]\nlevel = "strict"\npromises = "stdio"\n'
    web = unit(tmp_path, "web.toml", strict)
    preset = unit(tmp_path / "web.toml.d", "00-python.toml", 'sandbox.level = "app"\n')
    for path in (web, str(tmp_path), preset):
        code, out, _ = cli("check", path)
        assert code == 0
        assert f'warning: {preset}:1: sandbox.level: lowers the level, which is "strict"' in out


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


def test_two_units_that_claim_one_port_are_errors_at_their_lines(tmp_path: Path, cli: Cli) -> None:
    web = unit(tmp_path, "web.toml", 'command = "/web"\n[[listen]]\naddress = "tcp:80"\n')
    api = unit(tmp_path, "api.toml", 'command = "/api"\n[network]\nmode = "host"\n')
    unit(tmp_path / "api.toml.d", "1.toml", '[network]\nlisten = ["udp:1", "tcp:80"]\n')
    code, out, _ = cli("check", str(tmp_path))
    assert code == 1
    assert (
        f"{web}:3: listen.address: cannot start web: its port tcp:0.0.0.0:80 is claimed by api too"
        f" as tcp:80 ([network] listen), {api}.d/1.toml:2; give one of them another port, or let"
        " them conflict (needs.conflicts)\n") in out
    assert f"{api}.d/1.toml:2: network.listen: cannot start api: its port tcp:80 is claimed" in out
    assert f"by web too as tcp:0.0.0.0:80 ([[listen]]), {web}:3; " in out
    assert out.splitlines()[-1] == "2 errors; these units would not start"
    out = cli("check", web).out
    assert "cannot start web: " in out
    assert "cannot start api: " not in out
    unit(tmp_path / "api.toml.d", "2.toml", 'needs.conflicts = "web"\n')
    assert cli("check", str(tmp_path)).code == 0


def test_a_slice_that_cannot_be_is_an_error_at_its_line(tmp_path: Path, cli: Cli) -> None:
    web = unit(tmp_path, "web.toml", 'command = "/web"\n[limits]\ntasks = 5\nslice = "team"\n')
    code, out, _ = cli("check", str(tmp_path))
    assert code == 1
    assert f"{web}:4: limits.slice: cannot start web: its slice team has no unit file" in out
    code, out, _ = cli("check", web)
    assert code == 0, out
    assert "its slice team must be a unit in another directory" in out
    unit(tmp_path, "team.toml", 'kind = "group"\n')
    code, out, _ = cli("check", web)
    assert code == 1
    assert f"{web}:4: limits.slice: cannot start web: its slice team has no [limits]" in out
    unit(tmp_path, "team.toml", 'kind = "group"\n[limits]\ntasks = 9\n')
    assert cli("check", web).code == 0


def test_an_argument_that_the_sandbox_hides_is_a_warning(tmp_path: Path, cli: Cli) -> None:
    with TemporaryDirectory(dir="/var/tmp") as home:  # which is a private one for the unit
        script = Path(home, "app.py")
        script.write_text("")
        _check_with_argument(script, tmp_path, cli)


def _check_with_argument(script: Path, tmp_path: Path, cli: Cli) -> None:
    command = f'command = ["/usr/bin/python3", "--run={script}"]\n'
    web = unit(tmp_path / "u", "web.toml", f'{command}[sandbox]\nlevel = "app"\n')
    code, out, _ = cli("check", web)
    assert code == 0
    assert f"{web}:1: command: its argument {script} would not be there for it" in out
    assert "its sandbox hides /var/tmp; " in out
    for text in (
        command,  # level base hides nothing
        f'{command}directory = "{script.parent}"\n[sandbox]\nlevel = "app"\n',
        f'{command}[sandbox]\nlevel = "app"\ntmp = "shared"\n',
        f'{command}[sandbox]\nlevel = "app"\nwrite = ["{script.parent}"]\n',
        'command = "/usr/bin/python3 /tmp/none/at/all"\n[sandbox]\nlevel = "app"\n',
    ):
        assert cli("check", unit(tmp_path / "u", "web.toml", text)).out == "1 unit is right\n"
