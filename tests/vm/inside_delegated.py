"""Runs in a machine as an ordinary user, below a cgroup that is theirs (see test_delegated.py)."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.stack import Stack, alive

MINE = Path("/sys/fs/cgroup/user")
FAMILY = {"sleep 1001", "sleep 1002"}
DAEMON = """
command = ["/bin/sh", "-c", "(trap '' TERM; setsid sleep 1001 &); exec sleep 1002"]
[stop]
ladder = ["TERM", "1s", "KILL"]
"""


def family(stack: Stack) -> list[int]:
    """Both processes of the daemon, once they are there."""

    def both() -> list[int]:
        tree = stack.call("Describe", unit="daemon")["tree"]
        found = [row["pid"] for row in tree if row["command"] in FAMILY]
        return found if len(found) == 2 else []

    found = stack.until(both, "the daemon and its stray")
    assert isinstance(found, list)
    return found


def test_groups_are_made_below_the_delegated_one(tmp_path: Path) -> None:
    assert os.geteuid() != 0
    assert not os.access("/sys/fs/cgroup", os.W_OK)
    with Stack(tmp_path, {"daemon": DAEMON}) as stack:
        stack.wait("daemon", "running")
        supervisor = stack.call("Status")["supervisor"]
        assert supervisor["tracking"] == "cgroup"
        group = Path(stack.call("Describe", unit="daemon")["cgroup"])
        assert MINE in group.parents
        assert group.owner() == MINE.owner()
        pids = family(stack)
        assert sorted(map(int, (group / "cgroup.procs").read_text().split())) == sorted(pids)
        top = group.parent.parent
    assert not top.exists()


def test_a_stray_is_stopped_with_its_unit(tmp_path: Path) -> None:
    with Stack(tmp_path, {"daemon": DAEMON}) as stack:
        stack.wait("daemon", "running")
        pids = family(stack)
        assert len({os.getsid(pid) for pid in pids}) == 2
        stack.call("Stop", units=["daemon"])
        stack.wait("daemon", "stopped")
        assert not any(map(alive, pids))


def test_freeze_and_thaw_reach_the_stray_too(tmp_path: Path) -> None:
    with Stack(tmp_path, {"daemon": DAEMON}) as stack:
        stack.wait("daemon", "running")
        family(stack)
        events = Path(stack.call("Describe", unit="daemon")["cgroup"], "cgroup.events")
        stack.call("Freeze", units=["daemon"])
        stack.until(lambda: "frozen 1" in events.read_text(), "it to be frozen")
        stack.call("Thaw", units=["daemon"])
        stack.until(lambda: "frozen 0" in events.read_text(), "it to go on")


def test_a_killed_keepers_services_are_ended_by_the_next_one(tmp_path: Path) -> None:
    first = Stack(tmp_path, {"daemon": DAEMON}).begin()
    first.wait("daemon", "running")
    old = family(first)
    peers = first.manager, first.logger
    assert first.process is not None
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    first.until(lambda: not any(map(alive, peers)), "manager and logger to end")
    assert all(map(alive, old))
    with Stack(tmp_path, {"daemon": DAEMON}) as second:
        second.wait("daemon", "running")
        assert not any(map(alive, old))
