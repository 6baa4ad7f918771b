"""Fault 1: a process's number is given to a stranger just before its unit is stopped, 1,000 times:
no stranger is sent any signal. Half the rounds with cgroups, half without."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.fault.lifecycle import need_program, need_root
from tests.stack import ROOT

ROUNDS = 1000


@pytest.mark.slow
@pytest.mark.timeout(330)
def test_f01_no_signal_ever_reaches_a_stranger_with_a_used_number() -> None:
    need_root("a pid namespace of its own")
    inside = [need_program("unshare"), "-p", "-f", "--mount-proc", "--kill-child"]
    if subprocess.run([*inside, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this host allows no pid namespace")
    done = subprocess.run(
        [*inside, sys.executable, "-m", "tests.fault.pid_reuse", str(ROUNDS)],
        cwd=ROOT, capture_output=True, check=False, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["hits"] == []
    assert found["reused"] >= ROUNDS, "numbers were not used again, so nothing was tried"
