"""Completion: the right words for each place, silently none without a supervisor."""
from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.cli.completion import SCRIPTS
from tests.terminal import ROOT
from tests.unit.cli.fake import Cli, FakeSupervisor, instance


def words(cli: Cli, *typed: str) -> list[str]:
    outcome = cli("completion", "words", "--", *typed)
    assert (outcome.code, outcome.err) == (0, "")
    return outcome.out.split()


def test_verbs_options_and_values_are_completed_where_they_belong(cli: Cli) -> None:
    assert words(cli, "sta") == ["status", "start"]
    assert words(cli, "--run") == ["--runtime-dir"]
    assert words(cli, "logs", "--si") == ["--since"]
    assert words(cli, "logs", "--stream", "e") == ["error"]
    assert words(cli, "logs", "--boot", "-p", "e") == ["emerg", "err"]
    assert words(cli, "kill", "--signal", "us") == ["USR1", "USR2"]
    assert words(cli, "completion", "") == ["bash", "zsh", "fish"]
    assert words(cli, "run", "--units", "") == ["@directory"]
    assert words(cli, "check", "un") == ["@file"]
    assert words(cli, "try", "--", "sl") == ["@command"]
    assert words(cli, "set", "web", "limits.memory_m") == ["limits.memory_min="]
    assert words(cli, "set", "web", "limits.cpu=1", "limits.n") == ["limits.nice="]
    assert words(cli, "schema", "x") == []
    assert words(cli, "frob", "x") == []


def test_unit_names_come_from_the_supervisor(fake: FakeSupervisor, cli: Cli) -> None:
    fake.instances = [instance("web/0"), instance("web/1"), instance("db")]
    assert words(cli, "restart", "") == ["db", "web", "web/0", "web/1"]
    assert words(cli, "restart", "db", "web/") == ["web/0", "web/1"]
    assert words(cli, "why", "db", "") == []


def test_without_a_supervisor_there_are_no_names_and_no_noise(cli: Cli) -> None:
    assert words(cli, "restart", "") == []


def test_another_runtime_directory_on_the_line_is_the_one_asked(
    fake: FakeSupervisor, cli: Cli, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.instances = [instance("web")]
    monkeypatch.setenv("UNBOXED_RUNTIME_DIR", "/nonexistent")
    assert words(cli, "--runtime-dir", str(runtime), "stop", "") == ["web"]
    assert words(cli, f"--runtime-dir={runtime}", "stop", "") == ["web"]
    assert words(cli, "stop", "") == []


@pytest.mark.parametrize("shell", sorted(SCRIPTS))
def test_each_script_is_accepted_by_its_shell(cli: Cli, shell: str) -> None:
    script = cli("completion", shell).out
    assert "unboxed completion words" in script
    if not shutil.which(shell):
        pytest.skip(f"no {shell} on this host")
    done = subprocess.run([shell, "-n"], input=script, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_bash_really_completes(fake: FakeSupervisor, cli: Cli, tmp_path: Path) -> None:
    fake.instances = [instance("web/0"), instance("web/1"), instance("db")]
    (tmp_path / "completion").write_text(cli("completion", "bash").out)
    script = f"""
        unboxed() {{ {sys.executable} -m supervisor.cli "$@"; }}
        source {tmp_path / "completion"}
        complete_line() {{
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _unboxed; echo "${{COMPREPLY[@]}}"
        }}
        complete_line unboxed sta
        complete_line unboxed restart web/
        complete_line unboxed run --units {ROOT}/superv
        complete_line unboxed frob ''
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=ROOT,
                          check=False)
    assert done.stdout.splitlines() == ["status start", "web/0 web/1", f"{ROOT}/supervisor", ""]


def test_an_unknown_shell_is_bad_usage(cli: Cli) -> None:
    assert cli("completion", "tcsh") == (
        2, "", "cannot complete for tcsh: unknown shell; there is bash, zsh and fish\n")
