"""The compiled boot plan: which launches follow, what became of those that were sent, and what is
written for the next boot."""
from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import pytest

from supervisor.core import graph as graphs
from supervisor.kernel import wire
from supervisor.kernel.keeper import Child, Frame, Keeper, child, encoded
from supervisor.manager import boot_plan, make_boot_plan
from supervisor.manager.boot import boot
from supervisor.manager.boot_plan import (
    MAGIC,
    RECORD,
    BootPlan,
    _follows,
    key_of,
    launches,
)
from supervisor.manager.facts import BOOT_PLAN, Facts
from supervisor.manager.journal import Header
from supervisor.manager.kernel_line import KernelLine
from supervisor.model import action as do
from supervisor.model.sandbox import Network, Sandbox, Secret
from supervisor.model.unit import (
    CORES,
    Agent,
    Conditions,
    Edge,
    Limits,
    Listen,
    Logs,
    Needs,
    Ready,
    Reload,
    Restart,
    Start,
    Stop,
    Unit,
)
from tests.unit.manager.kit import Bench

SIGKILL = struct.pack("<ii", 9, 0)
LAUNCHING, RUNNING, EXITED = (
    wire.CHILD_STATES[name] for name in ("LAUNCHING", "RUNNING", "EXITED_UNACKED")
)
ENOENT, EXEC = 2, 21
WEB = Unit("web", command=("/bin/web",))

# Field of Unit -> a value of it, and whether a unit that says so is started by a plan. A new field
# belongs in here, with what was decided of it.
FIELDS: dict[str, tuple[Any, bool]] = {
    "name": ("other", True),
    "source": ("/u/web.toml", True),
    "description": ("words", True),
    "documentation": (("https://example.org",), True),
    "kind": ("task", True),
    "command": (("/bin/other", "{instance}"), True),
    "autostart": (False, True),
    "instances": (3, True),
    "pin": (True, False),
    "directory": ("/srv", True),
    "umask": (0o022, True),
    "user": ("root", False),
    "group": ("root", False),
    "groups": (("adm",), False),
    "env": ((("NAME", "{unit}"),), True),
    "env_files": (("/etc/web.env",), False),
    "needs": (Needs(before=(Edge("db"),)), True),
    "conditions": (Conditions(path_exists=("/etc/web", "!/etc/no")), True),
    "start": (Start(timeout_ns=1, ready=Ready("exit")), True),
    "restart": (Restart(when="never"), True),
    "stop": (Stop(scope="main"), True),
    "reload": (Reload(kind="restart"), True),
    "listen": ((Listen("http", "tcp", port=80),), False),
    "logs": (Logs(to="console"), True),
    "limits": (Limits(nice=1), False),
    "sandbox": (Sandbox(level="off"), True),
    "network": (Network(), False),
    "root": ("/srv/root", False),
    "secrets": ((Secret("key", "/etc/key"),), False),
    "attach": (("tail",), False),
    "agent": (Agent(), False),
}


def with_(**values: Any) -> Unit:
    return Unit(**{"name": "web", "command": ("/bin/web",), **values})


@pytest.mark.parametrize("field", Unit.__struct_fields__)
def test_every_key_is_decided_upon(field: str) -> None:
    value, follows = FIELDS[field]
    unit = with_(**{field: value})
    assert unit != WEB
    assert _follows(unit) is follows


@pytest.mark.parametrize(
    "unit, follows",
    [
        (WEB, True),
        (with_(sandbox=Sandbox()), False),
        (with_(sandbox=Sandbox(level="off", jit=False)), False),
        (with_(sandbox=Sandbox(level="strict")), False),
        (with_(start=Start(ready=Ready("exec"))), True),
        (with_(start=Start(ready=Ready("notify"))), False),
        (with_(start=Start(ready=Ready("fd", fd=3))), False),
        (with_(start=Start(ready=Ready("log", pattern="up"))), False),
        (with_(start=Start(before=(("/bin/prepare",),))), False),
        (with_(start=Start(after=(("/bin/tell",),))), True),
        (with_(conditions=Conditions(virtualization=("container",))), True),
        (with_(conditions=Conditions(virtualization=("!container",))), True),
        (with_(conditions=Conditions(virtualization=("!container", "vm"))), False),
        (with_(conditions=Conditions(virtualization=("yes",))), False),
        (with_(conditions=Conditions(kernel_cmdline=("crashkernel",))), False),
        (with_(conditions=Conditions(host=("a*",))), False),
        (with_(conditions=Conditions(first_boot=True)), False),
        (with_(conditions=Conditions(first_boot=False)), False),
        (with_(instances=CORES), False),  # another number of CPUs, other launches
        (with_(command=("web-{instance}",)), False),  # another program for each
        (with_(command=("web",), env=(("PATH", "/srv/{unit}"),)), False),
    ],
)
def test_whether_its_launch_follows(unit: Unit, follows: bool) -> None:
    assert _follows(unit) is follows


# --- what was sent --------------------------------------------------------------------------


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
        self.sup = self.bench.sup
        self.reports = self.bench.reports
        self.ended: list[str] = []  # groups of which nothing was left
        self.bench.tracker.end = self.ended.append  # type: ignore[attr-defined]

    def plan(self, sent: dict[int, bytes] | None = None, highest: int = 0, ns: int = 0) -> BootPlan:
        made = BootPlan(str(self.path), ns, highest, sent or {}, {})
        self.facts = facts(later=tuple(told("EXITED", number) for number in sent or {}))
        made.begin(self.sup, self.facts)
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
        return [frame for frame in self.bench.sent() if frame[0] in ("SPAWN", "SIGNAL", "ACK")]

    def execed(self, *keys: str) -> None:
        for number, key in enumerate(keys):
            self.bench.execed(key, 100 + number)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    made: list[Machine] = []

    def begin(**files: str) -> Machine:
        made.append(Machine(tmp_path, **files))
        return made[-1]

    yield begin
    for one in made:
        one.bench.close()


def test_a_launch_that_was_sent_is_not_sent_again(machine: Callable[..., Machine]) -> None:
    one = machine()
    plan = one.plan({3: payload("web")}, highest=5, ns=77)
    assert one.sup.marks["plan"] == 77
    assert one.sup.world.turn.next_launch == 5
    assert one.sup.world.turn.taken == {"web": 3}
    assert plan.has_sent(one.sup, do.Launch("web", 3), WEB, payload("web"), alone=True)
    assert plan.first == [(WEB, payload("web"))]
    plan.end_strays(one.sup)
    one.sup.flush()
    assert one.launched() == []
    assert one.reports == []


def test_what_was_sent_and_is_another_launch_today_is_ended_and_launched(
    machine: Callable[..., Machine],
) -> None:
    one = machine(web='command = "/bin/web"\n')
    one.plan({3: payload("web", b"others")}, highest=5)
    ended, acknowledged, launched = one.boot()
    assert (ended, acknowledged[:2]) == (("SIGNAL", 3, SIGKILL), ("ACK", 3))
    assert (launched[0], launched[1], key_of(launched[2])) == ("SPAWN", 6, "web")
    assert one.reports == ["ending web: it was started by a plan that is out of date"]
    assert one.ended == ["web"]
    assert one.facts.later == []


def test_what_nobody_wants_is_killed(machine: Callable[..., Machine]) -> None:
    one = machine()
    plan = one.plan({3: payload("web/0"), 4: payload("db")}, highest=5)
    assert not plan.has_sent(one.sup, do.Launch("new", 6), WEB, payload("new"), alone=True)
    plan.end_strays(one.sup)
    one.sup.flush()
    assert [frame[:2] for frame in one.launched()] == [
        ("SIGNAL", 3), ("ACK", 3), ("SIGNAL", 4), ("ACK", 4)
    ]  # fmt: skip
    assert one.ended == ["web/0", "db"]
    assert one.reports == [
        f"ending {key}: it was started by a plan that is out of date" for key in ("web/0", "db")
    ]
    assert one.sup.world.turn.taken == {}  # a start that comes later is a new launch


@pytest.mark.parametrize("why", ["booted", "job", "not alone", "user"])
def test_what_does_not_go_into_the_next_plan(machine: Callable[..., Machine], why: str) -> None:
    one = machine()
    plan = one.plan()
    one.sup.header.booted = why == "booted"
    launch = do.Launch("web", 1, "after" if why == "job" else "")
    unit = with_(user="www") if why == "user" else WEB
    alone = why != "not alone"
    assert not plan.has_sent(one.sup, launch, unit, payload("web"), alone=alone)
    assert plan.first == []


def test_without_a_time_there_is_no_mark(machine: Callable[..., Machine]) -> None:
    one = machine()
    one.plan({1: payload("web")}, highest=1)
    assert "plan" not in one.sup.marks


# --- what a manager is told -----------------------------------------------------------------


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


def execed(launch: int) -> Frame:
    return told("EXECED", launch, struct.pack("<iIQ", 50, 0, 11))


def begun(text: str, found: Facts) -> BootPlan | None:
    """As if the keeper held the plan that the path names."""
    path = text.partition(" ")[2]
    found.stored = {BOOT_PLAN} if os.path.exists(path) else set()

    def fetch(_keeper: Keeper, name: str) -> tuple[int, list[Frame]]:
        assert name == BOOT_PLAN
        return os.open(path, os.O_RDONLY), []

    with patch.object(boot_plan, "fetch", fetch):
        return boot_plan.begun(text, cast("Keeper", None), found)


def test_the_first_manager_has_what_was_sent(tmp_path: Path) -> None:
    path = plan_of(tmp_path / "plan", payload("web"), payload("db"))
    later = (execed(1), execed(2))
    known = facts(slot("web", 1, RUNNING), slot("db", 2, RUNNING), later=later)
    plan = begun(f"1234 {path}", known)
    assert plan is not None
    assert (plan.path, plan.sent_ns) == (path, 1234)
    assert plan.sent == {1: payload("web"), 2: payload("db")}
    assert known.later == list(later)


def test_the_path_of_a_plan_may_have_blanks(tmp_path: Path) -> None:
    path = plan_of(tmp_path / "a plan of ours", payload("web"))
    plan = begun(f"1 {path}", facts(slot("web", 1, LAUNCHING)))
    assert plan is not None
    assert plan.sent == {1: payload("web")}


def test_where_nothing_was_sent_the_plan_is_not_even_read(tmp_path: Path) -> None:
    plan = begun(f"0 {tmp_path}/absent/plan", facts())
    assert plan is not None
    assert (plan.sent, plan.sent_ns, plan.path) == ({}, 0, f"{tmp_path}/absent/plan")


def test_a_second_manager_does_not_know_when_but_what(tmp_path: Path) -> None:
    path = plan_of(tmp_path / "plan", payload("web"), payload("db"), payload("once"))
    known = facts(slot("web", 1, RUNNING), slot("once", 3, EXITED))  # db: acknowledged, or refused
    plan = begun(f"0 {path}", known)
    assert plan is not None
    assert plan.sent == {1: payload("web"), 3: payload("once")}
    assert [frame.op for frame in known.later] == ["EXECED", "EXECED", "EXITED"]


@pytest.mark.parametrize("text", ["", "0", "1234", "0 "])
def test_unboxed_early_said_nothing(text: str) -> None:
    assert begun(text, facts()) is None


def test_launches_beyond_the_plan_are_not_of_it(tmp_path: Path) -> None:
    path = plan_of(tmp_path / "plan", payload("web"))
    assert begun(f"1 {path}", facts(slot("web", 1, RUNNING), highest=2)) is None
    assert begun(f"1 {path}", facts(slot("web", 1, RUNNING), slot("db", 2, RUNNING))) is None
    assert begun(f"1 {tmp_path}/absent", facts(slot("web", 1, RUNNING))) is None


@pytest.mark.parametrize("key", ["db", "web/0", "", "web:before:1"])
def test_a_child_of_another_key_is_not_of_the_plan(tmp_path: Path, key: str) -> None:
    path = plan_of(tmp_path / "plan", payload("web"))
    assert begun(f"1 {path}", facts(slot(key, 1, RUNNING))) is None


def test_what_was_refused_is_tried_again(tmp_path: Path) -> None:
    path = plan_of(tmp_path / "plan", payload("web"), payload("db"))
    later = (told("REFUSED", 2), execed(1), told("SIGNALLED", 0))
    known = facts(slot("web", 1, RUNNING), highest=2, later=later)
    plan = begun(f"1 {path}", known)
    assert plan is not None
    assert plan.sent == {1: payload("web")}
    assert known.later == [later[1], later[2]]


MISSED: list[tuple[int, int, tuple[str, ...], list[str]]] = [
    # state, errno of a failed step, what this manager was told, what the one before it was
    (LAUNCHING, 0, (), []),
    (RUNNING, 0, (), ["EXECED"]),
    (RUNNING, 0, ("EXECED",), []),
    (EXITED, 0, (), ["EXECED", "EXITED"]),
    (EXITED, 0, ("EXITED",), ["EXECED"]),
    (EXITED, 0, ("EXECED",), ["EXITED"]),
    (EXITED, 0, ("EXECED", "EXITED"), []),
    (LAUNCHING, ENOENT, (), ["LAUNCH_FAILED"]),
    (LAUNCHING, ENOENT, ("LAUNCH_FAILED",), []),
    (EXITED, ENOENT, (), ["LAUNCH_FAILED", "EXITED"]),
    (EXITED, ENOENT, ("EXITED",), ["LAUNCH_FAILED"]),
    (EXITED, ENOENT, ("LAUNCH_FAILED",), ["EXITED"]),  # and never was there an EXECED
    (EXITED, ENOENT, ("LAUNCH_FAILED", "EXITED"), []),
]


@pytest.mark.parametrize("state, error, now, missed", MISSED)
def test_what_another_manager_was_told_is_told_again(
    tmp_path: Path, state: int, error: int, now: tuple[str, ...], missed: list[str]
) -> None:
    path = plan_of(tmp_path / "plan", payload("db"), payload("web"))
    one, row = slot("web", 2, state, error)
    later = [execed(1), *(execed(2) if op == "EXECED" else told(op, 2) for op in now)]
    known = facts(slot("db", 1, RUNNING), (one, row), later=tuple(later))
    assert begun(f"0 {path}", known) is not None
    assert known.later[len(missed) :] == later
    found = known.later[: len(missed)]
    assert [(frame.op, frame.tag) for frame in found] == [(op, 2) for op in missed]
    for frame in found:
        if frame.op == "EXECED":
            assert frame.payload == struct.pack("<iIQ", 50, 0, 11)
        elif frame.op == "EXITED":
            assert frame.payload == row.payload
        else:
            pid, _, step, err = struct.unpack("<iIIi", frame.payload)
            assert (pid, step, err) == (50, EXEC, ENOENT)


def test_launches_of_a_plan(tmp_path: Path) -> None:
    path = tmp_path / "plan"
    assert launches(str(path)) == {}
    assert launches(str(tmp_path)) == {}
    wanted = {1: payload("web"), 2: payload("db", bytes(70_000))}
    plan_of(path, *wanted.values())
    assert launches(str(path)) == wanted
    path.write_bytes(b"")
    assert launches(str(path)) == {}
    assert [key_of(one) for one in wanted.values()] == ["web", "db"]


# --- the next boot's ------------------------------------------------------------------------

PLAIN = 'command = ["/bin/true"]\n'


def kinds(path: Path) -> list[str]:
    return [kind for kind, _, _ in records(path)]


def records(path: Path) -> list[tuple[str, str, bytes]]:
    data, at, found = path.read_bytes(), len(MAGIC), []
    assert data.startswith(MAGIC)
    while at < len(data):
        kind, text, size = RECORD.unpack_from(data, at)
        at += RECORD.size + text + size
        name = data[at - text - size : at - size]
        assert name[-1:] == b"\0"
        found.append((chr(kind), name[:-1].decode(), data[at - size : at]))
    return found


def test_one_boot_makes_the_plan_of_the_next_and_that_starts_nothing_twice(
    machine: Callable[..., Machine],
) -> None:
    first = machine(web=PLAIN + "instances = 2\n", db=PLAIN)
    first.plan()
    spawned = first.boot()
    assert [op for op, _, _ in spawned] == ["SPAWN"] * 3
    assert not first.path.exists()
    first.execed("web/0", "web/1")
    assert not first.path.exists()  # it waits for db
    first.execed("db")
    assert launches(str(first.path)) == {tag: data for _, tag, data in spawned}
    assert first.path.stat().st_mode & 0o777 == 0o600
    assert first.sup.boot_plan is None

    second = machine()
    sent = launches(str(second.path))
    text = second.path.read_bytes()
    second.plan(sent, highest=3, ns=5)
    assert second.boot() == []
    second.execed("web/0", "web/1", "db")
    assert second.reports == []
    assert second.path.read_bytes() == text


def test_a_plan_that_is_out_of_date_is_replaced(machine: Callable[..., Machine]) -> None:
    one = machine(web=PLAIN, db=PLAIN)
    old = {1: payload("db"), 2: payload("gone")}
    one.path.parent.mkdir(exist_ok=True)
    plan_of(one.path, *old.values())
    one.plan(old, highest=2, ns=5)
    frames = one.boot()
    assert [(op, tag) for op, tag, _ in frames] == [
        ("SIGNAL", 1), ("ACK", 1), ("SIGNAL", 2), ("ACK", 2), ("SPAWN", 3), ("SPAWN", 4)
    ]  # fmt: skip
    one.execed("db", "web")
    found = launches(str(one.path))
    assert sorted(key_of(data) for data in found.values()) == ["db", "web"]
    assert sorted(found) == [1, 2]


def test_a_plan_of_nothing_is_removed(machine: Callable[..., Machine]) -> None:
    one = machine(web=PLAIN + 'user = "nobody"\n')
    one.path.parent.mkdir(exist_ok=True)
    plan_of(one.path, payload("web"))
    one.plan()
    one.boot()
    one.execed("web")
    assert not one.path.exists()


def test_without_cgroups_there_is_no_plan(machine: Callable[..., Machine]) -> None:
    one = machine(web=PLAIN)
    one.bench.tracker.name = "session"
    one.bench.tracker.started = lambda *_: None  # type: ignore[attr-defined]
    one.plan()
    one.boot()
    one.execed("web")
    assert one.sup.boot_plan is None
    assert not one.path.exists()


def test_units_that_were_changed_meanwhile_make_no_plan(machine: Callable[..., Machine]) -> None:
    one = machine(web=PLAIN)
    one.plan()
    one.boot()
    (one.units / "web.toml").write_text(PLAIN + 'description = "new"\n')
    one.execed("web")
    assert one.sup.boot_plan is None
    assert not one.path.exists()


def test_a_machine_that_goes_down_makes_no_plan(machine: Callable[..., Machine]) -> None:
    one = machine(web=PLAIN)
    one.plan()
    one.boot()
    one.sup.world.closing_ns = 1
    one.execed("web")
    assert not one.path.exists()


def test_a_plan_that_cannot_be_written_is_told_of(machine: Callable[..., Machine]) -> None:
    one = machine(web=PLAIN)
    (one.home / "state").write_text("no directory")
    one.plan()
    one.boot()
    one.execed("web")
    assert one.reports == [
        f"cannot write {one.home}/state: File exists; the next boot waits for the manager"
    ]


@pytest.mark.parametrize(
    "text",
    ['needs.after = ["db"]\n', 'needs.wants = ["db"]\n', 'needs.requires = ["db"]\n'],
)
def test_who_may_have_to_wait_for_another_is_not_planned(
    machine: Callable[..., Machine], text: str
) -> None:
    """db is skipped in this boot. It may not be in the next, and nobody looks."""
    one = machine(
        web=PLAIN + text, plain=PLAIN,
        db=PLAIN + 'conditions.path_exists = ["/absent/for/ever"]\n',
    )  # fmt: skip
    one.plan()
    assert sorted(key_of(data) for _, _, data in one.boot()) == ["plain", "web"]
    one.execed("plain", "web")
    assert [key_of(data) for data in launches(str(one.path)).values()] == ["plain"]


def test_who_conflicts_with_another_is_not_planned() -> None:
    units = [with_(needs=Needs(conflicts=("db",))), with_(name="db"), with_(name="plain")]
    graph = graphs.build({unit.name: unit for unit in units})
    found = [make_boot_plan._waits_for_nobody(graph, unit.name) for unit in units]
    assert found == [False, False, True]


def test_what_a_plan_was_made_from_is_in_it(machine: Callable[..., Machine]) -> None:
    one = machine(web=PLAIN + 'conditions.path_exists = ["/", "!/absent"]\n')
    drop_ins = one.units / "web.toml.d"
    drop_ins.mkdir()
    (drop_ins / "a.toml").write_text('description = "more"\n')
    one.plan()
    one.boot()
    one.execed("web")
    found = records(one.path)
    assert kinds(one.path)[0] == "G"
    assert found[0][1] == "/sys/fs/cgroup/unboxed/units"
    assert found[0][2] == encoded("PUT", 1 << 56, b"cgroup\0", 1)
    assert kinds(one.path)[-2:] == ["S", "E"]
    assert ("D", str(one.units), struct.pack("<i", 2)) in found
    assert ("F", str(one.units / "web.toml"), (one.units / "web.toml").read_bytes()) in found
    assert ("D", str(drop_ins), struct.pack("<i", 1)) in found
    assert ("F", str(drop_ins / "a.toml"), b'description = "more"\n') in found
    assert ("F", "/etc/passwd", Path("/etc/passwd").read_bytes()) in found
    assert ("P", "/", b"\1") in found
    assert ("P", "/absent", b"\0") in found
    assert not [text for _, text, _ in found if text.startswith(one.sup.paths.transient_units)]


def test_the_files_of_unit_directories(tmp_path: Path) -> None:
    """What is neither file nor directory is not read by us either; it has to stay as it is."""
    (tmp_path / "web.toml").write_text("web")
    (tmp_path / "other.txt").write_text("")
    (tmp_path / "web.toml.d").mkdir()
    (tmp_path / "web.toml.d" / "a.toml").write_text("a")
    (tmp_path / "web.toml.d.off").mkdir()  # not to be renamed unseen
    (tmp_path / "web.toml.d.off" / "b.toml").write_text("b")
    (tmp_path / "link.toml").symlink_to("web.toml")  # nor to be replaced by what it points to
    os.mkfifo(tmp_path / "fifo")
    absent = f"{tmp_path}/absent"
    at = str(tmp_path)
    assert [*make_boot_plan._files([at, absent])] == [
        ("D", at, struct.pack("<i", 6)),
        ("F", f"{at}/fifo", b"\0"),  # no plan with it holds
        ("F", f"{at}/link.toml", b"\0"),
        ("F", f"{at}/other.txt", b""),
        ("F", f"{at}/web.toml", b"web"),
        ("D", f"{at}/web.toml.d", struct.pack("<i", 1)),
        ("F", f"{at}/web.toml.d/a.toml", b"a"),
        ("D", f"{at}/web.toml.d.off", struct.pack("<i", 1)),
        ("D", absent, struct.pack("<i", -1)),
    ]


def test_the_paths_that_a_launch_depends_on(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("1", "2", "3"))
    for folder in (second, third):
        folder.mkdir()
        (folder / "web").touch(0o755)
    path = f"{first}:{second}:{third}"
    conditions = Conditions(path_exists=("/a", "!/b"))
    unit = with_(command=("web", "/x"), env=(("PATH", path),), conditions=conditions)
    assert [*make_boot_plan._paths(unit)] == [
        ("/a", True), ("/b", False), (f"{first}/web", False), (f"{second}/web", True)
    ]  # fmt: skip
    assert [*make_boot_plan._paths(WEB)] == []  # it says where
    usual = [*make_boot_plan._paths(with_(command=("sh",)))]
    assert usual[-1][1]
    assert [there for _, there in usual[:-1]] == [False] * (len(usual) - 1)


def test_a_plan_is_written_only_where_it_is_another(tmp_path: Path) -> None:
    path = tmp_path / "new" / "plan"
    make_boot_plan._write(str(path), b"one")
    assert path.read_bytes() == b"one"
    before = path.stat()
    assert before.st_mode & 0o777 == 0o600
    make_boot_plan._write(str(path), b"one")
    assert path.stat() == before
    make_boot_plan._write(str(path), b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_ino != before.st_ino  # in its place: whoever has it mapped keeps it
    assert [entry.name for entry in path.parent.iterdir()] == ["plan"]


def test_what_lies_in_the_way_of_a_new_plan_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"precious")
    (tmp_path / "plan.new").symlink_to(other)
    with pytest.raises(OSError, match="symbolic"):
        make_boot_plan._write(str(tmp_path / "plan"), b"text")
    assert other.read_bytes() == b"precious"
