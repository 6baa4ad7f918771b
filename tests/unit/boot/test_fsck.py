"""Checks that take long: whoever waits at the console sees whom for, and how long still."""
from __future__ import annotations

import os
from collections.abc import Mapping

import pytest

from supervisor.boot import _fsck
from supervisor.boot._tools import Child, Ended
from tests.unit.boot.machine_kit import Made, Noted


class Slow(Child):
    """It reports what a test has it report each time that it is looked at, then ends."""

    def __init__(self, progress: int, reports: list[str]) -> None:
        self._progress = os.dup(progress)
        self._reports = reports

    def poll(self) -> Ended | None:
        if not self._reports:
            if self._progress >= 0:
                os.close(self._progress)
            self._progress = -1
            return Ended(0, "")
        os.write(self._progress, self._reports.pop(0).encode())
        return None

    def wakes(self) -> tuple[int, ...]:
        return ()


class SlowTools(Noted):
    def __init__(self, reports: list[str]) -> None:
        super().__init__()
        self._reports = reports

    def start(
        self, *words: str, timeout_s: float | None = None, extra: Mapping[int, int] | None = None,
    ) -> Child:
        assert extra is not None
        (progress,) = extra.values()
        return Slow(progress, self._reports)


def shown(machine: Made, monkeypatch: pytest.MonkeyPatch, reports: list[str]) -> list[str]:
    """The console's lines, one for each report."""
    monkeypatch.setattr(_fsck, "_TELL_S", 0.0)
    machine.tools = SlowTools(reports)
    (result,) = _fsck.check(machine, [_fsck.Check("/dev/ubdb", "/srv", "ext4")], "auto")
    assert result.ended.code == 0
    return machine.told


def test_how_far_a_check_is_counts_its_five_passes(
    machine: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = ["1 0 200 /dev/ubdb\n", "1 100 200 /dev/ubdb\n", "2 1 2 /dev/ubdb\n",
               "5 9 9 /dev/ubdb\n"]
    assert shown(machine, monkeypatch, reports) == [
        f"boot: checking /srv (/dev/ubdb), {percent} %" for percent in (0, 35, 80, 100)]


def test_what_is_no_report_changes_nothing(
    machine: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = ["nonsense\n", "9 1 2 /dev/ubdb\n", "1 1 0 /dev/ubdb\n", "1 x 2 /dev/ubdb\n"]
    assert shown(machine, monkeypatch, reports) == ["boot: checking /srv (/dev/ubdb)"] * 4
