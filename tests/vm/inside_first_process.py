"""Runs in a machine whose PID 1 is the keeper (see test_first_process.py). Each test leaves the
supervisor as it found it: running, with `one` and `two` up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.stack import alive, children, command_line
from tests.vm import here as machines
from tests.vm.machine import HOST

STOPPING = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}
ZOMBIES = 1000
SLEEPERS = {"sleep 1001", "sleep 1002", "sleep 1003"}  # stray, daemon, main process


class Here(machines.Here):
    def supervisor(self) -> dict[str, Any]:
        found: dict[str, Any] = self.call("Status")["supervisor"]
        return found

    def pids(self) -> dict[str, int]:
        return {key: row["pid"] for key, row in self.rows().items()}


@pytest.fixture
def here() -> Here:
    here = Here()
    here.until(here.answers, "control to answer")
    for key in ("one", "two"):
        here.wait(key, "running")
    return here


def unboxed(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "supervisor.cli", *words], capture_output=True, text=True,
        check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def zombies() -> list[int]:
    """The ended processes that nobody reaped."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = Path(f"/proc/{name}/stat").read_text()
            except OSError:
                continue
            if stat.rpartition(")")[2].split()[0] == "Z":
                found.append(int(name))
    return found


def test_the_keeper_is_the_first_process_and_every_cgroup_is_v2(here: Here) -> None:
    assert Path("/proc/1/exe").readlink().name == Path(os.environ["UNBOXED_INIT"]).name
    kinds = {line.split()[2] for line in Path("/proc/mounts").read_text().splitlines()}
    assert "cgroup2" in kinds
    assert "cgroup" not in kinds
    supervisor = here.supervisor()
    assert supervisor["keeper_pid"] == 1
    assert supervisor["tracking"] == "cgroup"
    assert Path("/proc/1/cgroup").read_text() == "0::/\n"
    pid = here.row("one")["pid"]
    assert Path(f"/proc/{pid}/cgroup").read_text() == "0::/unboxed/units/one\n"


def test_status_and_logs_answer(here: Here) -> None:
    lines = {line.split()[0]: line.split()[1] for line in unboxed("status").splitlines() if line}
    assert lines["one"] == lines["two"] == "running"
    here.until(lambda: "one says hello" in unboxed("logs", "one"), "the line in the log")


def test_a_daemon_and_its_stray_are_stopped_whole(here: Here) -> None:
    """Neither is of the service's session or below its main process, and both ignore SIGTERM."""
    here.call("Start", units=["daemon"])
    here.wait("daemon", "running")

    def all_there() -> list[int]:
        tree = here.call("Describe", unit="daemon")["tree"]
        found = [row["pid"] for row in tree if row["command"] in SLEEPERS]
        return found if len(found) == 3 else []

    tree = here.until(all_there, "the main process, the daemon and the stray")
    assert isinstance(tree, list)
    assert len({os.getsid(pid) for pid in tree}) == 3
    assert [pid for pid in children(1) if pid in tree and pid != here.row("daemon")["pid"]]
    group = Path(here.call("Describe", unit="daemon")["cgroup"])
    assert sorted(map(int, (group / "cgroup.procs").read_text().split())) == sorted(tree)
    here.call("Stop", units=["daemon"])
    here.wait("daemon", "stopped")
    assert not any(map(alive, tree))
    assert not group.exists()
    here.until(lambda: not [pid for pid in tree if Path(f"/proc/{pid}").exists()], "the reaping")


def test_an_orphan_of_nobody_is_reaped(here: Here) -> None:
    script = "sleep 1000 >/dev/null 2>&1 & echo $!"
    pid = int(subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True).stdout)
    here.until(lambda: pid in children(1), "PID 1 to inherit it")
    os.kill(pid, signal.SIGKILL)
    here.until(lambda: not Path(f"/proc/{pid}").exists(), "the reaping")


def test_a_thousand_zombies_at_once_are_reaped(here: Here) -> None:
    pids = here.pids()
    subprocess.run([f"{HOST}/small", "orphans", str(ZOMBIES)], check=True)
    here.until(lambda: not zombies(), "the reaping")
    assert here.pids() == pids


@pytest.mark.parametrize("whom", ["manager", "logger"])
def test_a_killed_peer_is_replaced_and_no_service_notices(here: Here, whom: str) -> None:
    pids, old = here.pids(), getattr(here, whom)
    os.kill(old, signal.SIGKILL)
    here.until(lambda: getattr(here, whom) not in (0, old), f"another {whom}")
    here.until(here.answers, "control to answer")
    assert here.pids() == pids
    assert all(map(alive, filter(None, pids.values())))
    here.call("Kill", units=["one"], signal=int(signal.SIGUSR1))
    here.until(lambda: "one heard it" in unboxed("logs", "-n", "1", "one"), "its next line")


def test_no_signal_from_inside_but_those_that_ask_for_it_changes_anything(here: Here) -> None:
    """SIGKILL and SIGSTOP neither: the kernel drops them for PID 1."""
    pids, mine = here.pids(), (here.manager, here.logger)
    for number in range(1, 65):
        if number not in STOPPING:
            os.kill(1, number)
    assert alive(1)
    here.until(lambda: "SIGHUP to the supervisor from pid" in unboxed("logs", "unboxed"), "HUP")
    assert here.pids() == pids
    assert (here.manager, here.logger) == mine
    here.call("Restart", units=["two"])
    assert here.wait("two", "running")["pid"] != pids["two"]


def test_the_first_process_becomes_another_program_and_keeps_its_children(here: Here) -> None:
    pids, logger = here.pids(), here.logger
    unboxed("upgrade")
    here.until(here.answers, "control to answer")
    assert "--resume=" in command_line(1)
    assert here.pids() == pids
    assert here.logger == logger
    here.call("Restart", units=["two"])
    assert here.wait("two", "running")["pid"] not in (0, pids["two"])
