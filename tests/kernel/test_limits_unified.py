"""The tests of limits, below and in the whole supervisor, once more where every controller is
cgroup v2: under user-mode Linux, which is a kernel of its own in a process. Its root file system is
the host's, read-only."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import keeper_binary

ROOT = Path(__file__).parents[2]
UML = shutil.which("linux.uml")
TIMEOUT_S = 110.0

INIT = """#!/bin/sh
export PATH={path} HOME=/run TMPDIR=/run PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={root}
export UNBOXED_INIT={keeper}
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
cd {root}
{python} -m pytest -q --color=no -p no:cacheprovider --basetemp=/run/t {tests}
{python} -I -S -c 'import ctypes; ctypes.CDLL(None).reboot({power_off})'
"""


@pytest.mark.slow
@pytest.mark.skipif(UML is None, reason="user-mode Linux is not installed (user-mode-linux)")
@pytest.mark.skipif(os.geteuid() != 0, reason="what is root's in it is root's on the host")
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
    init = tmp_path / "init"
    init.write_text(
        INIT.format(
            path=os.environ["PATH"], root=ROOT, python=sys.executable, power_off=0x4321FEDC,
            tests=tests, keeper=keeper_binary(),
        )
    )
    init.chmod(0o755)
    shared = "/dev/shm" if os.path.isdir("/dev/shm") else str(tmp_path)
    done = subprocess.run(
        [str(UML), "mem=768M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro",
         f"init={init}", "con=null", "con0=fd:0,fd:1", "quiet"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "TMPDIR": shared}, timeout=TIMEOUT_S, check=False, text=True,
        errors="replace",
    )  # fmt: skip
    counts = re.search(r"^(\d+) passed(?:, (\d+) skipped)?", done.stdout, re.MULTILINE)
    assert counts, done.stdout[-8000:]
    assert int(counts[1]) >= least, done.stdout[-8000:]
    assert int(counts[2] or 0) <= most_skipped, done.stdout[-8000:]
