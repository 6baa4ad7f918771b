"""The keeper costs little: no wake-up when idle, no allocation after start, under a megabyte."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.keeper.keeperclient import (
    Keeper,
    frame,
    log_step,
    plan,
    small_program,
    step,
    text,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def wake_ups(pid: int) -> int:
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return int(fields["voluntary_ctxt_switches"])


def test_idle_keeper_never_wakes_up() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        for launch in range(1, 6):
            manager.run(
                launch, f"unit{launch}", plan("/bin/sleep", "1000", steps=log_step(f"u{launch}"))
            )
        manager.signal(1, signal.SIGKILL)
        manager.exited(1)
        manager.get("nothing")
        keeper.logger()  # until then there is something to wake up for
        syscall = Path(f"/proc/{keeper.pid}/syscall")
        wait_until(lambda: syscall.read_text() != "running\n")  # it waits again
        before = wake_ups(keeper.pid)
        time.sleep(3)  # not a wait for something: the idleness that is measured
        assert wake_ups(keeper.pid) == before


def traced(pid: int, calls: str, work: Callable[[], None]) -> str:
    """What strace sees the process itself do during `work`."""
    command = ["strace", "-p", str(pid), "-e", f"trace={calls}", "-e", "signal=none"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr
        first = strace.stderr.readline()
        if "attached" not in first:
            pytest.skip(f"cannot trace: {first.strip()}")
        work()
        strace.terminate()
        return strace.stderr.read()


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_nothing_is_allocated_after_start() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()

        def work() -> None:
            for launch in range(1, 30):
                steps = log_step(f"unit{launch}") + step("NO_NEW_PRIVS")
                manager.run(launch, f"unit{launch}", plan("/bin/true", steps=steps))
                manager.exited(launch)
            with open("/dev/null", "rb") as file:
                assert manager.put("name", file.fileno()) == 0
            os.kill(manager.pid, signal.SIGKILL)
            keeper.manager()

        seen = traced(keeper.pid, "brk,mmap,mremap,munmap,clone,clone3,fork,vfork", work)
        assert seen.count("clone") >= 2  # the manager, and a process that starts the others
        assert not [
            line for line in seen.splitlines() if line.startswith(("brk", "mmap", "mremap"))
        ]


def test_thousand_children_cost_less_than_a_megabyte() -> None:
    with Keeper() as keeper:
        manager, logger = keeper.manager(), keeper.logger()
        program, count = small_program(), 1000
        for first in range(1, count, 50):
            manager.send(
                *[
                    frame(
                        "SPAWN",
                        n,
                        text(f"unit{n}") + plan(program, "pause", steps=log_step(f"unit{n}")),
                    )
                    for n in range(first, first + 50)
                ]
            )
        for _ in range(count):
            assert manager.next().op == "EXECED"
        for _ in range(count):
            os.close(logger.expect("STREAM_OPEN").fds[0])
        rollup = Path(f"/proc/{keeper.pid}/smaps_rollup").read_text()
        pss_kib = next(
            int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")
        )
        keeper.end(manager)
        assert pss_kib < 1024
