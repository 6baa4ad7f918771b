"""Fault 19, end to end: every signal to the keeper of a running supervisor.

Nobody's service notices any of them, but for those that ask the supervisor to stop: TERM, INT and
QUIT stop everything in order, a second INT at once. KILL is what nobody survives who is not PID 1
of its namespace: then manager and logger end by themselves, and the next supervisor in the same
place ends what is left of the services before it starts its own. STOP is survived with CONT.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.witness import abandon, check, starts, witness
from tests.stack import PATIENCE, Stack, alive

STOPPING = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}
RUNNING = ("running",)


def units(home: Path) -> dict[str, str]:
    return {
        "one": witness(home, "one"),
        "two": witness(home, "two") + '[needs]\nrequires = ["one"]\n',
    }


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """One that the test itself ends."""
    stack = Stack(tmp_path, units(tmp_path)).begin()
    check(stack, dict.fromkeys(("one", "two"), RUNNING))
    yield stack
    abandon(stack)


def test_f19_no_signal_but_those_that_ask_for_it_changes_anything(tmp_path: Path) -> None:
    with Stack(tmp_path, units(tmp_path)) as stack:
        check(stack, dict.fromkeys(("one", "two"), RUNNING))
        assert stack.process is not None
        keeper = stack.process.pid
        before = {key: row["pid"] for key, row in stack.rows().items()}
        mine = stack.manager, stack.logger
        for number in range(1, 65):
            if number in STOPPING or number == signal.SIGKILL:
                continue
            os.kill(keeper, number)
            if number == signal.SIGSTOP:
                os.kill(keeper, signal.SIGCONT)
        told = "SIGHUP to the supervisor from pid"
        stack.until(lambda: told in stack.errors.read_text(), "the last signal to be heard")
        check(stack, dict.fromkeys(("one", "two"), RUNNING))
        assert {key: row["pid"] for key, row in stack.rows().items()} == before
        assert (stack.manager, stack.logger) == mine
        stack.call("Restart", units=["one"])
        check(stack, dict.fromkeys(("one", "two"), RUNNING))


def test_f19_hup_reads_the_unit_files_again(tmp_path: Path) -> None:
    with Stack(tmp_path, units(tmp_path)) as stack:
        assert stack.process is not None
        stack.write("three", "autostart = false\n" + witness(tmp_path, "three"))
        stack.process.send_signal(signal.SIGHUP)
        stack.until(lambda: "three" in stack.rows(), "the new unit")
        stack.write("three", "no = 'such key'\n")
        stack.process.send_signal(signal.SIGHUP)
        stack.until(lambda: "three.toml:1" in stack.errors.read_text(), "the complaint")
        check(stack, {"one": RUNNING, "two": RUNNING, "three": ("stopped",)})


@pytest.mark.parametrize("number", sorted(STOPPING), ids=lambda number: number.name)
def test_f19_term_int_and_quit_stop_everything_in_order(
    stack: Stack, number: signal.Signals
) -> None:
    pids = [row["pid"] for row in stack.rows().values()]
    assert stack.process is not None
    stack.process.send_signal(number)
    assert stack.process.wait(PATIENCE) == 0
    said = stack.errors.read_text()
    assert f"{number.name} to the supervisor" in said
    assert said.index("two: down") < said.index("one: down")
    assert not any(map(alive, pids))


def test_f19_a_second_int_kills_what_takes_its_time(tmp_path: Path) -> None:
    deaf = witness(tmp_path, "one", before="trap '' TERM; ", after="while :; do sleep 1; done")
    stack = Stack(tmp_path, {"one": deaf + "[stop]\nladder = ['TERM', '1h', 'KILL']\n"}).begin()
    try:
        check(stack, {"one": RUNNING})
        pid = stack.row("one")["pid"]
        assert stack.process is not None
        stack.process.send_signal(signal.SIGINT)
        stack.wait("one", "stopping")
        stack.process.send_signal(signal.SIGINT)
        assert stack.process.wait(PATIENCE) == 0
        assert not alive(pid)
    finally:
        abandon(stack)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: an old keeper's cgroups tell the tale")
def test_f19_what_a_killed_keeper_leaves_is_ended_by_the_next_one(
    tmp_path: Path, stack: Stack
) -> None:
    old = [row["pid"] for row in stack.rows().values()]
    peers = stack.manager, stack.logger
    assert stack.process is not None
    stack.process.kill()
    stack.process.wait()
    stack.until(lambda: not any(map(alive, peers)), "manager and logger to end")
    assert all(map(alive, old)), "services go on without a supervisor"
    with Stack(tmp_path, units(tmp_path)) as second:
        check(second, dict.fromkeys(("one", "two"), RUNNING))
        assert not any(map(alive, old))
        assert [len(starts(tmp_path, key)) for key in ("one", "two")] == [2, 2]
        assert "killing what an earlier supervisor left of one" in second.errors.read_text()
