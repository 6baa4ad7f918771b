"""Fault 19: every signal from 1 to 64 is sent to the keeper: it lives, and works."""

from __future__ import annotations

import os
import signal

from tests.keeper.keeperclient import Keeper, plan

DEADLY = {signal.SIGKILL, signal.SIGSTOP}  # which no process can do anything about


def test_keeper_survives_every_signal() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        service = manager.run(1, "web", plan("/bin/sleep", "1000"))
        launch = 1
        for number in range(1, 65):  # 32 and 33 too, which libc keeps for itself
            if number in DEADLY:
                continue
            os.kill(keeper.pid, number)
            launch += 1
            manager.run(launch, "task", plan("/bin/true"))
            manager.exited(launch)
        assert keeper.process.poll() is None
        assert [c.pid for c in manager.hello()[0]] == [service]


def test_keeper_survives_a_flood_of_queued_signals() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        for _ in range(2000):
            os.kill(keeper.pid, signal.SIGRTMAX)
            os.kill(keeper.pid, signal.SIGCHLD)
        manager.run(1, "task", plan("/bin/true"))
        manager.exited(1)
