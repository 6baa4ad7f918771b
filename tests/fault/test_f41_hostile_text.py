"""Fault 41: any file of at most 64 KiB is parsed or refused within 100 ms and 32 MiB.

CPU time is what is held to the limit, so that a busy machine does not decide; on a slow one the
limit is what an honest file takes there, so many times.
"""
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.config.load import read_units
from tests.fault.hostile_text import CASES

ROOT = Path(__file__).parents[2]
LIMIT_S = 0.100
HONEST, HONEST_TIMES = "a large environment", 10  # of about that size, and a good unit


@pytest.fixture(scope="module")
def costs() -> dict[str, list[float]]:
    """Measured in one process of its own, without a test framework's memory around it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fault.hostile_text"],
        cwd=ROOT, capture_output=True, check=False, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, list[float]] = {}
    for line in done.stdout.splitlines():
        found |= json.loads(line)
    return found


@pytest.mark.parametrize("name", CASES)
def test_no_text_is_expensive(costs: dict[str, list[float]], name: str) -> None:
    seconds, more_bytes, _ = costs[name]
    assert seconds <= max(LIMIT_S, HONEST_TIMES * costs[HONEST][0])
    assert more_bytes <= 32 << 20


def test_every_hostile_text_is_refused_but_these(costs: dict[str, list[float]]) -> None:
    accepted = {name for name, (_, _, problems) in costs.items() if not problems}
    assert accepted == {"a text of many quotes", "a large environment"}


def test_a_file_of_10_mb_is_refused_without_being_read(tmp_path: Path) -> None:
    """A hole of 1 TB answers as fast, so nothing of it is read."""
    (tmp_path / "web.toml").touch()
    for length in (10 << 20, 1 << 40):
        os.truncate(tmp_path / "web.toml", length)
        loaded = read_units([str(tmp_path)])
        assert [str(problem) for problem in loaded.problems] == [
            f"{tmp_path}/web.toml: cannot read it: it has more than 64 KiB; no unit needs that"
        ]
