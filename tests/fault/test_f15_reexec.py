"""Fault 15: 100 upgrades by re-exec: no child is lost, no descriptor is left over."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import socket
import stat
import tempfile
from pathlib import Path

from tests.keeper.keeperclient import (
    EXITED_UNACKED,
    SOURCES,
    Keeper,
    Peer,
    build,
    frame,
    keeper_binary,
    log_step,
    open_fds,
    plan,
    step,
    text,
    wait_until,
)

UPGRADES = 100
MARK = "unboxed-init can take over from another"


def upgrade(manager: Peer, program: str) -> int:
    return manager.result(frame("REEXEC", 5, text(program)), tag=5)


def test_hundred_upgrades_lose_nothing() -> None:
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager, logger = keeper.manager(), keeper.logger()
        fifo = f"{directory}/fifo"
        os.mkfifo(fifo)
        pids = {
            n: manager.run(n, f"unit{n}", plan("/bin/sleep", "1000", steps=log_step(f"unit{n}")))
            for n in range(1, 6)
        }
        manager.spawn(
            6, "launching", plan("/bin/true", steps=step("OPEN", "iI", 3, 0, texts=[fifo]))
        )
        manager.run(7, "ended", plan("/bin/true"))
        manager.expect("EXITED", tag=7)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        assert manager.put("nudge", theirs.fileno()) == 0
        children, names, ready = manager.hello()
        before = sorted(open_fds(keeper.pid).values())
        copies = [shutil.copy(keeper_binary(), f"{directory}/init{n}") for n in range(2)]
        for n in range(UPGRADES):
            assert upgrade(manager, copies[n % 2]) == 0
        assert os.readlink(f"/proc/{keeper.pid}/exe") == copies[1]
        after = manager.hello()
        assert (after[0], after[1]) == (children, names)
        assert after[2][2] & 2  # RESUMED
        assert (after[2][:2], after[2][3:]) == (ready[:2], ready[3:])  # the same logger and manager
        assert sorted(open_fds(keeper.pid).values()) == before
        assert {c.key: c.pid for c in after[0]} | {f"unit{n}": p for n, p in pids.items()} == {
            c.key: c.pid for c in after[0]
        }
        # All goes on: what was launching, what had ended, signals, nudges, streams.
        with open(fifo, "wb"):
            assert manager.started(6).op == "EXECED"
        manager.exited(6)
        assert next(c.state for c in after[0] if c.key == "ended") == EXITED_UNACKED
        manager.send(frame("ACK", 7))
        manager.signal(1, signal.SIGKILL)
        assert manager.exited(1).pid == pids[1]
        ours.send(b"")
        manager.expect("PING")
        manager.send(frame("PONG"))
        os.close(manager.get("another", "STREAM", b"\0"))
        assert "another" in [logger.expect("STREAM_OPEN").name for _ in range(6)]
        os.kill(manager.pid, signal.SIGKILL)
        assert keeper.manager().run(8, "next", plan("/bin/true"))
        ours.close()
        theirs.close()
        for opened in logger.queue:
            os.close(opened.fds[0])


def test_what_is_no_keeper_is_refused_and_nothing_changes() -> None:
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager = keeper.manager()
        pid = manager.run(1, "web", plan("/bin/sleep", "1000"))
        keeper.logger()  # which is started after that: its socket is among the descriptors
        broken = Path(directory) / "broken"
        broken.write_text(f"not a program, {MARK}")
        broken.chmod(0o755)
        plain = Path(directory) / "plain"
        plain.write_text(MARK)
        for program, error in (
            ("/nonexistent", errno.ENOENT),
            ("/bin/true", errno.ENOEXEC),
            (str(plain), errno.EACCES),
            (str(broken), errno.ENOEXEC),
        ):
            before = open_fds(keeper.pid)
            assert upgrade(manager, program) == error
            assert open_fds(keeper.pid) == before
        assert [c.pid for c in manager.hello()[0]] == [pid]
        manager.run(2, "other", plan("/bin/true"))  # descriptors are private again
        assert upgrade(manager, keeper_binary()) == 0


def test_keeper_with_other_tables_gives_back() -> None:
    """A keeper of another version finds that the tables are not as its own: the old one goes on."""
    with Keeper() as keeper, tempfile.TemporaryDirectory() as directory:
        manager = keeper.manager()
        pid = manager.run(1, "web", plan("/bin/sleep", "1000"))
        sources = Path(directory) / "sources"
        shutil.copytree(SOURCES, sources)
        tables = sources / "tables.c"
        ours = tables.read_text()
        tables.write_text(re.sub(r"TABLES_VERSION = \d+", "TABLES_VERSION = 999", ours))
        other = build(Path(directory), sources=sorted(sources.glob("*.c")))
        before = open_fds(keeper.pid)
        assert upgrade(manager, other) == errno.EBADMSG
        assert os.readlink(f"/proc/{keeper.pid}/exe") == os.path.realpath(keeper_binary())
        assert open_fds(keeper.pid) == before
        assert [c.pid for c in manager.hello()[0]] == [pid]
        assert "the old keeper goes on" in keeper.said()
        wrapper = Path(directory) / "wrapper"  # one that bears the mark, but lies
        wrapper.write_text(f"#!/bin/sh\n# {MARK}\nexec '{other}' \"$@\"\n")
        wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
        assert upgrade(manager, str(wrapper)) == errno.EBADMSG
        manager.signal(1, signal.SIGKILL)
        assert manager.exited(1).pid == pid
        wait_until(lambda: not Path(f"/proc/{pid}").exists())
