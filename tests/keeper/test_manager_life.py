"""The manager may die, hang or never come: services notice nothing, the keeper knows what to do."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.keeper.keeperclient import (
    EXITED_UNACKED,
    RUNNING,
    Child,
    Keeper,
    Peer,
    frame,
    parent_of,
    plan,
    text,
    wait_for_end,
    wait_until,
)


def test_next_manager_finds_children_exit_records_and_descriptors() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        state = os.memfd_create("state")
        os.write(state, b"remembered")
        assert manager.put("state", state) == 0
        os.close(state)
        alive = manager.run(1, "alive", plan("/bin/sleep", "1000"))
        gone = manager.run(2, "gone", plan("/bin/sleep", "1000"))
        os.kill(manager.pid, signal.SIGKILL)
        os.kill(gone, signal.SIGKILL)
        second = keeper.silent_manager()
        wait_until(lambda: not Path(f"/proc/{gone}").exists())
        children, names, ready = second.hello()
        assert {(c.key, c.pid, c.state) for c in children} == {
            ("alive", alive, RUNNING),
            ("gone", gone, EXITED_UNACKED),
        }
        assert names == ["state"]
        assert (ready[0], ready[4]) == (2, 2)  # highest launch, starts of managers
        found = second.get("state")
        assert os.pread(found, 100, 0) == b"remembered"
        os.close(found)
        second.send(frame("ACK", 2))
        assert [c.key for c in second.hello()[0]] == ["alive"]
        assert parent_of(alive) == keeper.pid


def test_what_a_manager_had_asked_before_it_died_is_done() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        os.kill(keeper.pid, signal.SIGSTOP)  # so that all of it waits in the socket
        reader, writer = os.pipe()
        for number in range(20):
            manager.send(frame("PUT", number, text(f"name{number}"), 1), fds=[reader])
        os.kill(manager.pid, signal.SIGKILL)
        manager.sock.close()
        os.kill(keeper.pid, signal.SIGCONT)
        _, names, _ = keeper.silent_manager().hello()
        assert sorted(names) == sorted(f"name{number}" for number in range(20))
        os.close(reader)
        os.close(writer)


def test_second_end_in_short_time_waits_a_little() -> None:
    with Keeper() as keeper:
        times = []
        for _ in range(4):
            manager = keeper.manager()
            times.append(time.monotonic())
            os.kill(manager.pid, signal.SIGKILL)
        gaps = [b - a for a, b in pairwise(times)]
        assert gaps[1] >= 0.1
        assert gaps[2] >= 0.2


def test_manager_that_never_speaks_is_given_up() -> None:
    with Keeper(manager=["/bin/false"], logger=["/bin/cat"]) as keeper:
        assert keeper.process.wait(10) == 1
        assert "giving up" in keeper.said()
    with Keeper(manager=["/nonexistent/manager"], logger=["/bin/cat"]) as keeper:
        assert keeper.process.wait(10) == 1
        assert "cannot execute /nonexistent/manager: No such file or directory" in keeper.said()


def test_signals_are_passed_on_with_their_sender() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        for number in (
            signal.SIGHUP,
            signal.SIGUSR1,
            signal.SIGUSR2,
            signal.SIGQUIT,
            signal.SIGPWR,
            signal.SIGWINCH,
            signal.SIGTERM,
            signal.SIGINT,
        ):
            os.kill(keeper.pid, number)
            assert manager.expect("SIGNALLED").ints("iiI") == (number, os.getpid(), os.getuid())


def test_signal_waits_for_the_next_manager() -> None:
    with Keeper() as keeper:
        os.kill(keeper.manager().pid, signal.SIGKILL)
        manager = keeper.silent_manager()
        os.kill(keeper.pid, signal.SIGTERM)
        manager.hello()
        assert manager.expect("SIGNALLED").ints("i") == (signal.SIGTERM,)


def test_third_stop_signal_stops_everything() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        polite = manager.run(1, "polite", plan("/bin/sleep", "1000"))
        keeper.logger()
        for _ in range(2):  # two of one signal could become one: each is seen to arrive
            os.kill(keeper.pid, signal.SIGTERM)
            manager.expect("SIGNALLED")
        os.kill(keeper.pid, signal.SIGTERM)
        wait_for_end(polite)
        assert keeper.finish() == 1
        assert not Path(f"/proc/{polite}").exists()


def test_stop_signal_before_any_manager_spoke_stops_everything() -> None:
    with Keeper() as keeper:
        keeper.silent_manager()
        os.kill(keeper.pid, signal.SIGINT)
        assert keeper.finish() == 1


def test_the_logger_is_started_after_the_first_launch_and_soon_without_one() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        began = time.monotonic()
        assert not keeper.waiting["logger"]
        manager.run(1, "service", plan("/bin/sleep", "1000"))
        keeper.logger()
        at_once = time.monotonic() - began
        assert keeper.end(manager, 0) == 0
    with Keeper() as keeper:
        began = time.monotonic()
        manager = keeper.manager()
        keeper.logger()
        assert time.monotonic() - began > max(0.7, at_once)
        assert keeper.end(manager, 0) == 0


def test_exit_kills_what_is_left_and_gives_the_status() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        main = manager.run(
            1, "stubborn", plan("/bin/sh", "-c", "trap '' TERM; setsid sleep 1000 & wait")
        )
        children = Path(f"/proc/{main}/task/{main}/children")
        wait_until(lambda: children.read_text().split())
        sleeper = int(children.read_text())
        assert keeper.end(manager, 42) == 42
        assert not Path(f"/proc/{main}").exists()
        assert not Path(f"/proc/{sleeper}").exists()


NAMESPACE = ["unshare", "-Urpfm", "--kill-child", "--mount-proc"]


@pytest.mark.skipif(
    subprocess.run([*NAMESPACE, "true"], check=False, capture_output=True).returncode != 0,
    reason="needs user and pid namespaces",
)
def test_keeper_is_pid_1_of_a_namespace() -> None:
    with Keeper(prefix=NAMESPACE) as keeper:
        manager = keeper.silent_manager()
        ready = manager.hello()[2]
        assert ready[2] == 1  # PID1
        manager.run(1, "web", plan("/bin/sh", "-c", "(setsid sleep 1000 &) ; sleep 0.05 & exit 3"))
        assert manager.exited(1).status == 3
        wait_until(lambda: manager.hello()[2][1] == 1)  # the short one, reaped
        os.kill(
            int(Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children").read_text()), signal.SIGHUP
        )
        assert manager.expect("SIGNALLED").ints("i") == (signal.SIGHUP,)


def test_nothing_is_launched_after_exit() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        keeper.logger()
        launch = frame("SPAWN", 1, text("late") + plan("/bin/sleep", "1000"))
        manager.send(frame("EXIT", 0, struct.pack("<i", 0)), launch)
        assert manager.expect("REFUSED", tag=1).ints("i") == (108,)  # ESHUTDOWN
        assert keeper.finish() == 0


def test_logger_gets_all_streams_and_its_time_to_drain_at_exit() -> None:
    with Keeper() as keeper:
        manager, logger = keeper.manager(), keeper.logger()
        writer = manager.get("web", "STREAM", b"\0")
        pipe = logger.expect("STREAM_OPEN").fds[0]
        os.write(writer, b"last words")
        manager.send(frame("EXIT", 0, struct.pack("<i", 3)))
        os.kill(manager.pid, signal.SIGKILL)
        assert logger.sock.recv(1) == b""  # told, then hung up
        assert os.read(pipe, 100) == b"last words"
        assert keeper.process.poll() is None  # it waits for the logger's own end
        assert keeper.finish() == 3
        for fd in (writer, pipe):
            os.close(fd)


def test_nudge_makes_the_keeper_ask() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        assert manager.put("nudge", theirs.fileno()) == 0
        for _ in range(3):
            ours.send(b"x")
            ours.send(b"x")  # a second one asks nothing more while the first question stands
            manager.expect("PING")
            assert manager.get("nothing") == -2
            assert not manager.queue
            manager.send(frame("PONG"))
        assert manager.put("nudge", ours.fileno()) == 0  # replaced: the old one is forgotten
        with open("/dev/null", "rb") as file:  # nothing that can be watched
            assert manager.put("nudge", file.fileno()) == 1  # EPERM
        ours.close()
        theirs.close()


def test_manager_that_does_not_read_gets_everything_later_and_in_order() -> None:
    """Nothing is built up for it: thousands of exits wait as records, not as frames."""
    with Keeper() as keeper:
        manager = keeper.manager()
        count = 3000
        for first in range(1, count, 50):
            manager.send(
                *[
                    frame("SPAWN", n, text(f"k{n}" + "x" * 80) + plan("/bin/true"))
                    for n in range(first, first + 50)
                ]
            )
        seen: dict[int, list[str]] = {}
        while sum(len(ops) == 2 for ops in seen.values()) < count:
            got = manager.next()
            seen.setdefault(got.tag, []).append(got.op)
            if got.op == "EXITED":
                assert Child.of(got).key == f"k{got.tag}" + "x" * 80
        assert set(map(tuple, seen.values())) == {("EXECED", "EXITED")}
        manager.send(*[frame("ACK", n) for n in range(1, count + 1)])
        assert manager.hello()[0] == []


def exit_by(manager: Peer, milliseconds: int, status: int) -> None:
    manager.send(frame("EXIT_BY", 0, struct.pack("<ii", milliseconds, status)))


def test_exit_by_ends_the_keeper_whatever_becomes_of_the_manager() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        keeper.logger()
        left = manager.run(1, "left", plan("/bin/sleep", "1000"))
        began = time.monotonic()
        exit_by(manager, 1500, 3)
        os.kill(manager.pid, signal.SIGKILL)
        keeper.manager()
        wait_for_end(left)
        assert time.monotonic() - began >= 1.4
        assert keeper.finish() == 3


def test_a_later_exit_by_replaces_the_earlier_one_and_an_exit_both() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        exit_by(manager, 60_000, 3)
        exit_by(manager, 50_000, 4)
        assert keeper.end(manager, 5) == 5
    with Keeper() as keeper:
        manager = keeper.manager()
        keeper.logger()
        left = manager.run(1, "left", plan("/bin/sleep", "1000"))
        exit_by(manager, 60_000, 3)
        exit_by(manager, -1, 6)
        wait_for_end(left)
        assert keeper.finish() == 6
