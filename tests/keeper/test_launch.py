"""Launches from outside: keys and numbers, records, signals, adoption, hung children."""

from __future__ import annotations

import os
import signal
import struct
import sys
import tempfile
from pathlib import Path

from supervisor.kernel.wire import CHILD_STATES
from tests.keeper.keeperclient import (
    EXITED_UNACKED,
    Child,
    Keeper,
    execute,
    frame,
    plan,
    step,
    wait_until,
)

PYTHON = os.path.realpath(sys.executable)


def test_second_launch_of_a_key_is_refused_until_the_first_is_acknowledged() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        manager.run(1, "web", plan("/bin/sleep", "1000"))
        manager.spawn(2, "web", plan("/bin/true"))
        assert manager.started(2).ints("i") == (17,)  # EEXIST
        manager.signal(1, signal.SIGKILL)
        assert Child.of(manager.expect("EXITED", tag=1)).status == signal.SIGKILL
        manager.spawn(3, "web", plan("/bin/true"))
        assert manager.started(3).ints("i") == (17,)
        manager.send(frame("ACK", 1))
        assert manager.run(4, "web", plan("/bin/true"))
        manager.exited(4)


def test_launch_numbers_only_rise() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        manager.run(10, "a", plan("/bin/true"))
        for launch in (10, 9, 0, 1 << 56, (1 << 64) - 1):
            manager.spawn(launch, "b", plan("/bin/true"))
            assert manager.expect("REFUSED", tag=launch).ints("i") == (22,)
        assert manager.hello()[2][0] == 10


def test_exit_record_tells_what_was_used() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        code = "x = bytearray(30_000_000)\nfor _ in range(1_000_000): pass"
        manager.run(1, "busy", plan(PYTHON, "-I", "-S", "-c", code))
        record = manager.exited(1)
        assert record.key == "busy"
        assert record.state == EXITED_UNACKED
        assert record.peak_kib > 30_000
        assert record.user_ms > 0
        assert record.started < record.ended


def test_killed_before_exec_is_a_failed_launch() -> None:
    """A step that hangs (here: a FIFO that nobody writes) holds the child, not the keeper."""
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager = keeper.manager()
        fifo = f"{directory}/fifo"
        os.mkfifo(fifo)
        manager.spawn(
            1, "hung", plan("/bin/true", steps=step("OPEN", "iI", 3, os.O_RDONLY, texts=[fifo]))
        )
        manager.run(2, "other", plan("/bin/true"))  # the keeper goes on
        manager.exited(2)
        (hung,) = manager.hello()[0]
        assert hung.state == CHILD_STATES["LAUNCHING"]
        manager.signal(1, signal.SIGKILL, scope=1)
        failure = manager.started(1)
        assert (failure.op, *failure.ints("iIIi")[1:]) == ("LAUNCH_FAILED", 5, 21, 4)  # EXEC, EINTR
        record = manager.exited(1)
        assert (record.code, record.status) == (os.CLD_KILLED, signal.SIGKILL)


def test_signal_reaches_the_process_or_its_group() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        pid = manager.run(1, "tree", plan("/bin/sh", "-c", "sleep 1000 & wait"))
        children = Path(f"/proc/{pid}/task/{pid}/children")
        wait_until(lambda: children.read_text().split())
        sleeper = int(children.read_text())
        manager.signal(1, signal.SIGTERM, scope=1)
        assert manager.exited(1).status == signal.SIGTERM
        wait_until(lambda: not Path(f"/proc/{sleeper}").exists())
        for launch, number in ((1, 15), (99, 15)):
            manager.signal(launch, number)
            assert manager.expect("RESULT", tag=launch).ints("i") == (3,)  # ESRCH
        manager.signal(1, 65)
        assert manager.expect("RESULT", tag=1).ints("i") == (22,)


def test_adopted_process_becomes_the_main_one() -> None:
    """As a daemon does: the main process forks another one, names it, and ends."""
    with Keeper() as keeper:
        manager = keeper.manager()
        to_us, theirs = os.pipe()
        from_us, ours = os.pipe()
        steps = step("SENT_FD", "iI", 9, 0) + step("SENT_FD", "iI", 8, 1)
        body = b"".join(
            [
                step("SIGNALS", "Q", 0),
                step("SESSION"),
                steps,
                step("ENV", "I", 1, texts=["PATH=/bin"]),
                execute(
                    "/bin/sh", "-c", "sleep 1000 >&- 9>&- & echo $! >&9; read line <&8; exit 5"
                ),
            ]
        )
        manager.run(1, "daemon", body, [theirs, from_us])
        sleeper = int(os.read(to_us, 20))
        adopt = frame("ADOPT", 1, struct.pack("<i", sleeper))
        assert manager.result(adopt, tag=1) == 0  # it is the shell's child still: heir
        os.write(ours, b"\n")
        wait_until(lambda: [c.pid for c in manager.hello()[0]] == [sleeper])
        manager.signal(1, signal.SIGKILL)
        record = manager.exited(1)
        assert (record.pid, record.status) == (sleeper, signal.SIGKILL)
        for fd in (to_us, theirs, from_us, ours):
            os.close(fd)
        assert (
            manager.result(frame("ADOPT", 1, struct.pack("<i", os.getpid())), tag=1) == 3
        )  # ESRCH
