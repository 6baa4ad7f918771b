"""Programs that a boot step runs: real ones, some of them ill."""
from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from supervisor.boot import _tools
from supervisor.boot._machine import Machine
from supervisor.boot._tools import NOT_FOUND, TIMED_OUT, Tools
from tests.kernel.kit import until


def shell(script: str, timeout_s: float | None = None) -> tuple[int, str]:
    ended = Tools().run("/bin/sh", "-c", script, timeout_s=timeout_s)
    return ended.code, ended.text


def test_what_it_says_and_how_it_ends_are_kept() -> None:
    assert shell("echo out; echo err >&2; exit 3") == (3, "out\nerr\n")
    assert shell("kill -9 $$")[0] == 128 + 9


def test_one_that_is_not_there_is_told() -> None:
    ended = Tools().run("no-such-program-here")
    assert ended.code == NOT_FOUND
    assert ended.words() == "there is no such program"


def test_one_that_cannot_be_executed_is_told(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    ended = Tools().run(str(tmp_path / "text"))
    assert ended.code != 0
    assert "permission denied" in ended.words()


def test_one_that_takes_too_long_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_tools, "_KILL_S", 0.2)
    began = time.monotonic()
    pids = tmp_path / "pids"
    code, text = shell(f"trap '' TERM; sleep 60 & echo $! >{pids}; echo begun; wait; wait", 0.2)
    assert (code, text) == (TIMED_OUT, "begun\n")
    assert time.monotonic() - began < 30
    pid = int(pids.read_text())
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}/exe") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not os.path.exists(f"/proc/{pid}/exe")


def test_a_child_that_keeps_the_output_open_is_not_waited_for() -> None:
    began = time.monotonic()
    code, text = shell("sleep 30 & echo $!")
    assert code == 0
    os.kill(int(text), 9)
    assert time.monotonic() - began < 20


def test_much_output_blocks_nobody() -> None:
    code, text = shell("yes | head -c 3000000; exit 7")
    assert code == 7
    assert len(text) == 65536


def test_no_descriptor_is_left_open() -> None:
    shell("true")
    before = os.listdir("/proc/self/fd")
    for _ in range(5):
        shell("true")
        Tools().run("no-such-program-here")
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_it_reads_from_nothing_and_gets_the_descriptors_that_it_is_given() -> None:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = Tools().start("/bin/sh", "-c", "cat; echo hello >&9", extra={9: writer})
    os.close(writer)
    with open(reader) as file:
        assert file.read() == "hello\n"
    while child.poll() is None:
        time.sleep(0.01)


def test_what_stays_behind_is_ended_and_nobody_else(tmp_path: Path) -> None:
    machine = Machine(str(tmp_path))
    machine.stay("step")
    pid = int(machine.read("/run/unboxed/boot/step.pid"))
    try:
        machine.leave("step")  # no such process, in this machine's /proc
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
        (tmp_path / "proc").symlink_to("/proc")
        until(lambda: machine.read(f"/proc/{pid}/cmdline"), "its exec, which may still go on")
        machine.leave("step")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -15
        machine.leave("step")  # nor now
    except BaseException:
        os.kill(pid, 9)
        raise
