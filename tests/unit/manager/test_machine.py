"""The manager of a machine: its end outlives it; signals, rescue, the words of the kernel."""
from __future__ import annotations

import os
import pty
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic_ns
from typing import Any

import pytest

from supervisor.core.world import CLOSE_NS
from supervisor.manager import machine as machines
from supervisor.manager.boot import boot
from supervisor.manager.eventlog import EventLog
from supervisor.manager.journal import load
from supervisor.manager.kernel_line import KernelLine, split
from supervisor.manager.machine import ACTIONS, PACE_NS, SIGNALS, SLACK_NS
from supervisor.manager.main import Arguments
from supervisor.manager.requests import Requests
from supervisor.manager.supervisor import say
from supervisor.model import report, request
from supervisor.model.state import Power, Transition
from supervisor.model.unit import BOOT, RESCUE, SECOND_NS, Edge, Needs, Restart, Unit
from tests.unit.manager.kit import Bench, Sent

Make = Callable[..., Bench]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Bench] = []

    def one(*units: Unit, text: str = "", **more: Any) -> Bench:
        made.append(Bench(tmp_path, *units, line=KernelLine(text), **more))
        return made[-1]

    yield one
    for bench in made:
        bench.close()


def service(name: str = "web", **fields: Any) -> Unit:
    return Unit(name, command=("/bin/true",), **fields)


def signal(bench: Bench, number: int, pid: int = 0) -> None:
    bench.tell("SIGNALLED", 0, struct.pack("<iiI", number, pid, 0))


def exit_by(sent: list[Sent]) -> list[tuple[int, int]]:
    """Milliseconds and action of each."""
    return [struct.unpack("<ii", payload) for op, _, payload in sent if op == "EXIT_BY"]


def run(bench: Bench, name: str = "web") -> None:
    bench.start(name)
    bench.execed(name, 77)
    bench.sent()


# --- down -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number, power", SIGNALS.items())
def test_a_signal_to_pid_1_ends_the_machine(make: Make, number: int, power: Power) -> None:
    bench = make(service())
    run(bench)
    signal(bench, number)
    world = bench.sup.world
    assert world.ending == power
    sent = bench.sent()
    ((wait, action),) = exit_by(sent)
    assert action == ACTIONS[power]
    assert (CLOSE_NS + SLACK_NS) // 10**6 - 2000 < wait <= (CLOSE_NS + SLACK_NS) // 10**6
    assert [frame[0] for frame in sent[:2]] == ["EXIT_BY", "SIGNAL"]
    assert bench["web"].phase == "stopping"


def test_the_actions_are_those_that_the_keeper_knows() -> None:
    assert ACTIONS == {"poweroff": 0, "reboot": 1, "halt": 2, "kexec": 3}


def test_ctrl_alt_del_again_kills_what_is_left_and_changes_nothing_else(make: Make) -> None:
    bench = make(service())
    run(bench)
    signal(bench, 38)
    ((first, _),) = exit_by(bench.sent())
    signal(bench, 2)
    ((wait, action),) = exit_by(bench.sent())
    assert bench["web"].phase == "killing"
    assert action == ACTIONS["poweroff"]
    assert wait < first


def test_the_last_action_counts_and_the_first_deadline(make: Make) -> None:
    bench = make(service())
    run(bench)
    machine = bench.sup.machine
    assert machine is not None
    machine.down("poweroff", "asked", 20 * SECOND_NS)
    bench.sup.turn()
    ((first, action),) = exit_by(bench.sent())
    assert action == ACTIONS["poweroff"]
    machine.down("reboot", "asked again", 600 * SECOND_NS)
    bench.sup.turn()
    ((wait, action),) = exit_by(bench.sent())
    assert action == ACTIONS["reboot"]
    assert wait <= first
    bench.sup.turn()
    assert not exit_by(bench.sent())  # once is enough
    assert "rebooting instead" in bench.reports


def test_the_next_manager_goes_on_with_the_same_action_and_deadline(make: Make) -> None:
    bench = make(service())
    run(bench)
    signal(bench, 39)
    ((first, _),) = exit_by(bench.sent())
    snapshot, _ = load(bench.sup.journal.fd)
    assert snapshot is not None
    header = snapshot.header
    assert header.ending == "reboot"
    assert header.exit_by_ns == header.closing_ns + SLACK_NS

    header.closing_ns += 5 * SECOND_NS  # as when the time was over and the killing began
    after = make(service(), header=header)
    after.sup.turn()
    assert after.sup.world.ending == "reboot"
    # Told with the first turn, which the kit has made and read.
    assert after.sup.header.exit_by_ns == header.exit_by_ns
    after.sup.machine.settle()  # type: ignore[union-attr]
    assert not exit_by(after.sent())
    assert first <= (CLOSE_NS + SLACK_NS) // 10**6
    assert any("rebooting: stopping everything" in words for words in after.reports)


def test_the_keeper_is_told_by_a_manager_that_begins_in_a_shutdown(make: Make) -> None:
    bench = make()
    now = monotonic_ns()
    bench.sup.header.exit_by_ns = now + 3 * SECOND_NS
    bench.sup.world.closing_ns, bench.sup.world.ending = now + 50 * SECOND_NS, "kexec"
    bench.sup.turn()
    ((wait, action),) = exit_by(bench.sent())
    assert 2000 < wait <= 3000
    assert action == ACTIONS["kexec"]


def test_action_and_deadline_are_written_down_with_the_stops_that_follow(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manager that is killed in between must not end the machine in another way."""
    bench = make(service())
    run(bench)
    machine = bench.sup.machine
    assert machine is not None
    machine.down("halt", "asked")
    bench.sup.commit()
    snapshot, _ = load(bench.sup.journal.fd)
    assert snapshot is not None
    assert snapshot.header.ending == "halt"
    assert snapshot.header.closing_ns == bench.sup.world.closing_ns


def test_a_restart_limit_tells_the_keeper_too(make: Make) -> None:
    bench = make(service())
    bench.sup.world.end("poweroff", "web reached its restart limit", bench.sup.now())
    bench.sup.turn()
    assert [action for _, action in exit_by(bench.sent())] == [0]


def test_what_is_waited_for_is_told_every_few_seconds_and_only_while_it_is(make: Make) -> None:
    bench = make(*(service(f"web{i}") for i in range(7)))
    for i in range(7):
        run(bench, f"web{i}")
    assert not bench.sup.machine_ns
    signal(bench, 38)
    machine = bench.sup.machine
    assert machine is not None
    assert bench.sup.deadline() <= bench.sup.now() + 2 * SECOND_NS
    bench.reports.clear()
    due = bench.sup.machine_ns
    machine.look(due)
    (words,) = bench.reports
    assert words.startswith("powering off: waiting for web2 (stopping, ")
    assert words.endswith(" s")
    assert " and 2 others; all is killed in " in words
    assert bench.sup.machine_ns == due + PACE_NS


def test_how_long_a_shutdown_takes_comes_from_the_kernel_line(make: Make) -> None:
    bench = make(service(), text="unboxed.shutdown_timeout=20s")
    run(bench)
    signal(bench, 38)
    ((wait, _),) = exit_by(bench.sent())
    assert wait <= (20 * SECOND_NS + SLACK_NS) // 10**6


def test_sigterm_renews_the_supervisor_in_place(make: Make) -> None:
    bench = make()
    signal(bench, 15, 99)
    ((op, tag, _),) = bench.sent()
    assert op == "REEXEC"
    assert not bench.sup.world.closing_ns
    bench.result(tag, 2)
    assert "cannot execute" in bench.reports[-1]
    assert not bench.sup.leave_soon
    assert not load(os.dup(bench.sup.journal.fd))[0].header.renewed  # type: ignore[union-attr]
    signal(bench, 15, 99)
    assert load(os.dup(bench.sup.journal.fd))[0].header.renewed  # type: ignore[union-attr]
    bench.result(bench.sent()[0][1], 0)
    assert bench.sup.leave_soon


def test_sigterm_in_a_shutdown_and_sigquit_do_nothing(make: Make) -> None:
    bench = make(service())
    run(bench)
    signal(bench, 3)
    assert not bench.sup.world.closing_ns
    signal(bench, 38)
    bench.sent()
    signal(bench, 15)
    assert bench.sent() == []
    assert "nothing was done" in bench.reports[-1]


class Asked:
    """One call of a client."""

    more, uid, fds, closed, who = False, 0, (), None, "uid 0"

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.reply = self.fail = self.answers.append

    def permits(self, _unit: str) -> bool:
        return True


def test_a_client_is_answered_once_it_is_written_down_and_the_keeper_knows(make: Make) -> None:
    bench = make(service())
    run(bench)
    call: Any = Asked()
    Requests(bench.sup, lambda _cause: None).end(call, request.End("halt", 5 * SECOND_NS))
    (answer,) = call.answers
    assert isinstance(answer, report.Ending)
    ((wait, action),) = exit_by(bench.sent())
    assert action == ACTIONS["halt"]
    assert wait <= (5 * SECOND_NS + SLACK_NS) // 10**6
    due = bench.sup.realtime_ns(bench.sup.now()) + 5 * SECOND_NS
    assert abs(answer.deadline_ns - due) < SECOND_NS
    Requests(bench.sup, lambda _cause: None).end(call, request.End("halt", now=True))
    assert bench["web"].phase == "killing"


def test_where_there_is_no_machine_nothing_is_ended(tmp_path: Path) -> None:
    bench = Bench(tmp_path, service())
    try:
        call: Any = Asked()
        Requests(bench.sup, lambda _cause: None).end(call, request.End("reboot"))
        (answer,) = call.answers
        assert answer.message == (
            "cannot reboot: this supervisor boots no machine; nothing was changed")
        assert not bench.sup.world.closing_ns
    finally:
        bench.close()


@pytest.mark.parametrize("loaded, begun", [("0", False), ("", False), ("1", True)])
def test_kexec_takes_a_kernel_that_is_loaded(
    make: Make, monkeypatch: pytest.MonkeyPatch, loaded: str, begun: bool
) -> None:
    monkeypatch.setattr(machines, "is_ours", lambda: True)
    monkeypatch.setattr(machines, "read", lambda _path: f"{loaded}\n")
    bench = make(service())
    run(bench)
    call: Any = Asked()
    Requests(bench.sup, lambda _cause: None).end(call, request.End("kexec"))
    assert bool(bench.sup.world.closing_ns) == begun
    assert isinstance(call.answers[0], report.Ending if begun else report.Failed)
    again = make(service())
    signal(again, 40)
    assert bool(again.sup.world.closing_ns) == begun


def test_stopping_the_supervisor_powers_the_machine_off(make: Make) -> None:
    bench = make(service())
    run(bench)
    bench.observer.stop("shut down by uid 0", again_kills=False)
    bench.sup.turn()
    assert [action for _, action in exit_by(bench.sent())] == [ACTIONS["poweroff"]]
    machine = bench.sup.machine
    assert machine is not None
    assert machine.left() == 0
    machine.down("reboot", "asked")
    assert machine.left() == 1


# --- rescue ---------------------------------------------------------------------------------------


def boots(*more: Unit) -> tuple[Unit, ...]:
    never = Restart(when="never")
    return (
        Unit(BOOT, kind="group", needs=Needs(requires=(Edge("fs"),))),
        Unit("fs", kind="task", command=("/bin/true",), restart=never), service(), *more,
    )


def rescue() -> Unit:
    return Unit(RESCUE, kind="task", command=("/bin/true",), autostart=False)


def fail(bench: Bench) -> None:
    """The boot, by its first step, which cannot be executed."""
    launch = bench["fs"].launch
    bench.tell("LAUNCH_FAILED", launch, struct.pack("<iIIi", 5, 0, 21, 2))
    bench.exited("fs", launch, 5, 127)


def test_a_boot_that_fails_is_repaired_and_then_tried_again(make: Make) -> None:
    bench = make(*boots(rescue()))
    bench.start("web")
    fail(bench)
    assert bench[BOOT].phase == "failed"
    assert bench[RESCUE].phase == "launching"
    assert bench["web"].phase == "waiting"
    bench.execed(RESCUE, 80)
    bench[RESCUE].started_ns -= 10 * SECOND_NS  # somebody has worked there for a while
    bench[BOOT].since_ns -= 10 * SECOND_NS
    bench.sent()
    bench.exited(RESCUE, bench[RESCUE].launch, 80)
    assert "rescue has ended: the boot goes on" in bench.reports
    assert bench["fs"].phase == "launching"
    bench.execed("fs", 81)
    assert bench[BOOT].phase == "up"
    assert bench["web"].phase == "launching"


def test_it_fails_again_and_there_is_one_rescue_at_a_time(make: Make) -> None:
    bench = make(*boots(rescue()))
    bench.start("web")
    fail(bench)
    bench.execed(RESCUE, 80)
    first = bench[RESCUE].launch
    bench.start(BOOT)  # by hand, in that shell
    fail(bench)
    assert bench[BOOT].phase == "failed"
    assert bench[RESCUE].launch == first
    bench.exited(RESCUE, first, 80)  # at once: it was of no use, so the next try has to wait
    assert bench[BOOT].phase == "failed"
    machine = bench.sup.machine
    assert machine is not None
    due = bench.sup.machine_ns
    assert 0 < due - bench.sup.now() <= PACE_NS
    machine.look(due)
    bench.sup.turn()
    assert bench["fs"].phase == "launching"
    fail(bench)
    assert bench[RESCUE].phase == "launching"
    assert bench[RESCUE].launch > first


def test_a_manager_that_takes_over_a_failed_boot_sees_to_it(make: Make) -> None:
    bench = make(*boots(rescue()))
    world = bench.sup.world
    bench[BOOT].phase, bench[BOOT].since_ns = "failed", 5
    bench.sup.machine_ns = 1  # as when it begins
    bench.sup.turn()
    assert bench[RESCUE].phase == "launching"
    assert not world.closing_ns


def test_there_is_no_rescue_for_a_machine_that_is_going_down(make: Make) -> None:
    bench = make(*boots(rescue()))
    bench.start("web")
    signal(bench, 38)
    bench[BOOT].phase = "failed"
    machine = bench.sup.machine
    assert machine is not None
    machine._moved([Transition(1, BOOT, 1, "waiting", "failed", "x", 0)])
    assert bench[RESCUE].phase == "down"


def test_without_a_unit_rescue_that_is_told_once(make: Make) -> None:
    bench = make(*boots())
    bench.start("web")
    fail(bench)
    bench.start(BOOT)
    fail(bench)
    told = [words for words in bench.reports if "there is no unit rescue" in words]
    assert len(told) == 1
    assert told[0].startswith("boot failed: it needs fs, which failed")


# --- the console ----------------------------------------------------------------------------------


def test_a_console_that_is_held_blocks_nobody(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """^S on a serial line: the manager goes on, and lines are lost there."""
    ours, theirs = pty.openpty()
    kept = os.dup(2)
    os.dup2(theirs, 2)
    try:
        monkeypatch.setattr(machines, "kernel_line", lambda: KernelLine(""))
        machines.begin(Arguments([]))
        assert not os.get_blocking(2)
        assert os.get_blocking(theirs)  # others who have it open notice nothing
        os.set_blocking(ours, False)
        for _ in range(1000):
            say("x" * 200 + "\n")
        bench = make()
        log = EventLog(bench.sup, quiet=False)
        for _ in range(100):
            log.report("y" * 200)
        assert not log._quiet
        os.read(ours, 1 << 20)
        while True:
            try:
                os.read(ours, 1 << 20)
            except BlockingIOError:
                break
        log.report("at last")
        assert b"at last" in os.read(ours, 1 << 20)
    finally:
        os.dup2(kept, 2)
        for fd in (kept, ours, theirs):
            os.close(fd)


@pytest.mark.parametrize("takes", [1, 19, 20, 21, 30])
def test_a_line_that_the_console_took_a_part_of_is_finished_before_the_next(
    make: Make, monkeypatch: pytest.MonkeyPatch, takes: int
) -> None:
    bench, shown, room = make(), b"", takes
    log = EventLog(bench.sup, quiet=False)

    def write(fd: int, data: bytes) -> int:
        nonlocal shown, room
        assert fd == 2
        if not room:
            raise BlockingIOError
        part, room = data[:room], max(room - len(data), 0)
        shown += part
        return len(part)

    monkeypatch.setattr("supervisor.manager.eventlog.os.write", write)
    log._say("unboxed: first line\nunboxed: second\n")  # the first is 20 bytes
    log._say("lost as a whole\n")
    assert len(shown) == takes
    room = 1000
    log._say("third\n")
    second = b"unboxed: second\n" if takes > 20 else b""
    assert shown == b"unboxed: first line\n" + second + b"third\n"


@pytest.mark.parametrize("text, lines", [
    ("", ["web: up (started)", "web: failed (x)", "web: down (asked)"]),
    ("quiet", ["web: failed (x)"]),
])  # fmt: skip
def test_a_quiet_machine_tells_problems(make: Make, text: str, lines: list[str]) -> None:
    bench = make(text=text)
    log = EventLog(bench.sup, quiet=False)
    log._on_transitions([
        Transition(1, "web", 1, "launching", "up", "started", 0),
        Transition(2, "web", 2, "up", "failed", "x", 0),
        Transition(3, "web", 3, "stopping", "down", "asked", 0),
    ])
    assert [line.strip() for line in log._lines] == lines


# --- the kernel's command line --------------------------------------------------------------------


@pytest.mark.parametrize("text, words", [
    ("ro quiet\n", ["ro", "quiet"]), ("", []), ('a="b c" d', ["a=b c", "d"]),
    ('"a=b c"', ["a=b c"]), ("  a\t b ", ["a", "b"]), ('a=""', ["a="]),
])  # fmt: skip
def test_words_are_split_as_by_the_kernel(text: str, words: list[str]) -> None:
    assert split(text) == words


def test_words_that_are_ours() -> None:
    line = KernelLine("ro quiet unboxed.units=/a unboxed.units=/b unboxed.target=web"
                      " unboxed.shutdown_timeout=5 -- unboxed.units=/c")
    assert line.units == ["/a", "/b"]
    assert line.target == ["web"]
    assert line.close_ns == 5 * SECOND_NS
    assert line.quiet
    assert not line.problems


@pytest.mark.parametrize("word", [
    "unboxed.units=relative", "unboxed.units", "unboxed.units=", "unboxed.target",
    "unboxed.target=", "unboxed.shutdown_timeout=soon", "unboxed.shutdown_timeout=0",
    "unboxed.shutdown_timeout",
])  # fmt: skip
def test_a_word_that_cannot_be_understood_is_told_and_left_out(make: Make, word: str) -> None:
    line = KernelLine(f"{word} unboxed.args=/x ro")
    assert len(line.problems) == 1
    assert line.problems[0].startswith(f"cannot use {word} on the kernel's command line: ")
    assert (line.units, line.target, line.close_ns) == ([], [], 0)


def test_they_rank_above_the_arguments_of_the_keeper(monkeypatch: pytest.MonkeyPatch) -> None:
    line = KernelLine("unboxed.units=/first unboxed.target=web")
    monkeypatch.setattr(machines, "kernel_line", lambda: line)
    kept = os.dup(2)
    try:
        arguments = Arguments(["--machine", "--units", "/second", "--start", "db"])
        assert machines.begin(arguments) is line
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    assert arguments.units == ["/first", "/second"]
    assert arguments.start == ["web"]


# --- which units are started ----------------------------------------------------------------------


def launched(bench: Bench) -> set[str]:
    return {payload.split(b"\0")[0].decode() for op, _, payload in bench.sent() if op == "SPAWN"}


def written(home: Path, *names: str) -> None:
    (home / "u").mkdir(exist_ok=True)
    for name in names:
        (home / "u" / f"{name}.toml").write_text('command = "/bin/true"\n')


def test_no_unit_is_started_before_all_are_read_if_there_is_a_boot(
    make: Make, tmp_path: Path
) -> None:
    written(tmp_path, "a", "fs")
    (tmp_path / "u" / "boot.toml").write_text('kind = "group"\nneeds.requires = ["fs"]\n')
    bench = make()
    boot(bench.sup, [])
    assert launched(bench) == {"fs"}
    assert bench["a"].phase == "waiting"


@pytest.mark.parametrize("target, started", [
    (["b"], {"b"}), (["nobody"], {"a", "b"}), (["nobody", "a"], {"a"}), ([], {"a", "b"}),
])  # fmt: skip
def test_a_target_is_started_alone_but_a_machine_does_not_stand_there_with_nothing(
    make: Make, tmp_path: Path, target: list[str], started: set[str]
) -> None:
    written(tmp_path, "a", "b")
    bench = make()
    boot(bench.sup, target)
    assert launched(bench) == started
    assert bool(bench.reports) == ("nobody" in target)


def test_a_supervisor_that_cannot_begin_has_somebody_look_at_it_and_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the keeper's rescue shell, in a session of its own; also where there is none to be had."""
    monkeypatch.setattr(machines, "PACE_NS", 0)
    notes = tmp_path / "notes"
    execute = os.execv

    def keeper(path: str, words: list[str]) -> None:
        script = f"echo {path} {' '.join(words)} $(cut -d' ' -f 6 /proc/$$/stat) $$ > {notes}"
        execute("/bin/sh", ["sh", "-c", script])

    monkeypatch.setattr(os, "execv", keeper)
    machines.cannot_begin("there is no room", 42)
    *words, session, pid = notes.read_text().split()
    assert words == ["/proc/42/exe", "unboxed-init", "--rescue", "there", "is", "no", "room"]
    assert session == pid
    monkeypatch.setattr(os, "execv", execute)
    machines.cannot_begin("nor a keeper", 0)
    with pytest.raises(ChildProcessError):  # nothing is left of the first one
        os.waitpid(int(pid), os.WNOHANG)
