"""Fault 20: there is next to no memory for the manager. Keeper, logger and services do not notice;
the manager is back as soon as there is memory, and knows what it knew.

By a memory cgroup of its own (then the kernel kills it), and by RLIMIT_AS (then the calls that want
memory fail, while it starts or while it runs).
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.lifecycle import legacy_group
from tests.fault.witness import abandon, check, replaced, starts, witness
from tests.stack import Refused, Stack, alive

RUNNING = ("running",)
MIB = 1 << 20
MORE, MUCH = 300, 20  # unit files that do not fit, KB in each
ANSWER_S = 5.0  # or the connection is closed by then
DEATHS = 3  # managers that fail before there is memory again


class Limited(Stack):
    """Each manager does the words in `first` before it begins."""

    first = ""

    def argv(self) -> list[str]:
        words = super().argv()
        at = words.index("--") + 1
        script = f'{self.first}; exec "$0" "$@"'
        return [*words[:at], "/bin/sh", "-c", script, *words[at:]]


def units(home: Path) -> dict[str, str]:
    return {
        "one": witness(home, "one"),
        "two": witness(home, "two") + "[restart]\ndelay = 0\n",
    }


def deaths(stack: Stack) -> int:
    return stack.errors.read_text().count("the manager ended with")


def survived(stack: Stack, pids: dict[str, int], logger: int) -> None:
    """Nothing but the manager has changed; a service that ended meanwhile is started again."""
    rows = stack.rows()
    assert rows["one"]["pid"] == pids["one"]
    assert stack.logger == logger
    check(stack, {"one": RUNNING, "two": RUNNING})
    assert len(starts(stack.home, "one")) == 1
    assert len(starts(stack.home, "two")) == 2
    assert stack.row("two")["pid"] != pids["two"]


@pytest.fixture
def group() -> Iterator[Path]:
    group = legacy_group("memory") / f"unboxed-fault-20-{os.getpid()}"
    group.mkdir()
    yield group
    group.rmdir()


def test_f20_a_manager_that_the_kernel_kills_for_memory_is_back_once_there_is_some(
    tmp_path: Path, group: Path
) -> None:
    stack = Limited(tmp_path, units(tmp_path))
    gate = tmp_path / "gate"
    stack.first = f"while [ -e {gate} ]; do sleep 0.01; done; echo $$ > {group}/cgroup.procs"
    try:
        stack.begin()
        check(stack, {"one": RUNNING, "two": RUNNING})
        pids = {key: row["pid"] for key, row in stack.rows().items()}
        logger, manager = stack.logger, stack.manager
        gate.touch()  # the limit is to be there before the next one
        os.kill(manager, signal.SIGKILL)
        stack.until(lambda: not alive(manager), "its end")
        limit = group / "memory.limit_in_bytes"
        stack.until(lambda: lowered(limit, 2 * MIB), "the limit to be taken")
        gate.unlink()
        os.kill(pids["two"], signal.SIGKILL)
        before = deaths(stack)
        stack.until(lambda: deaths(stack) >= before + DEATHS, "managers to be killed")
        assert stack.process is not None
        assert stack.process.poll() is None
        assert alive(pids["one"])
        limit.write_text("-1")
        replaced(stack, manager)
        survived(stack, pids, logger)
        stack.end()
    finally:
        abandon(stack)


def lowered(limit: Path, size: int) -> bool:
    """Whether what is in the group fits, or could be reclaimed."""
    try:
        limit.write_text(str(size))
    except OSError:
        return False
    return True


def test_f20_a_manager_that_cannot_start_for_want_of_memory_is_started_when_it_can(
    tmp_path: Path,
) -> None:
    limit = tmp_path / "limit"
    stack = Limited(tmp_path, units(tmp_path))
    stack.first = f"ulimit -v $(cat {limit} || echo unlimited)"
    try:
        stack.begin()
        check(stack, {"one": RUNNING, "two": RUNNING})
        pids = {key: row["pid"] for key, row in stack.rows().items()}
        logger, manager = stack.logger, stack.manager
        before = deaths(stack)
        limit.write_text(str(12 * 1024))  # KiB: not enough for an interpreter
        os.kill(manager, signal.SIGKILL)
        os.kill(pids["two"], signal.SIGKILL)
        stack.until(lambda: deaths(stack) >= before + DEATHS, "managers to fail")
        assert alive(pids["one"])
        limit.unlink()
        replaced(stack, manager)
        survived(stack, pids, logger)
        stack.end()
    finally:
        abandon(stack)


def size_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


def test_f20_a_running_manager_without_memory_refuses_or_is_replaced(tmp_path: Path) -> None:
    """What it cannot do for want of memory it does not half do."""
    with Stack(tmp_path, units(tmp_path)) as stack:
        check(stack, {"one": RUNNING, "two": RUNNING})
        pids = {key: row["pid"] for key, row in stack.rows().items()}
        logger, manager = stack.logger, stack.manager
        _, hard = resource.prlimit(manager, resource.RLIMIT_AS)
        resource.prlimit(manager, resource.RLIMIT_AS, (size_bytes(manager), hard))
        much = "".join(f"env.MUCH{n} = '{'x' * 1000}'\n" for n in range(MUCH))
        for number in range(MORE):
            name = f"more{number}"
            stack.write(name, f"autostart = false\n{much}{witness(tmp_path, name)}")
        answers = 0
        for method, parameters in (
            ("ReloadUnits", {}), ("Status", {}), ("Describe", {"unit": "one"}),
            ("Explain", {"unit": "one"}), ("Restart", {"units": ["two"]}),
        ) * 3:  # fmt: skip
            asked = time.monotonic()
            with contextlib.suppress(Refused, OSError):
                stack.call(method, **parameters)
                answers += 1
            assert time.monotonic() - asked < ANSWER_S, f"{method} was left without an answer"
        assert answers < 15, "it had memory enough"
        assert alive(pids["one"])
        current = stack.manager
        if current == manager:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(manager, resource.RLIMIT_AS, (hard, hard))
        else:
            assert stack.errors.read_text().count("cannot go on: no memory is left") == 1
        stack.until(stack.answers, "control to answer")
        assert stack.call("ReloadUnits")["removed"] == []
        assert stack.row("one")["pid"] == pids["one"]
        stack.call("Restart", units=["two"])
        more = {f"more{number}": ("stopped",) for number in range(MORE)}
        check(stack, {"one": RUNNING, "two": RUNNING, **more})
        assert len(starts(tmp_path, "one")) == 1
        assert stack.logger == logger
