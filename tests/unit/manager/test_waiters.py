"""A start is told by what happened since it was asked for, not by what is left of it when somebody
looks: the exec and the end of a process may come in one turn."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.kernel import wire
from supervisor.manager.reports import Reports
from supervisor.manager.waiters import Waiters, started
from supervisor.model.report import Outcome
from supervisor.model.unit import Ready, Restart, Start, Unit
from tests.unit.manager.kit import Bench


class Asked:
    """A call of a client that waits."""

    more = False

    def __init__(self) -> None:
        self.closed: object = None
        self.said: list[tuple[bool, str]] = []

    def reply(self, outcome: Outcome) -> None:
        self.said += [(one.ok, one.message) for one in outcome.results or ()]


class Waited(Bench):
    def __init__(self, home: Path, *units: Unit) -> None:
        super().__init__(home, *units)
        self.waiters = Waiters(self.sup, Reports(self.sup), lambda _keys: None)
        self.sup.settled.append(self.waiters.look_all)

    def ask(self, verb: str, key: str = "web") -> Asked:
        """As Requests does."""
        asked: Any = Asked()
        if verb == "start":
            self.sup.world.start([key], "the test", self.sup.now())
        else:
            self.sup.world.restart([key], "the test", self.sup.now())
        self.sup.commit()
        self.waiters.add(asked, [key], started(self.sup, verb), [])
        self.sup.turn()
        assert isinstance(asked, Asked)
        return asked

    def lives(self, *ends: tuple[str, int], key: str = "web") -> None:
        """Its process executes and ends; the manager reads of all that in one turn."""
        launch, frames = self[key].launch, []
        for op, status in ends:
            if op == "EXECED":
                body = struct.pack("<iIQ", 1000, 0, 1)
            else:
                body = struct.pack("<iIQQiiIIIhh", 1000, 3, 1, 2, 1, status, 0, 0, 0, 0, 0)
                body += key.encode() + b"\0"
            head = struct.pack("<IHHQ", 16 + len(body), wire.TO_MANAGER[op], 0, launch)
            frames.append(head + body)
        self.keeper.send(b"".join(frames))
        self.observer.on_keeper(1)
        self.sup.turn()


def service(when: str = "never", ready: str = "exec") -> Unit:
    return Unit(
        "web", command=("/bin/true",), restart=Restart(when=when),  # type: ignore[arg-type]
        start=Start(ready=Ready(ready)),  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture
def made(tmp_path: Path) -> Iterator[list[Waited]]:
    benches: list[Waited] = []
    yield benches
    for bench in benches:
        bench.close()


@pytest.mark.parametrize("status", [0, 1])
@pytest.mark.parametrize("when", ["never", "always"])
def test_what_executed_has_started_however_soon_it_ends(
    tmp_path: Path, made: list[Waited], when: str, status: int
) -> None:
    bench = Waited(tmp_path, service(when))
    made.append(bench)
    asked = bench.ask("start")
    bench.lives(("EXECED", 0), ("EXITED", status))
    assert bench["web"].phase != "up"
    assert asked.said == [(True, "started")]


def test_what_ends_before_it_is_ready_has_not(tmp_path: Path, made: list[Waited]) -> None:
    bench = Waited(tmp_path, service(ready="notify"))
    made.append(bench)
    asked = bench.ask("start")
    bench.lives(("EXECED", 0), ("EXITED", 0))
    ((good, words),) = asked.said
    assert not good
    assert words.startswith("cannot start web: it ended before it was ready")


def test_a_restart_is_told_by_the_next_run_alone(tmp_path: Path, made: list[Waited]) -> None:
    bench = Waited(tmp_path, service())
    made.append(bench)
    bench.start("web")
    first = bench["web"].launch
    asked = bench.ask("restart")  # while it is launched: what executes now is what is stopped
    bench.lives(("EXECED", 0), ("EXITED", 0))
    assert (asked.said, bench["web"].phase) == ([], "launching")
    assert bench["web"].launch > first
    bench.lives(("EXECED", 0), ("EXITED", 0))
    assert asked.said == [(True, "started")]
