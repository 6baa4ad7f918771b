"""Fault 28: cgroups that are read-only, without a controller, or somebody else's. What cannot be
kept is refused by name, or listed where the unit says so; nothing runs unlimited in silence."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.limits_kit import SLEEP, memory_limit, need, own_groups
from tests.stack import Refused, Stack, alive

MEMORY = '[limits]\nmemory = "64MiB"\n'
BEST = MEMORY + 'require = "best"\n'
NEVER = '[restart]\nwhen = "never"\n'

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to change mounts of its own")


def mounts(kind: str) -> list[str]:
    """Where cgroups of a kind are mounted ("cgroup2", or the name of a v1 controller)."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        name, _, options = right.split(" ", 2)
        if name == kind or (name == "cgroup" and kind in options.split(",")):
            found.append(left.split()[4])
    return found


def without(script: str) -> Sequence[str]:
    """The prefix of a command that runs in a mount namespace of its own, after `script`."""
    return ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c",
            f'{script}; exec "$0" "$@"']


def run(tmp_path: Path, script: str, words: str) -> None:
    units = {"strict": SLEEP + MEMORY + NEVER, "lax": SLEEP + BEST + NEVER, "free": SLEEP}
    with Stack(tmp_path, units, prefix=without(script)) as stack:
        stack.wait("free", "running")
        reason = stack.wait("strict", "failed")["reason"]
        assert "limits.memory cannot be enforced here: " in reason
        assert words in reason
        missing = stack.wait("lax", "running")["missing_limits"]
        assert [one for one in missing if one.startswith("limits.memory ") and words in one]
        steps = stack.call("Explain", unit="lax")["keys"]
        shown = [key["mechanism"] for key in steps if key["key"] == "limits.memory"]
        assert shown[0].startswith("not enforced: ")
        with pytest.raises(Refused, match="nothing was changed") as refused:
            stack.call("Set", unit="free", keys={"limits": {"memory": "64MiB"}})
        found = refused.value.parameters["problems"]
        assert [(one["key"], words in one["message"]) for one in found] == [("limits.memory", True)]
        lax = {"limits": {"memory": "64MiB", "require": "best"}}
        answer = stack.call("Set", unit="free", keys=lax)["results"]
        assert not answer[0]["ok"]
        assert words in answer[0]["message"]
        assert stack.row("free")["state"] == "running"


def test_a_controller_that_is_not_there_is_named(tmp_path: Path) -> None:
    need("memory")
    legacy = mounts("memory")
    if not legacy:
        pytest.skip("the memory controller is in cgroup v2: kernel tests take it away there")
    run(tmp_path, "; ".join(f"umount {path}" for path in legacy),
        "no cgroup hierarchy of this host has the memory controller")


def test_a_hierarchy_that_is_read_only_is_named(tmp_path: Path) -> None:
    need("memory")
    paths = mounts("memory")
    if not paths:
        pytest.skip("the memory controller is in cgroup v2: read-only, that tracks nobody either")
    run(tmp_path, "; ".join(f"mount -o remount,bind,ro {path}" for path in paths),
        "Read-only file system")


def test_without_any_group_to_write_units_run_tracked_by_session_and_limits_are_refused(
    tmp_path: Path,
) -> None:
    need("memory")
    script = "; ".join(f"mount -o remount,bind,ro {path}"
                       for path in (*mounts("memory"), *mounts("cgroup2")))
    units = {"strict": SLEEP + MEMORY + NEVER, "free": SLEEP}
    with Stack(tmp_path, units, prefix=without(script)) as stack:
        assert stack.wait("free", "running")["tracking"] == "session"
        assert "limits.memory cannot be enforced" in stack.wait("strict", "failed")["reason"]


def test_what_a_killed_supervisor_left_limits_nobody_after_it(tmp_path: Path) -> None:
    """Its groups, with its limits, have the names that the next one wants."""
    need("memory")
    need("cpu")
    old = 'memory = "48MiB"\ncpu = "5%"\n'
    stack = Stack(tmp_path, {"web": SLEEP + "[limits]\n" + old})
    stack.begin()
    pid = stack.wait("web", "running")["pid"]
    manager, process = stack.manager, stack.process
    assert process is not None
    os.kill(manager, signal.SIGSTOP)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    stack.process = None
    os.kill(manager, signal.SIGKILL)
    stack.until(lambda: not alive(manager), "the manager to end")
    stack.write("web", SLEEP + MEMORY)
    with Stack(tmp_path, {}) as fresh:
        row = fresh.wait("web", "running")
        assert row["pid"] != pid
        assert memory_limit(fresh, "web") == str(64 << 20)
        group = own_groups(row["pid"]).get("cpu")
        if group is not None and (group / "cpu.cfs_quota_us").exists():
            assert (group / "cpu.cfs_quota_us").read_text().strip() == "-1"
