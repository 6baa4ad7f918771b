"""While nothing happens the manager does nothing, and what a service says often costs no memory."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.stack import Stack

DAEMON = "command = ['/bin/sh', '-c', 'setsid sleep 1000 & exit 0']\n[start]\nready = {exit = 0}\n"
SOME = 20  # wakings; a loop that spins has thousands
LOOK_S = 0.3
FULL = "[start]\nready = 'fd:3'\n"


def switches(pid: int) -> int:
    """How often the process was put on a CPU, of its own will or not."""
    rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(row.split()[1]) for row in rows if "ctxt_switches" in row)


def ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_daemon_that_is_watched_by_its_group_wakes_nobody(tmp_path: Path) -> None:
    with Stack(tmp_path, {"one": DAEMON}) as stack:
        stack.wait("one", "running")
        manager = stack.manager
        begun, woken = ticks(manager), switches(manager)
        time.sleep(LOOK_S)
        assert ticks(manager) - begun <= LOOK_S * os.sysconf("SC_CLK_TCK") / 4
        assert switches(manager) - woken < SOME


def test_a_daemon_that_is_frozen_and_thawed_wakes_nobody_after(tmp_path: Path) -> None:
    with Stack(tmp_path, {"one": DAEMON}) as stack:
        stack.wait("one", "running")
        stack.call("Freeze", units=["one"])
        stack.call("Thaw", units=["one"])
        manager = stack.manager
        begun = ticks(manager)
        time.sleep(LOOK_S)
        assert ticks(manager) - begun <= LOOK_S * os.sysconf("SC_CLK_TCK") / 4


def test_there_may_be_more_services_that_report_than_the_soft_limit_has_descriptors(
    tmp_path: Path,
) -> None:
    units = {"many": f"command = ['/bin/sleep', '1000']\ninstances = 300\n{FULL}"}
    with Stack(tmp_path, units, prefix=["prlimit", "--nofile=280:4096"]) as stack:
        stack.wait("many/299", "starting")
        rows = stack.rows().values()
        assert not [row for row in rows if row["state"] != "starting"]
