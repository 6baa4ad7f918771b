"""What brings services into the world hangs, dies or is replaced: nobody else's launch is lost."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path

from supervisor.kernel.wire import CHILD_STATES
from tests.keeper.keeperclient import Child, Keeper, Peer, frame, plan, step, text, wait_until

EAGAIN, EINTR = 11, 4
SPAWNERS, ORDERS = 32, 64  # at most, in keeper.h


def spawners(keeper: Keeper) -> list[int]:
    """Their pids, and those of children that have not executed yet."""
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and is_spawner(entry, keeper.pid)
    ]


def is_spawner(entry: Path, parent: int) -> bool:
    try:
        name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
    except OSError:
        return False
    return name == "unboxed-spawner" and int(rest.split()[1]) == parent and rest.split()[0] != "Z"


def hang(manager: Peer, fifo: str, first: int, count: int) -> None:
    """Launches that wait in a step: for a FIFO that nobody writes."""
    steps = step("OPEN", "iI", 3, os.O_RDONLY, texts=[fifo])
    for launch in range(first, first + count):
        manager.spawn(launch, f"hung{launch}", plan("/bin/true", steps=steps))


def test_launches_that_hang_hold_up_nobody() -> None:
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager, fifo, hung = keeper.manager(), f"{directory}/fifo", 20
        os.mkfifo(fifo)
        hang(manager, fifo, 1, hung)
        begun = time.monotonic()
        manager.run(100, "other", plan("/bin/true"))
        assert time.monotonic() - begun < 5  # a spawner more every 20 ms, on a slow machine too
        manager.exited(100)
        assert {child.state for child in manager.hello()[0]} == {CHILD_STATES["LAUNCHING"]}
        for launch in range(1, hung + 1):
            manager.signal(launch, signal.SIGKILL)
            failure = manager.expect("LAUNCH_FAILED", tag=launch)
            assert failure.ints("iIIi")[3] == EINTR
            assert Child.of(manager.expect("EXITED", tag=launch)).status == signal.SIGKILL
        wait_until(lambda: len(spawners(keeper)) <= (os.cpu_count() or 1) + 1)


def test_more_hanging_launches_than_there_is_room_for_are_refused() -> None:
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager, fifo = keeper.manager(), f"{directory}/fifo"
        os.mkfifo(fifo)
        hang(manager, fifo, 1, ORDERS)
        manager.spawn(100, "other", plan("/bin/true"))
        assert manager.expect("REFUSED", tag=100).ints("i") == (EAGAIN,)
        assert len(spawners(keeper)) <= 2 * SPAWNERS
        for launch in range(1, ORDERS + 1):
            manager.signal(launch, signal.SIGKILL)
        for launch in range(1, ORDERS + 1):
            manager.expect("EXITED", tag=launch)
        manager.run(101, "other", plan("/bin/true"))
        manager.exited(101)


def test_a_stop_reaches_what_is_not_born_yet() -> None:
    """All spawners hang, so the order waits; its signal is for the process that is to come."""
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager, fifo = keeper.manager(), f"{directory}/fifo"
        os.mkfifo(fifo)
        hang(manager, fifo, 1, SPAWNERS)
        wait_until(lambda: len(spawners(keeper)) == 2 * SPAWNERS)
        manager.spawn(100, "late", plan("/bin/sleep", "1000"))
        manager.signal(100, signal.SIGKILL)
        for launch in range(1, SPAWNERS + 1):
            manager.signal(launch, signal.SIGKILL)
        assert Child.of(manager.expect("EXITED", tag=100)).status == signal.SIGKILL


def test_a_killed_spawner_costs_the_launch_that_it_was_at_only() -> None:
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager, fifo = keeper.manager(), f"{directory}/fifo"
        os.mkfifo(fifo)
        manager.run(1, "first", plan("/bin/true"))
        manager.exited(1)
        hang(manager, fifo, 2, 1)
        wait_until(lambda: any(child.pid for child in manager.hello()[0] if child.launch == 2))
        for pid in spawners(keeper):
            os.kill(pid, signal.SIGKILL)
        for launch in range(10, 20):
            manager.run(launch, f"unit{launch}", plan("/bin/true"))
            manager.exited(launch)
        assert manager.expect("LAUNCH_FAILED", tag=2).ints("iIIi")[3] == EINTR
        assert Child.of(manager.expect("EXITED", tag=2)).status == signal.SIGKILL


def test_a_launch_under_way_survives_the_next_keeper() -> None:
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager, fifo = keeper.manager(), f"{directory}/fifo"
        os.mkfifo(fifo)
        hang(manager, fifo, 1, 1)
        wait_until(lambda: any(child.pid for child in manager.hello()[0]))
        own = os.readlink(f"/proc/{keeper.pid}/exe")
        manager.send(frame("REEXEC", 7, text(own)))
        assert manager.expect("RESULT", tag=7).ints("i") == (0,)
        manager.run(2, "other", plan("/bin/true"))
        manager.exited(2)
        with open(fifo, "wb"):
            assert manager.expect("EXECED", tag=1)
        assert Child.of(manager.expect("EXITED", tag=1)).status == 0


def test_no_spawner_outlives_its_keeper() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        manager.run(1, "first", plan("/bin/true"))
        (pid, *_) = spawners(keeper)
        os.kill(keeper.pid, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{pid}/exe").exists())
