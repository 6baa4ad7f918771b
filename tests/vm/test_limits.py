"""The tests of limits, below and in the whole supervisor, once more where every controller is
cgroup v2."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.machine import POWER_OFF, Machine, failures, inside, needs_machine


@needs_machine
@pytest.mark.slow
@pytest.mark.parametrize(
    "tests, most_skipped, least",
    [
        ("tests/kernel/test_limiter.py", 1, 25),  # the disk, of which it has none
        ("tests/scenario/supervisor/test_limits.py", 0, 20),
    ],
)
def test_every_limit_acts_on_unified_cgroups(
    tests: str, most_skipped: int, least: int, tmp_path: Path
) -> None:
    with Machine(tmp_path, f"{inside(tests)}\n{POWER_OFF}", mebibytes=768) as machine:
        machine.ended()
    found = failures(tmp_path)
    words = [said for said in found.values() if said]
    skipped = [said for said in words if said.startswith("skipped:")]
    assert words == skipped, "\n".join(words)
    assert len(found) - len(skipped) >= least
    assert len(skipped) <= most_skipped, "\n".join(skipped)
