"""Agents of the package are found by name, and what one of them lacks is told in a sentence."""
from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import supervisor.agents
from supervisor.cli import agent
from supervisor.cli.call import BAD_USAGE, FAILED, Failure
from supervisor.cli.main import main
from supervisor.cli.parse import parse

METRICS = """
import os, sys
def main(argv):
    print(os.environ.get("UNBOXED_RUNTIME_DIR"), *argv)
    return 7
"""


def call(*argv: str) -> int:
    parsed = parse(["agent", *argv])
    assert parsed is not None
    return agent.run(parsed)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of agents of our own: `metrics`, and nothing else."""
    monkeypatch.setattr(agent, "_FOLDER", str(tmp_path))
    monkeypatch.setattr(supervisor.agents, "__path__", [str(tmp_path)])
    monkeypatch.delenv("UNBOXED_RUNTIME_DIR", raising=False)
    before = set(sys.modules)
    real = {n: m for n, m in sys.modules.items() if n.startswith("supervisor.agents.")}
    for name in real:
        del sys.modules[name]
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/__init__.py").write_text(METRICS, encoding="utf-8")
    (tmp_path / "notes").mkdir()
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("supervisor.agents."):
            del sys.modules[name]
    sys.modules.update(real)
    os.environ.pop("UNBOXED_RUNTIME_DIR", None)


def test_what_follows_the_name_is_the_agents_own(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("metrics", "--listen", "x", "--", "--json", "--help") == 7
    assert capsys.readouterr().out == "None --listen x -- --json --help\n"


def test_the_supervisor_that_is_named_is_the_agents(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--runtime-dir", "/tmp/here", "agent", "metrics"]) == 7
    assert capsys.readouterr().out == "/tmp/here\n"


def test_an_unknown_agent_is_refused_with_those_that_there_are(folder: Path) -> None:
    for name in ("metric", "notes", "../cli", ".", ""):
        with pytest.raises(Failure) as raised:
            call(name)
        assert raised.value.text == (
            f"cannot run agent {name}: there is no such agent; there is metrics")
        assert raised.value.code == BAD_USAGE


def test_a_library_that_is_missing_is_named_with_how_to_get_it(folder: Path) -> None:
    (folder / "metrics/__init__.py").write_text(
        "def main(argv):\n    import no_such_library.part\n", encoding="utf-8")
    with pytest.raises(Failure) as raised:
        call("metrics")
    assert raised.value.text == (
        f"cannot run agent metrics: the library no_such_library is not installed for"
        f" {sys.executable}; `pip install no_such_library` does it, and the extra `metrics` of this"
        " package")
    assert raised.value.code == FAILED


def test_what_is_missing_of_our_own_is_no_missing_library(folder: Path) -> None:
    (folder / "metrics/__init__.py").write_text(
        "import supervisor.no_such_module\n", encoding="utf-8")
    with pytest.raises(ModuleNotFoundError):
        call("metrics")
