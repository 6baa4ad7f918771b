"""The command line against a supervisor that says what a test wants it to say."""
from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.cli.main import main
from tests.unit.cli.fake import NOW_NS, Cli, FakeSupervisor, Outcome


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory, chosen by the environment; its path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="ub-") as directory:
        for name in ("RUNTIME", "STATE", "LOG"):
            monkeypatch.delenv(f"UNBOXED_{name}_DIR", raising=False)
        monkeypatch.setenv("UNBOXED_RUNTIME_DIR", directory)
        monkeypatch.setenv("UNBOXED_LOG_DIR", f"{directory}/logs")
        monkeypatch.setenv("TZ", "UTC")
        yield Path(directory)


@pytest.fixture
def fake(runtime: Path) -> Iterator[FakeSupervisor]:
    supervisor = FakeSupervisor(runtime)
    supervisor.listen()
    yield supervisor
    supervisor.close()


@pytest.fixture
def cli(
    runtime: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Cli:
    """Run one command line in this process. It is NOW_NS, whenever the test has its turn."""

    def run(*words: str) -> Outcome:
        capfd.readouterr()
        with monkeypatch.context() as clock:
            clock.setattr(time, "time_ns", lambda: NOW_NS)
            code = main(words)
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return run
