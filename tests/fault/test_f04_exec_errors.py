"""Fault 4: a program that cannot be executed: status names the step and the errno within 100 ms."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.blame import Watch
from tests.fault.lifecycle import supervisor, three

LIMIT_S = 0.1
TRIES = 5
LONG = "x" * 63  # as long as a unit's name may be: {unit} makes much of little in a unit file
MAX_ARG_STRLEN = 128 * 1024  # execve(2): the limit of one argument on pages of 4 KiB
Case = Callable[[Path], Iterator[str]]  # makes a program, gives the command


def program(place: Path, content: bytes, mode: int = 0o755) -> str:
    path = place / "program"
    path.write_bytes(content)
    path.chmod(mode)
    return f'"{path}"'


def missing(place: Path) -> Iterator[str]:
    yield f'"{place}/program"'


def forbidden(place: Path) -> Iterator[str]:
    yield program(place, b"#!/bin/sh\n", 0o644)


def unknown_format(place: Path) -> Iterator[str]:
    yield program(place, b"neither a script nor a binary\n")


def too_long(_place: Path) -> Iterator[str]:
    yield f'"/bin/true", "{"{unit}" * (MAX_ARG_STRLEN // len(LONG) + 1)}"'


def being_written(place: Path) -> Iterator[str]:
    command = program(place, Path("/bin/true").read_bytes())
    with (place / "program").open("ab"):
        yield command


def bad_interpreter(place: Path) -> Iterator[str]:
    yield program(place, b"#!/no/such/interpreter\n")


CASES: dict[str, tuple[Case, int]] = {
    "ENOENT": (missing, errno.ENOENT),
    "EACCES": (forbidden, errno.EACCES),
    "ENOEXEC": (unknown_format, errno.ENOEXEC),
    "E2BIG": (too_long, errno.E2BIG),
    "ETXTBSY": (being_written, errno.ETXTBSY),
    "bad interpreter": (bad_interpreter, errno.ENOENT),
}


@pytest.mark.parametrize("name", CASES)
def test_f04_the_step_and_its_errno_are_shown_at_once(name: str, tmp_path: Path) -> None:
    make, number = CASES[name]
    with supervisor("cgroup", {}) as stack, contextmanager(make)(tmp_path) as command:
        stack.write(LONG, (
            f'command = [{command}]\nautostart = false\n[restart]\nwhen = "never"\n'))  # fmt: skip
        stack.call("ReloadUnits")
        times = []
        for _ in range(TRIES):
            watch = Watch(*three(stack).values())
            stack.call("Start", units=[LONG], wait=False)
            row = stack.wait(LONG, "failed")
            times.append(watch.blamed_s())
            assert f"cannot execute it: {os.strerror(number)}" in row["reason"]
            assert f"(step EXEC, errno {number})" in row["reason"]
            assert row["pid"] == 0
        # The median: one scheduling hiccup of a busy machine is not ours.
        assert sorted(times)[TRIES // 2] < LIMIT_S, times
