"""What a boot plan may have in it, what becomes of launches that were sent by one, and what the
manager that comes after them is told."""
from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supervisor.manager import boot_plan
from supervisor.manager.boot_plan import (
    _follows,
    key_of,
    launches,
)
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
from tests.unit.manager.boot_plan_kit import (
    DROPPED,
    ENOENT,
    EXEC,
    EXITED,
    LAUNCHING,
    PLAIN,
    RUNNING,
    SIGKILL,
    WEB,
    Machine,
    began,
    execed,
    facts,
    payload,
    plan_of,
    slot,
    told,
    with_,
)

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
        (with_(kind="group", command=()), False),
        (with_(instances=CORES), False),  # another number of CPUs, other launches
        (with_(command=("web-{instance}",)), False),  # another program for each
        (with_(command=("web",), env=(("PATH", "/srv/{unit}"),)), False),
    ],
)
def test_whether_its_launch_follows(unit: Unit, follows: bool) -> None:
    assert _follows(unit) is follows


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
    assert [frame[:2] for frame in one.launched()] == [DROPPED]
    assert one.reports == []


OUT_OF_DATE = "it was started by a plan that is out of date"


def test_what_was_sent_and_is_another_launch_today_is_ended_and_launched(
    machine: Callable[..., Machine],
) -> None:
    one = machine(web=PLAIN)
    one.plan({3: payload("web")}, highest=5)
    frames = one.boot()
    assert frames[:2] == [("SIGNAL", 3, SIGKILL), ("ACK", 3, b"")]
    assert [(op, tag) for op, tag, _ in frames[2:]] == [("SPAWN", 6), DROPPED]
    assert one.ended == ["web"]  # and whatever it had started
    assert one.reports == [f"ending web: {OUT_OF_DATE}"]


def test_what_no_unit_is_of_any_more_is_ended(machine: Callable[..., Machine]) -> None:
    one = machine(db=PLAIN + 'user = "nobody"\n', more=PLAIN + "instances = 2\nautostart = false\n")
    one.plan({3: payload("web/0"), 4: payload("db"), 5: payload("more/1")}, highest=5)
    frames = [(op, tag) for op, tag, _ in one.boot()]
    assert frames == [
        ("SIGNAL", 3), ("ACK", 3), ("SIGNAL", 4), ("ACK", 4), ("SIGNAL", 5), ("ACK", 5),
        ("SPAWN", 6), DROPPED,
    ]  # fmt: skip
    assert one.ended == ["web/0", "db", "more/1"]
    assert one.reports == [f"ending {key}: {OUT_OF_DATE}" for key in one.ended]


def test_what_nobody_wants_is_ended(machine: Callable[..., Machine]) -> None:
    first = machine(web=PLAIN)
    first.plan()
    [(_, _, same), _] = first.boot()
    (first.units / "web.toml").write_text(PLAIN + "autostart = false\n")
    one = machine()
    plan = one.plan({3: same}, highest=5)
    assert [(op, tag) for op, tag, _ in one.boot()] == [("SIGNAL", 3), ("ACK", 3), DROPPED]
    assert one.reports == [f"ending web: {OUT_OF_DATE}"]
    assert one.sup.world.turn.taken == {}  # a start that comes later is a new launch
    assert plan.sent == {}


def test_who_does_not_end_is_not_waited_for_for_ever(
    machine: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot_plan, "_PATIENCE_S", 0)
    one = machine()
    one.plan({3: payload("web")}, highest=5)._facts.later.clear()
    assert [(op, tag) for op, tag, _ in one.boot()] == [("SIGNAL", 3), DROPPED]


@pytest.mark.parametrize("why", ["booted", "job", "not alone", "user", "transient"])
def test_what_does_not_go_into_the_next_plan(machine: Callable[..., Machine], why: str) -> None:
    one = machine()
    plan = one.plan()
    one.sup.header.booted = why == "booted"
    launch = do.Launch("web", 1, "after" if why == "job" else "")
    unit = with_(user="www") if why == "user" else WEB
    if why == "transient":
        unit = with_(source=f"{one.sup.paths.transient_units}/web.toml")
    alone = why != "not alone"
    assert not plan.has_sent(one.sup, launch, unit, payload("web"), alone=alone)
    assert plan.first == []


def test_without_a_time_there_is_no_mark(machine: Callable[..., Machine]) -> None:
    one = machine()
    one.plan({1: payload("web")}, highest=1)
    assert "plan" not in one.sup.marks


def test_the_first_manager_has_what_was_sent(tmp_path: Path) -> None:
    path = plan_of(tmp_path / "plan", payload("web"), payload("db"))
    later = (execed(1), execed(2))
    known = facts(slot("web", 1, RUNNING), slot("db", 2, RUNNING), later=later)
    plan = began(f"1234 {path}", path, known)
    assert plan is not None
    assert (plan.path, plan.sent_ns) == (path, 1234)
    assert plan.sent == {1: payload("web"), 2: payload("db")}
    assert known.later == list(later)


def test_the_path_of_a_plan_may_have_blanks(tmp_path: Path) -> None:
    path = plan_of(tmp_path / "a plan of ours", payload("web"))
    plan = began(f"1 {path}", path, facts(slot("web", 1, LAUNCHING)))
    assert plan is not None
    assert plan.sent == {1: payload("web")}


def test_where_nothing_was_sent_the_plan_is_not_even_read(tmp_path: Path) -> None:
    plan = began(f"0 {tmp_path}/absent/plan", "", facts())
    assert plan is not None
    assert (plan.sent, plan.sent_ns, plan.path) == ({}, 0, f"{tmp_path}/absent/plan")


def test_a_second_manager_does_not_know_when_but_what(tmp_path: Path) -> None:
    path = plan_of(tmp_path / "plan", payload("web"), payload("db"), payload("once"))
    known = facts(slot("web", 1, RUNNING), slot("once", 3, EXITED))  # db: acknowledged, or refused
    plan = began(f"0 {path}", path, known)
    assert plan is not None
    assert plan.sent == {1: payload("web"), 3: payload("once")}
    assert [frame.op for frame in known.later] == ["EXECED", "EXECED", "EXITED"]


@pytest.mark.parametrize("text", ["", "0", "1234", "0 "])
def test_unboxed_early_said_nothing(text: str) -> None:
    assert began(text, "", facts()) is None


def test_launches_beyond_the_plan_are_not_of_it(tmp_path: Path) -> None:
    path = plan_of(tmp_path / "plan", payload("web"))
    assert began(f"1 {path}", path, facts(slot("web", 1, RUNNING), highest=2)) is None
    assert began(f"1 {path}", path, facts(slot("web", 1, RUNNING), slot("db", 2, RUNNING))) is None
    assert began(f"1 {tmp_path}/absent", "", facts(slot("web", 1, RUNNING))) is None


@pytest.mark.parametrize("key", ["db", "web/0", "", "web:before:1"])
def test_a_child_of_another_key_is_not_of_the_plan(tmp_path: Path, key: str) -> None:
    path = plan_of(tmp_path / "plan", payload("web"))
    assert began(f"1 {path}", path, facts(slot(key, 1, RUNNING))) is None


def test_what_was_refused_is_tried_again(tmp_path: Path) -> None:
    path = plan_of(tmp_path / "plan", payload("web"), payload("db"))
    later = (told("REFUSED", 2), execed(1), told("SIGNALLED", 0))
    known = facts(slot("web", 1, RUNNING), highest=2, later=later)
    plan = began(f"1 {path}", path, known)
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
    assert began(f"0 {path}", path, known) is not None
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
