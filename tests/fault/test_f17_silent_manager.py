"""Fault 17: a manager that answers nothing is replaced; its services run on."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from tests.keeper.keeperclient import Keeper, frame, plan, wait_for_end

QUICK = {"UNBOXED_PING_TIMEOUT_MS": "200"}


def test_manager_that_acknowledges_no_exit_is_replaced() -> None:
    with Keeper(**QUICK) as keeper:
        manager = keeper.manager()
        service = manager.run(1, "web", plan("/bin/sleep", "1000"))
        manager.run(2, "task", plan("/bin/true"))
        manager.expect("EXITED", tag=2)  # told, but not acknowledged
        wait_for_end(manager.pid)
        second = keeper.silent_manager()
        children, _, _ = second.hello()
        assert {c.key: c.pid for c in children}["web"] == service
        second.send(frame("ACK", 2))
        assert [c.key for c in second.hello()[0]] == ["web"]
        assert "the manager is silent; replacing it" in keeper.said()


def test_stopped_manager_is_found_out_by_a_nudge() -> None:
    with Keeper(**QUICK) as keeper:
        manager = keeper.manager()
        service = manager.run(1, "web", plan("/bin/sleep", "1000"))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        assert manager.put("nudge", theirs.fileno()) == 0
        os.kill(manager.pid, signal.SIGSTOP)
        ours.send(b"")
        wait_for_end(manager.pid)
        second = keeper.manager()
        assert Path(f"/proc/{service}").exists()
        ours.send(b"")  # the next one is asked anew
        second.expect("PING")
        second.send(frame("PONG"))
        ours.close()
        theirs.close()


def test_manager_that_goes_on_acknowledging_is_left_alone() -> None:
    """Each acknowledgement shows life: only silence for the whole time counts."""
    with Keeper(UNBOXED_PING_TIMEOUT_MS="2000") as keeper:
        manager = keeper.manager()
        count = 12
        for launch in range(1, count):
            manager.run(launch, f"task{launch}", plan("/bin/true"))
            manager.expect("EXITED", tag=launch)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.settimeout(0.4)  # that long between two of them, twice the patience in all
        for launch in range(1, count):
            manager.send(frame("ACK", launch))
            try:
                ours.recv(1)
            except TimeoutError:
                continue
        assert manager.hello()[2][4] == 1  # still the first one
        ours.close()
        theirs.close()


def test_manager_that_never_greets_is_replaced_once_something_waits_for_it() -> None:
    with Keeper(**QUICK) as keeper:
        manager = keeper.manager()
        manager.run(1, "web", plan("/bin/sleep", "1000"))
        os.kill(manager.pid, signal.SIGKILL)
        mute = keeper.silent_manager()
        (child,) = (
            int(pid)
            for pid in Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children").read_text().split()
            if Path(f"/proc/{pid}/comm").read_text() == "sleep\n"
        )
        os.kill(child, signal.SIGKILL)
        wait_for_end(mute.pid)
        assert [c.key for c in keeper.silent_manager().hello()[0]] == ["web"]
