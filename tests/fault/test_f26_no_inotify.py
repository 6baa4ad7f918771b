"""Fault 26: there is no inotify instance, or no watch, to be had. The supervisor starts, runs and
reloads (it needs none), and `unboxed logs -f` looks for itself what is new.

The limits are those of a user namespace of its own, in which everything runs.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.stack import PATIENCE, ROOT, Stack

UNIT = 'command = ["/bin/sh", "-c", "echo {0} $$; exec sleep 1000"]\n'
IDLE_S, SHARE = 1.0, 0.05  # five looks a second at two directories


def without(what: str) -> list[str]:
    """Words before a command that leave it none of `what` (instances or watches)."""
    script = f'echo 0 > /proc/sys/user/max_inotify_{what} && exec "$@"'
    words = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"]
    if subprocess.run([*words, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs user namespaces with limits of their own")
    return words


def line(follower: subprocess.Popen[str]) -> str:
    """The next line of output, without its time."""
    assert follower.stdout is not None
    assert select.select([follower.stdout], [], [], PATIENCE)[0], "no line came"
    return follower.stdout.readline().partition(" ")[2].rstrip("\n")


def cpu_s(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


@pytest.mark.parametrize("what", ["instances", "watches"])
def test_f26_all_goes_on_without_inotify(tmp_path: Path, what: str) -> None:
    prefix = without(what)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "UNBOXED_RUNTIME_DIR": str(tmp_path / "rt")}
    with Stack(tmp_path, {"one": UNIT.format("one")}, prefix=prefix) as stack:
        first = stack.wait("one", "running")["pid"]
        follow = [*prefix, sys.executable, "-m", "supervisor.cli", "logs", "-f", "one", "two"]
        with subprocess.Popen(
            follow, env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True, bufsize=1
        ) as follower:
            try:
                assert line(follower) == f"one one {first}"
                stack.call("Restart", units=["one"])
                assert line(follower) == f"one one {stack.row('one')['pid']}"
                stack.write("two", UNIT.format("two"))
                assert stack.call("ReloadUnits")["added"] == ["two"]
                stack.call("Start", units=["two"])
                assert line(follower) == f"two two {stack.row('two')['pid']}"
                used = cpu_s(follower.pid)
                time.sleep(IDLE_S)
                assert cpu_s(follower.pid) - used < SHARE * IDLE_S
            finally:
                follower.terminate()
