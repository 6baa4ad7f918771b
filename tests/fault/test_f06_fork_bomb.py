"""Fault 6: a fork bomb, with tasks = 64. The supervisor answers at once all the while, and one stop
leaves nothing of it, fifty times."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.blame import Watch
from tests.limits_kit import need, service, usage
from tests.stack import Stack

ROUNDS = 50
ANSWERS = 20  # of each round
TASKS = 64
P99_S = 0.1
BOMB = "import os\nwhile True:\n try: os.fork()\n except OSError: pass"


OWN_PIDS = '[sandbox]\nlevel = "app"\ntmp = "shared"\nprocesses = "own"\n'


@pytest.mark.slow
@pytest.mark.timeout(300)  # on one processor, which the bombs share with others, that may be needed
@pytest.mark.parametrize(
    "box, rounds", [("", ROUNDS), (OWN_PIDS, ROUNDS // 10)], ids=["plain", "app"]
)
def test_a_fork_bomb_costs_nobody_an_answer_and_is_gone_after_each_stop(
    box: str, rounds: int, tmp_path: Path
) -> None:
    need("pids")
    if box and os.geteuid():
        pytest.skip("needs root: a user and a view of its own")
    text = service(BOMB, f'autostart = false\n[limits]\ntasks = {TASKS}\ncpu = "50%"\n'
                         '[stop]\nladder = ["KILL"]\n' + box)
    took = []
    with Stack(tmp_path, {"bomb": text}) as stack:
        manager = stack.manager
        for _ in range(rounds):
            assert stack.call("Start", units=["bomb"])["results"][0]["ok"]
            stack.until(lambda: usage(stack, "bomb")["tasks"] == TASKS, "the bomb to be full", 60)
            group = Path(stack.call("Describe", unit="bomb")["cgroup"])
            for _ in range(ANSWERS):
                watch = Watch(manager)
                assert stack.row("bomb")["state"] == "running"
                took.append(watch.blamed_s())
            assert stack.call("Stop", units=["bomb"])["results"][0]["ok"]
            assert not group.exists(), "somebody is left in its group"
    took.sort()
    assert took[len(took) * 99 // 100] < P99_S, took[-20:]
