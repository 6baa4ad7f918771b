"""Fault 25: a child has exactly the declared descriptors, and starts cost the keeper none."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from tests.keeper.keeperclient import (
    Keeper,
    execute,
    frame,
    log_step,
    open_fds,
    plan,
    small_program,
    step,
    text,
    wait_until,
)

LAUNCHES = 10_000


def rss_kib(pid: int) -> int:
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return int(fields["VmRSS"].split()[0])


def test_child_has_exactly_the_declared_descriptors() -> None:
    stray = os.open("/etc/passwd", os.O_RDONLY)  # what the keeper's own starter left open
    os.set_inheritable(stray, True)
    prefix = ["/bin/sh", "-c", 'exec 7</etc/passwd 8</etc/group; exec "$@"', "sh"]
    with Keeper(prefix=prefix) as keeper, socket.socket(socket.AF_UNIX) as listener:
        manager = keeper.manager()
        for number in range(40):  # many others that must not be seen
            os.close(manager.get(f"stream{number}", "STREAM", b"\0"))
        assert manager.put("listen:web", listener.fileno()) == 0
        reader, writer = os.pipe()
        steps = b"".join(
            [
                log_step("web"),
                step("SIGNALS", "Q", 0),
                step("SESSION"),
                step("OPEN", "iI", 0, os.O_RDONLY, texts=["/dev/zero"]),
                step("FD", "i", 3, texts=["listen:web"]),
                step("FD", "i", 9, texts=["listen:web"]),
                step("SENT_FD", "iI", 4, 1),
                step("SENT_FD", "iI", 5, 0),
                execute("/bin/sleep", "1000"),
            ]
        )
        with open("/dev/full", "wb") as full:
            pid = manager.run(1, "web", steps, [writer, full.fileno()])
        # It is told at the point of no return, at which execve(2) has descriptors still to close.
        wait_until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
        found = open_fds(pid)
        sock = os.readlink(f"/proc/self/fd/{listener.fileno()}")
        pipe = os.readlink(f"/proc/self/fd/{writer}")
        log = os.readlink(f"/proc/{pid}/fd/1")
        assert log.startswith("pipe:")
        assert found == {0: "/dev/zero", 1: log, 2: log, 3: sock, 4: "/dev/full", 5: pipe, 9: sock}
        os.close(reader)
        os.close(writer)
        pid = manager.run(2, "plain", plan("/bin/sleep", "1000"))
        wait_until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
        assert sorted(open_fds(pid)) == [0, 1, 2]
        own = open_fds(manager.pid)
        assert 3 not in own  # the relay has closed it
        assert {fd: where for fd, where in own.items() if "/etc/" in where} == {}
    os.close(stray)


def test_ten_thousand_launches_leave_nothing_behind() -> None:
    program = small_program()
    with Keeper() as keeper:
        manager = keeper.manager()

        def launch(first: int, count: int) -> None:
            manager.send(
                *[
                    frame(
                        "SPAWN", n, text(f"unit{n}") + plan(program, "exit", steps=log_step("all"))
                    )
                    for n in range(first, first + count)
                ]
            )
            ended = 0
            while ended < count:
                got = manager.next()
                assert got.op in ("EXECED", "EXITED")
                if got.op == "EXITED":
                    manager.send(frame("ACK", got.tag))
                    ended += 1

        launch(1, 100)
        keeper.logger()  # which came after the first of them: its socket is among the descriptors
        before, memory = open_fds(keeper.pid), rss_kib(keeper.pid)
        for first in range(101, LAUNCHES, 100):
            launch(first, 100)
        assert manager.hello()[0] == []
        assert open_fds(keeper.pid) == before
        assert rss_kib(keeper.pid) < memory + 1024
