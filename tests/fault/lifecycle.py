"""What the lifecycle and resource faults share: both ways of tracking, and what a process costs.

`supervisor(mode, units)` is the real three processes, tracking by `cgroup` (as root) or by
`session` (as an ordinary user who has no cgroups). Limits and signals are for these alone.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.stack import Stack

both_modes = pytest.mark.parametrize("mode", ["cgroup", "session"])
UID = 100_000 + os.getpid() % 50_000  # an ordinary user whom nobody else is
SLEEP = 'command = ["/bin/sleep", "1000"]\n'


def as_user(uid: int) -> list[str]:
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]


@contextlib.contextmanager
def supervisor(
    mode: str, units: Mapping[str, str], *, prefix: Sequence[str] = (), uid: int = UID,
) -> Iterator[Stack]:  # fmt: skip
    """`prefix`: words before the keeper's command. Skips what the host does not let us be."""
    root = os.geteuid() == 0
    if mode == "cgroup" and not root:
        pytest.skip("cgroups of its own: needs root")
    with tempfile.TemporaryDirectory(prefix="unboxed-fault-") as name:
        home = Path(name)
        if root and mode == "session":
            os.chown(home, uid, uid)
            prefix = [*prefix, *as_user(uid)]
        with Stack(home, units, prefix=prefix, env={"HOME": name}) as stack:
            tracking = stack.call("Status")["supervisor"]["tracking"]
            if tracking != mode:
                pytest.skip(f"this host has it track by {tracking}, not by {mode}")
            yield stack


def need_root(why: str) -> None:
    if os.geteuid() != 0:
        pytest.skip(f"{why}: needs root")


def legacy_group(controller: str) -> Path:
    """Where this process may make groups below its own in a hierarchy of cgroup v1."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, kinds, path = line.split(":", 2)
        if controller in kinds.split(","):
            group = Path(f"/sys/fs/cgroup/{kinds}{path}")
            if os.access(group, os.W_OK):
                return group
    pytest.skip(f"needs a {controller} cgroup (v1) in which groups may be made")


def need_program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"there is no {name} here")
    return path


# --- processes ------------------------------------------------------------------------------------


def three(stack: Stack) -> dict[str, int]:
    """Pids of the supervisor's own processes. The logger comes a moment after the first units."""
    assert stack.process is not None
    stack.until(lambda: stack.logger, "the logger")
    return {"keeper": stack.process.pid, "manager": stack.manager, "logger": stack.logger}


def cpu_s(pid: int) -> float:
    """CPU time of a process of one thread so far, in seconds."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def descriptors(pid: int) -> dict[int, str]:
    """Number -> what it is, of every descriptor of a process."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    return found


def resident_bytes(pid: int) -> int:
    """Anonymous memory only: what grows when something leaks, whatever files are paged in."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"pid {pid} has no RssAnon")


@contextlib.contextmanager
def limited(pid: int, name: str, soft: int) -> Iterator[None]:
    """The soft limit of a process, here `Max open files` or `Max processes`, is that much. Set as
    the user of that process, who may."""
    option = {"Max open files": "nofile", "Max processes": "nproc"}[name]
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    old = next(line for line in lines if line.startswith(name))[len(name) :].split()[0]
    uid = Path(f"/proc/{pid}").stat().st_uid
    words = [] if uid == os.geteuid() else as_user(uid)
    words += ["prlimit", "--pid", str(pid)]
    subprocess.run([*words, f"--{option}={soft}:"], check=True)
    try:
        yield
    finally:
        subprocess.run([*words, f"--{option}={old}:"], check=True)


def wait_for_death(pid: int, seconds: float) -> bool:
    """Wait for the end of any process; False if it lives on. Event-driven, so exact to the ms."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], seconds)[0])
    finally:
        os.close(fd)
