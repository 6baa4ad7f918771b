"""What the rescue shell has above it."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from supervisor.boot import rescue
from supervisor.boot._machine import Machine
from tests.unit.cli.fake import FakeSupervisor, transition

CHAIN = [
    transition(9, "boot", "waiting", "failed", "it needs fs, which failed"),
    transition(8, "fs", "waiting", "failed", "it needs disk, which failed"),
    transition(7, "disk", "finishing", "failed", "exit 1"),
    transition(6, "disk", "up", "finishing", "main process: exit 1"),
    transition(2, "disk", "waiting", "launching", "its needs are met"),
]


def test_the_first_that_failed_is_named_first() -> None:
    reason, guilty = rescue.blamed(CHAIN)
    assert guilty == ["disk", "fs"]
    assert reason == "the boot failed: disk: exit 1; fs: it needs disk, which failed"


def test_a_boot_that_could_not_begin_is_its_own_reason() -> None:
    reason, guilty = rescue.blamed([transition(2, "boot", "waiting", "failed", "it needs x")])
    assert (reason, guilty) == ("the boot failed: it needs x", [])
    assert rescue.blamed([]) == ("the boot failed", [])


class Shown(Machine):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def show(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def shells(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, str]]:
    """Those that would have been run: program and reason."""
    ran: list[tuple[str, str]] = []

    def shell(keeper: str, reason: str) -> int:
        ran.append((keeper, reason))
        return 0

    monkeypatch.setattr(rescue, "shell", shell)
    monkeypatch.setenv("UNBOXED_RUNTIME_DIR", str(tmp_path))
    return ran


def test_a_shell_comes_with_the_reason_and_the_last_lines(
    shells: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescue, "last_lines", lambda _machine, unit: [f"{unit} says no"])
    fake = FakeSupervisor(tmp_path)
    fake.answers["Why"] = lambda _: {"chain": CHAIN}
    fake.listen()
    machine = Shown()
    try:
        assert rescue.run(machine) == 0
    finally:
        fake.close()
    assert machine.lines[:2] == ["  disk says no", "  fs says no"]
    assert "unboxed why boot" in machine.lines[-1]
    assert shells == [("/proc/3999/exe", rescue.blamed(CHAIN)[0])]


def test_a_shell_comes_also_where_no_supervisor_answers(shells: list[tuple[str, str]]) -> None:
    machine = Shown()
    assert rescue.run(machine) == 0
    assert shells == [("/proc/1/exe", "the boot failed")]
    assert "cannot tell why" in machine.lines[0]


def test_it_is_no_failure_that_there_is_no_shell() -> None:
    assert rescue.shell("/nowhere/unboxed-init", "why") == 0


def test_the_shell_has_a_session_of_its_own(tmp_path: Path) -> None:
    """To take the console as its terminal."""
    program = tmp_path / "unboxed-init"
    words = "$1 $2 $(cut -d' ' -f 6 /proc/$$/stat) $$"
    program.write_text(f"#!/bin/sh\necho {words} > {tmp_path}/is\n")
    program.chmod(0o755)
    assert rescue.shell(str(program), "why") == 0
    option, reason, session, pid = (tmp_path / "is").read_text().split()
    assert (option, reason) == ("--rescue", "why")
    assert session == pid
    assert session != str(os.getsid(0))


def test_a_log_that_there_is_not_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNBOXED_LOG_DIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", rescue.PACKAGE)
    said = rescue.last_lines(Machine(), "web")
    assert said
    assert said[0].startswith("no log of web: ")
