"""A manager that boots by a plan, with the test as its keeper, and what the keeper told of it."""
from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Any

from supervisor.kernel import wire
from supervisor.kernel.keeper import LAUNCHES, Child, Frame, Keeper, child, encoded
from supervisor.manager.boot import boot
from supervisor.manager.boot_plan import (
    MAGIC,
    RECORD,
    BootPlan,
    begun,
)
from supervisor.manager.facts import BOOT_PLAN, Facts
from supervisor.manager.journal import Header
from supervisor.manager.kernel_line import KernelLine
from supervisor.model.unit import (
    Unit,
)
from tests.unit.manager.kit import Bench

DROPPED = ("DROP", 0)
SIGKILL = struct.pack("<ii", 9, 0)
LAUNCHING, RUNNING, EXITED = (
    wire.CHILD_STATES[name] for name in ("LAUNCHING", "RUNNING", "EXITED_UNACKED")
)
ENOENT, EXEC = 2, 21
WEB = Unit("web", command=("/bin/web",))

PLAIN = 'command = ["/bin/true"]\n'


def with_(**values: Any) -> Unit:
    return Unit(**{"name": "web", "command": ("/bin/web",), **values})


def payload(key: str, rest: bytes = b"steps") -> bytes:
    return key.encode() + b"\0" + rest


def record(kind: str, data: bytes = b"", text: bytes = b"\0") -> bytes:
    return RECORD.pack(ord(kind), len(text), len(data)) + text + data


def plan_of(path: Path, *payloads: bytes) -> str:
    """A plan file with these launches, and records that are nobody's business here."""
    frames = [encoded("SPAWN", number, one) for number, one in enumerate(payloads, 1)]
    others = record("G", b"frame", b"/groups\0") + record("F", b"S" * 99, b"/etc/passwd\0")
    path.write_bytes(MAGIC + others + b"".join(record("S", f) for f in frames) + record("E"))
    return str(path)


class Machine:
    """A manager that has not booted yet, with a unit directory of its own."""

    def __init__(self, home: Path, **files: str) -> None:
        self.home = home
        self.units = home / "u"
        self.units.mkdir(exist_ok=True)
        for name, text in files.items():
            (self.units / f"{name}.toml").write_text(text)
        self.path = home / "state" / "boot-plan"
        self.bench = Bench(home, header=Header(seed=1), line=KernelLine(""))
        self.bench.tracker.base = "/sys/fs/cgroup/unboxed/units"  # type: ignore[attr-defined]
        self.ended: list[str] = []
        self.bench.tracker.end = self.ended.append  # type: ignore[attr-defined]
        self.sup = self.bench.sup
        self.reports = self.bench.reports

    def plan(self, sent: dict[int, bytes] | None = None, highest: int = 0, ns: int = 0) -> BootPlan:
        """What is killed of it is seen to end."""
        made = BootPlan(str(self.path), ns, highest, dict(sent or {}), {})
        known = facts(later=tuple(told("EXITED", number) for number in sent or {}))
        known.stored = self.sup.stored
        known.stored.add(BOOT_PLAN)
        made.begin(self.sup, known)
        return made

    def boot(self) -> list[tuple[str, int, bytes]]:
        """As main does it; the frames about launches."""
        plan = self.sup.boot_plan
        assert plan is not None
        boot(self.sup, [])
        plan.end_strays(self.sup)
        self.sup.turn()
        return self.launched()

    def launched(self) -> list[tuple[str, int, bytes]]:
        wanted = ("SPAWN", "SIGNAL", "ACK", "DROP")
        return [frame for frame in self.bench.sent() if frame[0] in wanted]

    def execed(self, *keys: str) -> None:
        for number, key in enumerate(keys):
            self.bench.execed(key, 100 + number)


def slot(
    key: str, launch: int, state: int, error: int = 0, pid: int = 50
) -> tuple[Child, Frame]:
    """A child as the keeper tells of it, and what it wrote of it."""
    ended = state == EXITED
    row = Frame("CHILD", launch, struct.pack(
        "<iIQQiiIIIhh", pid, state, 11, 22 if ended else 0, 1 if ended else 0, 127 if error else 0,
        0, 0, 0, EXEC if error else 0, error,
    ) + key.encode() + b"\0", ())  # fmt: skip
    return child(row), row


def facts(
    *slots: tuple[Child, Frame], highest: int | None = None, later: tuple[Frame, ...] = ()
) -> Facts:
    made = Facts.__new__(Facts)
    made.children = [one for one, _ in slots]
    made.rows = [row for _, row in slots]
    made.stored = set()
    made.highest = max([0, *(one.launch for one in made.children)]) if highest is None else highest
    made.later = list(later)
    return made


def told(op: str, launch: int, data: bytes = b"") -> Frame:
    return Frame(op, launch, data, ())


def began(words: str, stored: str, known: Facts) -> BootPlan | None:
    """`stored`: the plan that the keeper has, "" for none."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    keeper = Keeper(ours.detach())
    with theirs:
        if stored:
            known.stored.add(BOOT_PLAN)
            answer = Frame("FD", LAUNCHES + 1, BOOT_PLAN.encode() + b"\0", ())
            with open(stored, "rb") as file:
                file.read()  # whoever read it before us moved its offset
                size = 16 + len(answer.payload)
                head = struct.pack("<IHHQ", size, wire.TO_MANAGER["FD"], 1, answer.tag)
                socket.send_fds(theirs, [head + answer.payload], [file.fileno()])
        found = begun(words, keeper, known)
    keeper._socket.close()
    return found


def execed(launch: int) -> Frame:
    return told("EXECED", launch, struct.pack("<iIQ", 50, 0, 11))
