"""Fault 30, end to end: logger and manager are killed in turn, 50 times, while a service writes.

Nothing is lost and nothing is out of order. The keeper waits longer before each further start, so
the kills are spread over a few supervisors, and each is killed again only once it is back.
"""

from __future__ import annotations

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from supervisor.logger.read import records
from tests.fault.witness import replaced
from tests.stack import Stack

KILLS = 50  # of each kind
LIVES = 10
FINISH = "finish"
# As fast as it may; its last line says how many there were.
WRITER = """
i=0
while [ ! -e {finish} ]; do
    i=$((i + 1)); echo "line $i"
    [ $((i % 500)) != 0 ] || sleep 0.01
done
echo "last $i"; echo > {done}; exec sleep 1000
"""


def another_logger(stack: Stack, old: int) -> None:
    stack.until(lambda: stack.logger not in (0, old), "another logger")


def life(home: Path, chance: random.Random) -> int:
    """How many lines were written, and stored."""
    home.mkdir()
    script = WRITER.format(finish=home / FINISH, done=home / "done").strip().replace("\n", "\n  ")
    unit = f"command = ['/bin/sh', '-c', '''{script}''']\n[logs]\nsegment = \"64KiB\"\n"
    with Stack(home, {"web": unit}) as stack:
        pid = stack.wait("web", "running")["pid"]
        for _ in range(KILLS // LIVES):
            logger, manager = stack.logger, stack.manager
            time.sleep(chance.random() * 0.1)  # an instant of chance's choice
            os.kill(logger, signal.SIGKILL)
            if chance.random() < 0.5:
                time.sleep(chance.random() * 0.02)
            os.kill(manager, signal.SIGKILL)
            replaced(stack, manager)
            another_logger(stack, logger)
        assert stack.row("web")["pid"] == pid
        (home / FINISH).touch()
        stack.until((home / "done").exists, "the last line")
    lines = [row[3].decode().split() for row in records(str(home / "log"), ["web"])]
    count = int(lines[-1][1])
    assert lines == [*(["line", str(n)] for n in range(1, count + 1)), ["last", str(count)]]
    return count


@pytest.mark.slow
def test_f30_nothing_is_lost_when_logger_and_manager_are_killed_in_turn(tmp_path: Path) -> None:
    chance = random.Random(30)
    with ThreadPoolExecutor(LIVES) as pool:
        lives = [
            pool.submit(life, tmp_path / str(n), random.Random(chance.random()))
            for n in range(LIVES)
        ]
        counts = [one.result() for one in lives]
    assert min(counts) > 1000, counts
    print(f"{sum(counts)} lines, {2 * KILLS} kills")
