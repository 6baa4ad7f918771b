"""`unboxed boot args`: what the keeper of a machine is told, from a file of one argument a line."""
from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.cli.call import BAD_USAGE
from supervisor.cli.main import main
from supervisor.manager.main import Arguments


def split(text: str) -> tuple[list[str], list[str]]:
    first, *words = text.splitlines()
    assert first == "--"
    at = words.index("--")
    return words[:at], words[at + 1:]


def test_is_what_manager_and_logger_of_a_machine_understand(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNBOXED_INIT", "/nothing/there")
    for name in ("RUNTIME", "STATE", "LOG"):  # of whoever makes the image, not of the machine
        monkeypatch.setenv(f"UNBOXED_{name}_DIR", "/elsewhere")
    assert not main(["boot", "args", "--units", "/a", "--units=/b", "--log-dir", "/logs"])
    manager, logger = split(capsys.readouterr().out)

    here = manager.index("--site")
    arguments = Arguments(manager[here:])
    where = arguments.paths()
    assert manager[1:3] == ["-I", "-S"]
    assert manager[3].endswith("/supervisor/manager/__main__.py")
    assert arguments.machine
    assert not arguments.quiet
    assert where.runtime == "/run/unboxed"
    assert where.state == "/var/lib/unboxed"
    assert where.log == "/logs"
    assert where.units == ("/a", "/b", "/run/unboxed/units")
    assert logger[3].endswith("/supervisor/logger/__main__.py")
    assert logger[4:8] == ["--log-dir", "/logs", "--runtime-dir", "/run/unboxed"]


def test_manager_is_started_by_what_sends_the_boot_plan_where_that_is_installed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    early = tmp_path / "unboxed-early"
    monkeypatch.setenv("UNBOXED_INIT", str(tmp_path / "unboxed-init"))
    assert not main(["boot", "args", "--state-dir", "/state"])
    plain, _logger = split(capsys.readouterr().out)
    early.write_text("")
    early.chmod(0o755)
    assert not main(["boot", "args", "--state-dir", "/state"])
    manager, _logger = split(capsys.readouterr().out)
    assert manager == [str(early), "/state/boot-plan", *plain]


def test_runtime_directory_of_the_command_itself_counts_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNBOXED_INIT", "/nothing/there")
    assert not main(["--runtime-dir", "/run/second", "boot", "args"])
    manager, _logger = split(capsys.readouterr().out)
    assert Arguments(manager[4:]).paths().runtime == "/run/second"


@pytest.mark.parametrize("words", [["web"], ["--plain"], ["--what"], ["--units"]])
def test_refuses_what_it_does_not_take(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(["boot", "args", *words]) == BAD_USAGE
    assert "usage: unboxed boot args" in capsys.readouterr().err


def test_refuses_a_newline_which_would_be_two_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["boot", "args", "--units", "/a\nb"]) == BAD_USAGE
    assert "one argument a line" in capsys.readouterr().err


def test_its_usage_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert not main(["boot", "args", "--help"])
    assert capsys.readouterr().out.startswith("unboxed boot args")
