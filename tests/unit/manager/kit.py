"""A manager's parts as main.py puts them together, with the test as the keeper.

`sent()` gives what the manager has sent since the last call, as (op, tag, payload); `tell` is what
the keeper says to it. Processes are made up: the tracker believes what `owners` says.
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import Any

from supervisor.core.world import World
from supervisor.kernel import wire
from supervisor.kernel.keeper import Keeper
from supervisor.manager.journal import Header, Journal
from supervisor.manager.kernel_line import KernelLine
from supervisor.manager.launcher import Launcher
from supervisor.manager.machine import Machine
from supervisor.manager.notices import Notices
from supervisor.manager.observer import Observer
from supervisor.manager.performer import Performer
from supervisor.manager.supervisor import Supervisor
from supervisor.model.paths import paths
from supervisor.model.unit import Ready, Start, Unit

OPS = {number: name for name, number in wire.TO_KEEPER.items()}
Sent = tuple[str, int, bytes]


class Tracked:
    """A tracker of processes that are not there."""

    name = "cgroup"

    def __init__(self) -> None:
        self.owners: dict[int, str] = {}
        self.signals: list[tuple[str, int]] = []

    def owner(self, pid: int) -> str | None:
        return self.owners.get(pid)

    def signal(self, key: str, number: int, *_but: object, **_group: object) -> None:
        self.signals.append((key, number))

    def group(self, key: str) -> str:
        return key

    def empty(self, _key: str) -> bool:
        return True

    def remove(self, _key: str) -> bool:
        return True

    def watch(self, _key: str) -> list[int]:
        return []

    def kill(self, _key: str) -> None:
        """Nobody is there."""


class Bench:
    def __init__(
        self, home: Path, *units: Unit, line: KernelLine | None = None,
        header: Header | None = None,
    ) -> None:  # fmt: skip
        """`line`: the kernel's, of a machine whose manager this is. `header`: of the manager before
        this one."""
        mine, self.keeper = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.keeper.setblocking(False)
        where = paths({}, os.geteuid(), str(home), str(home / "state"), units=[str(home / "u")])
        for name in ("notify", "units", "u"):
            (home / name).mkdir(exist_ok=True)
        self.tracker = Tracked()
        tracker: Any = self.tracker  # all of a Tracker that is needed here
        end = Keeper(mine.detach())
        launcher = Launcher(end, tracker, where, set(), (0,), ("/bin/true",))
        header = header or Header(seed=1, booted=True)
        world = World(1, 1, machine=line is not None)
        world.closing_ns = header.closing_ns
        self.sup = Supervisor(
            where, end, tracker, world, Journal.create(), launcher, header,
            launcher.descriptors.stored,
        )  # fmt: skip
        self.notices = Notices(self.sup)
        performer = Performer(self.sup, self.notices)
        self.performer = performer
        self.sup.perform = performer.perform  # type: ignore[assignment]
        self.observer = Observer(self.sup)
        self.reports: list[str] = []
        self.sup.report = self.reports.append
        if line is not None:
            self.sup.machine = Machine(self.sup, line)
        self.errors: list[BaseException] = []
        self.sup.loop._on_error = self.errors.append
        world.define({unit.name: unit for unit in units})
        self.sup.defined = list(units)
        self.sup.turn()
        self.sent()

    def close(self) -> None:
        self.sup.loop._epoll.close()
        for fd in (*self.notices._sockets.values(), *self.performer.ready_pipes.values()):
            os.close(fd)
        os.close(self.sup.journal.fd)
        self.sup.keeper._socket.close()
        self.keeper.close()
        if self.errors:
            raise self.errors[0]

    def __getitem__(self, key: str) -> Any:
        return self.sup.world.instances[key]

    def sent(self) -> list[Sent]:
        found: list[Sent] = []
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self.keeper, wire.MAX_FRAME, wire.MAX_FDS)
            except BlockingIOError:
                return found
            for fd in fds:
                os.close(fd)
            while data:
                length, op, _, tag = struct.unpack_from("<IHHQ", data)
                found.append((OPS[op], tag, data[16:length]))
                data = data[length:]

    def tell(self, op: str, tag: int, payload: bytes = b"", fds: tuple[int, ...] = ()) -> None:
        head = struct.pack("<IHHQ", 16 + len(payload), wire.TO_MANAGER[op], len(fds), tag)
        socket.send_fds(self.keeper, [head + payload], fds)
        self.observer.on_keeper(1)
        self.sup.turn()

    def result(self, tag: int, err: int) -> None:
        self.tell("RESULT", tag, struct.pack("<i", err))

    def execed(self, key: str, pid: int) -> None:
        self.tell("EXECED", self[key].launch, struct.pack("<iIQ", pid, 0, 1))

    def exited(self, key: str, launch: int, pid: int, status: int = 0, code: int = 1) -> None:
        slot = struct.pack("<iIQQiiIIIhh", pid, 3, 1, 2, code, status, 0, 0, 0, 0, 0)
        self.tell("EXITED", launch, slot + key.encode() + b"\0")

    def start(self, name: str) -> None:
        self.sup.world.start([name], "the test", self.sup.now())
        self.sup.turn()


def speaker(name: str = "web") -> Unit:
    """A service that says by sd_notify when it is ready."""
    return Unit(name, command=("/bin/true",), start=Start(ready=Ready("notify")))
