"""The store of named descriptors, and log streams, which are names that mean something."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.keeper.keeperclient import (
    Keeper,
    Peer,
    frame,
    log_step,
    open_fds,
    plan,
    text,
    wait_until,
)


def same(a: int, b: int) -> bool:
    first, second = os.fstat(a), os.fstat(b)
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def test_put_get_and_drop() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        before = len(open_fds(keeper.pid))
        reader, writer = os.pipe()
        for name in ("state", "listen:web:http", "listen:web:admin", "listen:db:sql", "x" * 119):
            assert manager.put(name, reader) == 0
        got = manager.get("listen:web:http")
        assert same(got, reader)
        os.close(got)
        assert manager.put("state", writer) == 0  # in place of the other
        got = manager.get("state")
        os.write(got, b"w")
        os.close(got)
        assert manager.get("nothing") == -2
        assert manager.drop("nothing") == 2
        assert manager.drop("listen:web:*") == 0
        assert sorted(manager.hello()[1]) == ["listen:db:sql", "state", "x" * 119]
        assert manager.drop("state") == 0
        assert manager.drop("*") == 0
        assert manager.hello()[1] == []
        assert len(open_fds(keeper.pid)) == before
        os.close(reader)
        os.close(writer)


def test_bad_names_are_refused() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        with open("/dev/null", "rb") as file:
            for name in ("", "x" * 120, "log:web"):
                assert manager.put(name, file.fileno()) == 22
        assert manager.result(frame("PUT", 1, text("no descriptor")), tag=1) == 22
        assert manager.result(frame("PUT", 1, text("more") + b"bytes\0", 1), tag=1) == 22


def test_stream_is_one_descriptor_and_its_writer_can_only_write() -> None:
    with Keeper() as keeper:
        manager, logger = keeper.manager(), keeper.logger()
        before = len(open_fds(keeper.pid))
        writer = manager.get("web/0", "STREAM", b"keep=100\0")
        opened = logger.expect("STREAM_OPEN")
        assert opened.payload == b"web/0\0keep=100\0"
        wait_until(lambda: len(open_fds(keeper.pid)) == before + 1)  # what was sent is closed
        assert os.get_blocking(writer)
        assert os.write(writer, b"hello") == 5
        assert os.read(opened.fds[0], 10) == b"hello"
        flags = int(Path(f"/proc/self/fdinfo/{writer}").read_text().split()[3], 8)
        assert flags & os.O_ACCMODE == os.O_WRONLY
        os.close(writer)
        os.close(opened.fds[0])


def test_new_logger_is_sent_every_stream_again() -> None:
    with Keeper() as keeper:
        manager, logger = keeper.manager(), keeper.logger()
        names = [f"unit{n}" for n in range(200)]
        for name in names:
            os.close(manager.get(name, "STREAM", b"\0"))
        for _ in range(2):
            found: list[str] = []
            while len(found) < len(names):
                opened = logger.expect("STREAM_OPEN")
                found.append(opened.name)
                os.close(opened.fds[0])
            assert sorted(found) == sorted(names)
            os.kill(logger.pid, signal.SIGKILL)
            logger = keeper.logger()


def test_other_options_are_told_and_the_pipe_stays() -> None:
    with Keeper() as keeper:
        manager, logger = keeper.manager(), keeper.logger()
        os.close(manager.get("web", "STREAM", b"keep=1\0"))
        first = logger.expect("STREAM_OPEN")
        manager.run(1, "web", plan("/bin/true", steps=log_step("web", "keep=1")))
        manager.run(2, "web2", plan("/bin/true", steps=log_step("web", "keep=2")))
        second = logger.expect("STREAM_OPEN")
        assert second.payload == b"web\0keep=2\0"
        assert same(first.fds[0], second.fds[0])
        assert not logger.queue
        for opened in (first, second):
            os.close(opened.fds[0])


def drained(manager: Peer, keeper: Keeper, before: int) -> None:
    def told() -> bool:
        manager.get("nothing")  # the keeper looks whenever it is awake
        return len(open_fds(keeper.pid)) == before

    wait_until(told)


def test_dropped_stream_is_kept_until_it_is_empty() -> None:
    with Keeper() as keeper:
        manager, logger = keeper.manager(), keeper.logger()
        before = len(open_fds(keeper.pid))
        writer = manager.get("web", "STREAM", b"\0")
        opened = logger.expect("STREAM_OPEN")
        os.write(writer, b"unread")
        os.close(writer)
        assert manager.drop("log:web") == 0
        assert logger.expect("STREAM_GONE").payload == b"web\0"
        assert manager.drop("log:web") == 2
        assert manager.hello()[1] == []
        os.close(opened.fds[0])
        os.kill(logger.pid, signal.SIGKILL)  # before it has read: the next one will
        logger = keeper.logger()
        opened = logger.expect("STREAM_OPEN")
        assert logger.expect("STREAM_GONE").payload == b"web\0"
        assert os.read(opened.fds[0], 100) == b"unread"
        os.close(opened.fds[0])
        drained(manager, keeper, before)


def test_dropped_stream_that_is_wanted_again_goes_on() -> None:
    with Keeper() as keeper:
        manager, logger = keeper.manager(), keeper.logger()
        writer = manager.get("web", "STREAM", b"\0")
        first = logger.expect("STREAM_OPEN")
        os.write(writer, b"old ")
        assert manager.drop("log:web") == 0
        again = manager.get("web", "STREAM", b"\0")
        os.write(again, b"new")
        second = logger.expect("STREAM_OPEN")
        assert os.read(second.fds[0], 100) == b"old new"
        for fd in (writer, again, *first.fds, *second.fds):
            os.close(fd)
