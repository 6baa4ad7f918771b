"""What is told of calls that on_violation = "log" let through, and of whom."""
from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from supervisor.manager import violations
from supervisor.manager.violations import Violations
from supervisor.model.state import Transition

Record = tuple[int, str] | tuple[int, str, bool]  # (..., True): killed for it


class Sup:
    """As much of a supervisor as is asked. `web` has pids 10 to 19."""

    def __init__(self) -> None:
        self.listeners: list[Any] = []
        self.pids = {10: "web"}
        self.said: list[str] = []
        self.watched: set[int] = set()
        self.loop = self.tracker = self

    def report(self, text: str) -> None:
        self.said.append(text)

    def owner(self, pid: int) -> str | None:
        return "web" if 10 <= pid < 20 else "db" if pid == 20 else None

    def add(self, fd: int, _events: int, _callback: object) -> None:
        self.watched.add(fd)

    def remove(self, fd: int) -> None:
        self.watched.discard(fd)


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """What the kernel tells next."""
    found: list[Record] = []

    def news(_fd: int, _machine: str) -> Iterator[tuple[int, str, bool]]:
        while found:
            pid, call, *killed = found.pop(0)
            yield pid, call, bool(killed)

    monkeypatch.setattr(violations, "news", news)
    monkeypatch.setattr(violations, "watch", lambda: os.open("/dev/null", os.O_RDONLY))
    return found


def down(key: str) -> list[Transition]:
    return [Transition(1, key, 0, "up", "down", "", 0)]


def test_each_call_is_told_once_and_those_of_others_never(records: list[Record]) -> None:
    sup = Sup()
    watch = Violations(sup)  # type: ignore[arg-type]
    watch.begin("web", allows=True)
    watch.begin("web", allows=True)
    records += [(10, "chroot"), (11, "chroot"), (11, "ptrace"), (20, "mount"), (99, "mount")]
    watch.look()
    assert [text.split()[:2] for text in sup.said] == [["web:", "chroot"], ["web:", "ptrace"]]
    watch.ended("web", 30)
    records += [(30, "reboot")]
    watch.look()
    assert "reboot" in sup.said[2]


def test_the_log_is_watched_while_such_a_unit_is_up(records: list[Record]) -> None:
    sup = Sup()
    watch = Violations(sup)  # type: ignore[arg-type]
    watch.begin("web", allows=True)
    watch.begin("db", allows=True)
    sup.listeners[0](down("web"))
    assert len(sup.watched) == 1
    records += [(20, "mount")]  # just before its end
    sup.listeners[0](down("db"))
    assert not sup.watched
    assert "db: mount" in sup.said[0]
    watch.begin("web", allows=True)
    assert len(sup.watched) == 1
    sup.listeners[0](down("web"))


def test_numbers_that_no_call_has_fill_no_log(records: list[Record]) -> None:
    sup = Sup()
    watch = Violations(sup)  # type: ignore[arg-type]
    watch.begin("web", allows=True)
    records += [(10, f"system call {number}") for number in range(1000, 2000)]
    watch.look()
    assert len(sup.said) == violations._MOST_TOLD + 1
    assert sup.said[-1] == "web: more calls are in none of its promises; allowed, untold"
    sup.listeners[0](down("web"))


def test_what_it_was_killed_for_is_kept_for_once_and_told_to_nobody(records: list[Record]) -> None:
    sup = Sup()
    watch = Violations(sup)  # type: ignore[arg-type]
    assert watch.killed_for(10) == ""  # nothing is watched yet
    watch.begin("web", allows=False)
    records += [(10, "chroot", True), (30, "mount"), (11, "ptrace", True), (10, "reboot", True)]
    assert watch.killed_for(12) == ""
    assert [watch.killed_for(pid) for pid in (10, 11, 10)] == ["reboot", "ptrace", ""]
    records += [(pid, "mount", True) for pid in range(1000)]
    watch.look()
    assert len(watch._killed) == violations._MOST_KILLED
    assert (watch.killed_for(999), watch.killed_for(0), sup.said) == ("mount", "", [])
    sup.listeners[0](down("web"))
    assert not watch._killed


def test_a_log_that_is_closed_to_us_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise PermissionError(1, "Operation not permitted", "/dev/kmsg")

    monkeypatch.setattr(violations, "watch", refuse)
    sup = Sup()
    watch = Violations(sup)  # type: ignore[arg-type]
    watch.begin("web", allows=True)
    (said,) = sup.said
    assert said == (
        "cannot tell which calls of web are beyond its promises: /dev/kmsg: Operation not"
        " permitted; they are allowed, and `unboxed learn` finds them"
    )
    sup.listeners[0](down("web"))
    watch.begin("db", allows=False)  # its end will say that the call is not known
    assert len(sup.said) == 1
