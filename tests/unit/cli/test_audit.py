"""`unboxed audit`: what the supervisor answers, and unit files without one."""
from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.fake import Cli, FakeSupervisor

WEB = {
    "unit": "web", "exposure": 7.0, "word": "MEDIUM",
    "cheapest": {"key": "sandbox.level", "value": '"app"', "exposure": 1.4}, "checks": [],
}  # fmt: skip
DB = {"unit": "db", "exposure": 9.8, "word": "UNSAFE", "cheapest": None, "checks": []}


def test_the_most_exposed_unit_comes_first(fake: FakeSupervisor, cli: Cli) -> None:
    fake.answers["Audit"] = lambda _: {"audits": [WEB, DB]}
    code, out, err = cli("audit")
    assert (code, err) == (0, "")
    head, db, web = out.splitlines()
    assert head.split() == ["UNIT", "EXPOSURE", "CHEAPEST", "NEXT", "KEY"]
    assert db.split() == ["db", "9.8", "UNSAFE", "-"]
    assert web.split() == ["web", "7.0", "MEDIUM", "sandbox.level", "=", '"app":', "1.4"]


def test_on_a_terminal_it_says_for_whom_a_level_is_nothing(
    fake: FakeSupervisor, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.isatty", lambda _fd: True)
    fake.answers["Audit"] = lambda _: {"audits": [WEB, DB]}
    assert "(cron, ssh) stays off" in cli("audit").out.splitlines()[-1]
    fake.answers["Audit"] = lambda _: {"audits": [DB]}
    assert "stays off" not in cli("audit").out


def test_of_one_unit_the_checks_that_add_to_it_come_by_weight(
    fake: FakeSupervisor, cli: Cli
) -> None:
    checks = [
        {"name": "UMask=", "badness": 0, "range": 10, "exposure": 0.0},
        {"name": "PrivateTmp=", "badness": 1, "range": 1, "exposure": 0.17},
        {"name": "PrivateNetwork=", "badness": 1, "range": 1, "exposure": 0.43},
        {"name": "RemoveIPC=", "badness": None, "range": 1, "exposure": 0.0},
    ]
    fake.answers["Audit"] = lambda _: {"audits": [{**WEB, "checks": checks}]}
    lines = cli("audit", "web").out.splitlines()
    assert [line.split() for line in lines[-2:]] == [
        ["0.43", "PrivateNetwork=", "network.mode"], ["0.17", "PrivateTmp=", "sandbox.tmp"]]
    assert json.loads(cli("audit", "--json", "web").out)["audits"][0]["checks"] == checks


def test_a_file_is_audited_without_a_supervisor(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "web.toml"
    path.write_text('command = ["/bin/sleep", "1"]\n')
    code, out, _ = cli("audit", "--json", str(path))
    (found,) = json.loads(out)["audits"]
    assert code == 0
    assert (found["unit"], found["word"]) == ("web", "MEDIUM")
    assert found["cheapest"]["key"] == "sandbox.level"
    assert len(found["checks"]) > 70


def test_a_directory_needs_no_slash(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / "web.toml").write_text('command = ["/bin/sleep", "1"]\n')
    monkeypatch.chdir(tmp_path)
    code, out, _ = cli("audit", "--json", "units")
    assert (code, [one["unit"] for one in json.loads(out)["audits"]]) == (0, ["web"])
    code, _, err = cli("audit", "web")
    assert code != 0
    assert err.startswith("cannot ")


def test_a_file_with_errors_is_not_audited(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "web.toml"
    path.write_text('comand = ["/bin/sleep"]\n')
    code, out, err = cli("audit", str(path))
    assert (code, out) == (1, "")
    assert err.startswith(f"cannot audit {path}: it has errors\n{path}:1: comand: ")


def test_units_and_files_do_not_mix(cli: Cli, tmp_path: Path) -> None:
    assert cli("audit", "web", f"{tmp_path}/db.toml").code == 2
