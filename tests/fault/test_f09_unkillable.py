"""Fault 9: what is frozen, or hangs in the kernel, does not hold up anybody else's stop. A process
that SIGKILL does not end is shown as `unkillable`, until the kernel lets go of it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from tests.blame import Watch
from tests.fault.lifecycle import (
    SLEEP,
    need_program,
    need_root,
    supervisor,
    three,
    wait_for_death,
)
from tests.stack import Stack, children

SHORT_LADDER = '[stop]\nladder = ["TERM", "200ms", "KILL"]\n'
# It would end well if it could: a handler, unlike the default action, needs the process to run.
POLITE = "command = ['/bin/sh', '-c', 'trap \"exit 0\" TERM; sleep 1000 & wait']\n"
UNAFFECTED_S = 0.1
ANSWERS_S, REFUSED_S = 2.0, 6.0  # while a look that hangs is waited for: once, a second
# In a sandbox it is below a process of ours, or not, and has a view of its own.
SANDBOXES = {
    "plain": "",
    "app": '[sandbox]\nlevel = "app"\ntmp = "shared"\n',
    "own pids": '[sandbox]\nlevel = "app"\ntmp = "shared"\nprocesses = "own"\n',
}
HUNG_FUSE = Path(__file__).with_name("hung_fuse.py")


def others_stop(stack: Stack, times: int) -> None:
    mine = three(stack).values()
    for _ in range(times):
        stack.call("Start", units=["other"], wait=True)
        watch = Watch(*mine)
        stack.call("Stop", units=["other"], wait=True)
        took = watch.blamed_s()
        assert stack.row("other")["state"] == "stopped"
        assert took < UNAFFECTED_S, f"another unit's stop took {took:.3f} s"


def hung_fuse(place: Path, asked: Path) -> str:
    """The unit that mounts it."""
    place.mkdir()
    serve = f'user = "root"\ncommand = ["{sys.executable}", "{HUNG_FUSE}", "{place}", "{asked}"]\n'
    return serve + '[start]\nready = {log = "mounted"}\n'


@pytest.mark.parametrize("box", SANDBOXES)
def test_f09_a_frozen_cgroup_is_killed_all_the_same(box: str) -> None:
    if box != "plain":
        need_root("a sandbox of any kind")
    units = {"frozen": POLITE + SHORT_LADDER + SANDBOXES[box], "other": SLEEP}
    with supervisor("cgroup", units) as stack:
        pid = stack.wait("frozen", "running")["pid"]
        stack.until(lambda: children(pid), "the handler to be set")
        group = Path(stack.call("Describe", unit="frozen")["cgroup"])
        (group / "cgroup.freeze").write_text("1")
        stack.until(lambda: "frozen 1" in (group / "cgroup.events").read_text(), "the frost")
        stack.call("Stop", units=["frozen"], wait=False)
        others_stop(stack, 5)
        assert stack.wait("frozen", "stopped")["last_exit"] == "killed by SIGKILL"
        assert wait_for_death(pid, 0)


def test_f09_processes_in_a_hung_file_system_are_unkillable_until_that_ends(tmp_path: Path) -> None:
    """One of each kind, and each in a file system of its own."""
    need_root("mounting")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("there is no /dev/fuse here")
    units, asked = {"other": SLEEP}, [tmp_path / f"asked-{at}" for at in range(len(SANDBOXES))]
    fuses = [f"fuse-{at}" for at in range(len(SANDBOXES))]
    hung = [f"hung-{at}" for at in range(len(SANDBOXES))]
    for at, box in enumerate(SANDBOXES.values()):
        place = tmp_path / f"mount-{at}"
        units[fuses[at]] = hung_fuse(place, asked[at])
        units[hung[at]] = (
            f'command = ["/bin/cat", "{place}/file"]\nautostart = false\nuser = "root"\n'
            + SHORT_LADDER + box
        )  # fmt: skip
    with supervisor("cgroup", units, prefix=[need_program("unshare"), "--mount"]) as stack:
        for name in fuses:
            if stack.wait(name, "running", "backoff", "failed")["state"] != "running":
                pytest.skip("this host mounts no FUSE")
        stack.call("Start", units=hung, wait=True)
        for path in asked:
            stack.until(path.exists, "it to hang")
        pids = [stack.row(name)["pid"] for name in hung]

        stack.call("Stop", units=hung, wait=False)
        others_stop(stack, 5)
        assert {stack.row(name)["state"] for name in hung} == {"stopping"}
        for name in hung:
            assert stack.wait(name, "unkillable")["reason"] == "it survives SIGKILL"
        assert not any(wait_for_death(pid, 0) for pid in pids)
        for name in hung:
            result = stack.call("Stop", units=[name], wait=True)["results"][0]
            assert not result["ok"]
            assert "the kernel holds on to a process" in result["message"]
        others_stop(stack, 5)

        for name, fuse, pid in zip(hung, fuses, pids, strict=True):
            stack.call("Stop", units=[fuse], wait=True)  # which ends what it waits for
            stack.wait(name, "stopped")
            assert wait_for_death(pid, 0)


HANGING = {  # what is on the hung file system, and the unit that has it
    "directory": 'directory = "{place}"\n[sandbox]\nlevel = "app"\ntmp = "shared"\n',
    "sandbox.read": '[sandbox]\nlevel = "app"\nread = ["/usr", "{place}/data"]\n',
    "sandbox.open": (
        '[sandbox]\nlevel = "app"\nopen = [{{path = "{place}/out", fd = 5, mode = "append"}}]\n'
    ),
    "secrets.token": '[sandbox]\nlevel = "app"\n[secrets]\ntoken = "{place}/token"\n',
    "root": 'root = "{place}"\n[sandbox]\nlevel = "app"\n',
}


def test_f09_a_sandbox_with_paths_in_a_hung_file_system_is_refused_and_holds_up_nobody(
    tmp_path: Path,
) -> None:
    need_root("mounting")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("there is no /dev/fuse here")
    place = tmp_path / "mount"
    units = {"fuse": hung_fuse(place, tmp_path / "asked"), "other": SLEEP}
    lazy = SLEEP + "autostart = false\n"
    names = {key: f"hung-{at}" for at, key in enumerate(HANGING)}
    units |= {names[key]: lazy + text.format(place=place) for key, text in HANGING.items()}
    with supervisor("cgroup", units, prefix=[need_program("unshare"), "--mount"]) as stack:
        if stack.wait("fuse", "running", "backoff", "failed")["state"] != "running":
            pytest.skip("this host mounts no FUSE")
        for key, name in names.items():
            stack.call("Start", units=[name], wait=False)
            begun = time.monotonic()
            assert stack.row("other")["state"] == "running"
            assert time.monotonic() - begun < ANSWERS_S
            row = stack.wait(name, "failed", "backoff")
            assert f"{key}: cannot look at {place}" in row["reason"], row
            assert f"(fuse at {place}) does not answer" in row["reason"]
            assert time.monotonic() - begun < REFUSED_S
        others_stop(stack, 2)
        stack.call("Stop", units=list(names.values()), wait=True)
        stack.call("Stop", units=["fuse"], wait=True)
        stack.call("Start", units=[names["directory"]], wait=True)  # no plan before is remembered
        stack.until(lambda: "cannot look" not in stack.row(names["directory"])["reason"], "a look")
        stack.until(lambda: not defunct(stack.manager), "the manager to have reaped")


def defunct(pid: int) -> list[int]:
    stats = {child: Path(f"/proc/{child}/stat").read_text() for child in children(pid)}
    return [child for child, text in stats.items() if text.rpartition(")")[2].split()[0] == "Z"]
