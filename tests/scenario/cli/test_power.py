"""The end of a machine where no supervisor answers, with a PID 1 of ours in a namespace of its own:
what reboot(2) does there ends that namespace alone."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import ROOT, keeper_binary

NAMESPACE = ["unshare", "-Urpf", "--mount-proc", "--kill-child"]


def run(*words: str, first: str = "") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "UNBOXED_RUNTIME_DIR": "/nowhere"}
    return subprocess.run(
        [*NAMESPACE, first or keeper_binary(), *words], env=env, capture_output=True, text=True,
        timeout=60, check=False)


@pytest.mark.parametrize("verb, number", [
    ("reboot", signal.SIGHUP), ("poweroff", signal.SIGINT), ("halt", signal.SIGINT),
])  # fmt: skip
def test_forced_twice_it_is_reboot_2_at_once(verb: str, number: int) -> None:
    """The kernel ends a namespace's PID 1 by the signal that says what was asked for."""
    done = run(sys.executable, "-m", "supervisor.cli", verb, "-ff")
    assert done.returncode == -number, done  # unshare(1) dies of the same


def test_pid_1_hears_of_it_where_nobody_answers() -> None:
    unboxed = f"{sys.executable} -m supervisor.cli"
    done = run("sh", "-c", f"trap 'exit 7' 39; {unboxed} reboot; while :; do sleep 0.05; done")
    assert done.returncode == 7, done
    assert "PID 1 was sent signal 39 instead, to reboot" in done.stderr


def test_another_pid_1_is_left_alone() -> None:
    script = (f"{sys.executable} -m supervisor.cli reboot; {sys.executable} -m supervisor.cli"
              " reboot -ff; echo goes on")
    done = run("-c", script, first="/bin/sh")
    assert done.stdout == "goes on\n"
    name = Path("/bin/sh").resolve().name
    assert done.stderr.count(f"cannot reboot: PID 1 of this host is {name}, not unboxed-init") == 2
