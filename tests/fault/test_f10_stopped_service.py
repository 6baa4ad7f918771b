"""Fault 10: a service whose processes are stopped (SIGSTOP) stops all the same, and by SIGTERM."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.fault.lifecycle import both_modes, supervisor, wait_for_death
from tests.stack import children

DEAF_S = 10  # what the usual ladder gives to one that does not hear SIGTERM
# One process in the main one's group, one in a session of its own.
FAMILY = "command = ['/bin/sh', '-c', 'sleep 1000 & setsid sleep 1000 & wait']\n"


def halted(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@both_modes
def test_f10_a_stopped_service_hears_sigterm(mode: str) -> None:
    with supervisor(mode, {"one": FAMILY}) as stack:
        for method in ("SIGSTOP", "Freeze"):
            stack.call("Start", units=["one"], wait=True)
            pid = stack.wait("one", "running")["pid"]
            stack.until(lambda pid=pid: len(children(pid)) == 2, "the family")  # type: ignore[misc]
            family = [pid, *children(pid)]
            if method == "SIGSTOP":
                for one in family:
                    os.kill(one, signal.SIGSTOP)
                stack.until(lambda family=family: all(map(halted, family)), "all to halt")  # type: ignore[misc]
            else:
                stack.call("Freeze", units=["one"])
                assert stack.row("one")["state"] == "frozen"
            began = time.monotonic()
            stack.call("Stop", units=["one"], wait=True)
            took = time.monotonic() - began
            assert all(wait_for_death(one, 0) for one in family)
            assert stack.row("one")["last_exit"] == "killed by SIGTERM"
            assert took < DEAF_S / 2, f"{method}: {took:.3f} s, as long as one that is deaf"
