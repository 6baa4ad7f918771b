"""Fault 12: services are killed 10,000 times at random, some before they are even executed: each
kill is one restart in the books, and in the end all run."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from tests.fault.lifecycle import both_modes, supervisor, three
from tests.stack import Stack, children

KILLS = 10_000
INSTANCES = 20
UNIT = (
    f'command = ["/bin/sleep", "1000"]\ninstances = {INSTANCES}\n'
    '[restart]\nwhen = "always"\ndelay = 0\nlimit = "none"\n'
)


def born(pid: int) -> str:
    """When a process began: with its number, that is who it is. "" if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return fields[19] if fields[0] not in "ZX" else ""


def kill_at_random(stack: Stack, kills: int) -> None:
    """Each of the keeper's own children at most once, services or what is to become one."""
    spared = set(three(stack).values())
    keeper = three(stack)["keeper"]
    chance = random.Random(12)
    dead: set[tuple[int, str]] = set()
    while len(dead) < kills:
        alive = sorted(set(children(keeper)) - spared)
        for pid in chance.sample(alive, min(len(alive), kills - len(dead), 7)):
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            who = pid, born(pid)
            if who[1] and who not in dead and pid in children(keeper):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
                dead.add(who)
            os.close(fd)


@pytest.mark.slow
@both_modes
def test_f12_every_kill_is_one_restart(mode: str) -> None:
    with supervisor(mode, {"web": UNIT}) as stack:
        for index in range(INSTANCES):
            stack.wait(f"web/{index}", "running")
        kill_at_random(stack, KILLS)
        stack.until(
            lambda: sum(row["restarts"] for row in stack.rows().values()) >= KILLS, "the restarts"
        )
        for index in range(INSTANCES):
            stack.wait(f"web/{index}", "running")
        rows = stack.rows().values()
        assert sum(row["restarts"] for row in rows) == KILLS
        assert len({row["pid"] for row in rows}) == INSTANCES
        assert sorted(set(children(three(stack)["keeper"])) - set(three(stack).values())) == sorted(
            row["pid"] for row in rows
        )
        assert stack.call("Status")["supervisor"]["manager_starts"] == 1
