"""Fault 54: what hangs when a machine is to go off. reboot(2) is called by the deadline, always."""
from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.stack import ROOT
from tests.vm.booted import Booted, needs_disk, on_disk, root_image
from tests.vm.household import UNITS, assert_whole, settled
from tests.vm.machine import needs_machine

INSMOD = shutil.which("insmod", path="/usr/sbin:/sbin:/usr/bin:/bin")
FUSE = next(Path("/usr/lib/uml/modules").glob("*/kernel/fs/fuse/fuse.ko"), None)
WITHIN_S = 3  # unboxed.shutdown_timeout
# Then what is left is killed; the keeper has 5 s for that, PID 1 at most 30 for disks and mounts.
DEADLINE_S = WITHIN_S + 6 + 5 + 30
UNHEARD_S = 120  # after which the keeper acts where no manager did
BUSY_S = 10  # by which the host may be late

DEAF = ["/bin/sh", "-c", "trap '' TERM HUP INT; while :; do sleep 1; done"]
HUNG = {
    "deaf": f'command = {json.dumps(DEAF)}\nstop.ladder = ["TERM", "1h"]\n',
    "cold": 'command = ["/bin/sleep", "1000"]\n',
}
# It waits for itself: nobody can kill a process that waits for an answer of a FUSE file system, and
# what is the file system lives as long as a thread of it does.
DEADLOCK = f"""
import sys, threading, time
sys.path.insert(0, {str(ROOT)!r})
from tests.fault.hung_fuse import main
threading.Thread(target=main, args=("/run/hung", "/run/asked")).start()
while " /run/hung " not in open("/proc/mounts").read():
    time.sleep(0.01)
open("/run/hung/file")
"""
FUSE_UNIT = f"""
command = {json.dumps([sys.executable, "-I", "-c", DEADLOCK])}
autostart = false
start.before = [["/bin/mkdir", "-p", "/run/hung"]]
sandbox.level = "off"
"""

pytestmark = [needs_machine, needs_disk, pytest.mark.slow, pytest.mark.timeout(260)]


def off(machine: Booted, kill: str = "") -> float:
    """Power off; how many seconds it took."""
    began = time.monotonic()
    machine.ask_power("off", kill=kill)
    machine.went("off")
    return time.monotonic() - began


@pytest.fixture(scope="module", autouse=True)
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[float]]:
    """How long a machine takes whose manager is stopped: most of it idle, so beside the others."""
    home = tmp_path_factory.mktemp("stopped")

    def life() -> float:
        with booted(home, {}) as machine:
            settled(machine)
            machine.sh(f"kill -STOP {machine.manager()}")
            took = off(machine)
        assert_whole(home / "root.img")
        return took

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(life)


def booted(home: Path, units: dict[str, str]) -> Booted:
    root = root_image(home)
    words = [f"unboxed.shutdown_timeout={WITHIN_S}"]
    return Booted(home / "life", {**UNITS, **units}, root=root, args=on_disk(), words=words)


def test_f54_services_that_are_deaf_or_frozen_and_a_console_that_is_stopped(
    tmp_path: Path,
) -> None:
    with booted(tmp_path, HUNG) as machine:
        settled(machine, dict.fromkeys(HUNG, "running"))
        machine.call("Freeze", units=["cold"])
        machine.wait("cold", "frozen")
        machine.ask_power("off")
        machine.until("waiting for")
        console = machine.went("off")
        assert "deaf" in console  # it is named
    assert_whole(tmp_path / "root.img")


def test_f54_a_console_that_takes_nothing(tmp_path: Path) -> None:
    """Somebody pressed ^S."""
    with booted(tmp_path, {}) as machine:
        settled(machine)
        machine.type("\x13")
        began = time.monotonic()
        machine.ask_power("off")
        machine.process.wait(DEADLINE_S + BUSY_S)
        assert time.monotonic() - began < DEADLINE_S + BUSY_S
    assert_whole(tmp_path / "root.img")


@pytest.mark.skipif(not (FUSE and INSMOD), reason="needs insmod, and the machine's kernel fuse")
def test_f54_processes_nobody_can_kill_and_a_file_system_nobody_can_unmount(
    tmp_path: Path,
) -> None:
    """What waits for a FUSE file system that never answers is killed only when that is."""
    with booted(tmp_path, {"fuse": FUSE_UNIT}) as machine:
        settled(machine, {"fuse": "stopped"})
        machine.sh(f"{INSMOD} {FUSE}")
        machine.call("Start", units=["fuse"])
        machine.sh("until [ -e /run/asked ]; do sleep 0.05; done")
        assert off(machine) < DEADLINE_S + BUSY_S
    assert_whole(tmp_path / "root.img")


@pytest.mark.parametrize("every_ms", [5, 400])
def test_f54_managers_that_are_killed_again_and_again(every_ms: int, tmp_path: Path) -> None:
    """Before they can say anything, or in the midst of their work."""
    with booted(tmp_path, HUNG) as machine:
        settled(machine, dict.fromkeys(HUNG, "running"))
        took = off(machine, kill=f"0,{every_ms},0")
        # The first may be killed before it told the keeper anything; no other one comes as far.
        told = "stopping everything" in machine.console()
        assert took < (DEADLINE_S if told else UNHEARD_S + 5 + 30) + BUSY_S
        assert machine.console().count("KILLED") > 2
    assert_whole(tmp_path / "root.img")


def test_f54_a_manager_that_is_stopped(stopped: Future[float]) -> None:
    """It never hears of it, and nobody asks it anything: the keeper has a deadline of its own."""
    assert stopped.result() < UNHEARD_S + DEADLINE_S + BUSY_S
