"""A service that its own filter ends says which call it was."""
from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from supervisor.kernel.sandbox import violation
from tests.scenario.sandbox.kit import written
from tests.stack import Stack

PYTHON = ["/usr/bin/python3", "-I", "-S", "-c"]


def told() -> bool:
    """Whether this host tells of violations to us."""
    here = os.readlink("/proc/self/ns/pid") == violation._FIRST_PID_NAMESPACE
    return here and os.access("/dev/kmsg", os.R_OK) and os.geteuid() == 0


def task(code: str, on: str) -> str:
    return (
        f'kind = "task"\ncommand = {json.dumps([*PYTHON, code])}\n[restart]\nwhen = "never"\n'
        f'[sandbox]\npromises = ["stdio", "rpath", "exec"]\non_violation = "{on}"\n'
    )


def test_the_reason_names_the_call_and_the_promise(tmp_path: Path) -> None:
    text = task("import os; os.chroot('/')", "kill")
    with Stack(tmp_path, {"web": text}) as stack:
        reason = stack.wait("web", "failed")["reason"]
    if told():
        assert reason == (
            'killed by SIGSYS: chroot is in none of its promises; "mount" would allow it'
        )
    else:
        assert reason == (
            "killed by SIGSYS: a system call that its promises do not allow; `unboxed learn web`"
            " names it"
        )


def test_an_error_ends_nothing_and_log_allows_it(tmp_path: Path) -> None:
    code = "import os\ntry: os.mkdir({0!r}); print('made')\nexcept OSError as e: print(e.strerror)"
    paths = {"errno": tmp_path / "one", "log": tmp_path / "two"}
    units = {name: task(code.format(str(path)), name) for name, path in paths.items()}
    with Stack(tmp_path, units) as stack:
        for name in units:
            stack.wait(name, "finished")
        assert written(stack, "errno", "Operation not permitted")
        assert written(stack, "log", "made")
    assert (paths["errno"].exists(), paths["log"].exists()) == (False, True)


@pytest.mark.skipif(not told(), reason="this host's log is not ours to read")
def test_what_log_allows_is_told_once_for_each_call_by_a_later_manager_too(tmp_path: Path) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    code = f"import socket\nwhile open({str(go)!r}).read(): socket.socket()"
    unit = task(code, "log").replace('"task"', '"service"')
    told = "web: socket is in none of its promises"
    with Stack(tmp_path, {"web": unit}) as stack:
        stack.wait("web", "running")
        for _ in range(2):
            go.write_text("now")
        written(stack, "unboxed", told)
        os.kill(stack.manager, 9)
        stack.until(stack.answers, "the next manager")
        go.write_text("now")
        stack.until(lambda: written(stack, "unboxed", told).count(told) == 2, "its word")
        assert stack.row("web")["state"] == "running"


def test_a_sigsys_without_a_filter_is_just_that(tmp_path: Path) -> None:
    text = 'kind = "task"\ncommand = ["/bin/sh", "-c", "kill -SYS $$"]\n[restart]\nwhen = "never"\n'
    with Stack(tmp_path, {"web": text}) as stack:
        assert stack.wait("web", "failed")["reason"] == "killed by SIGSYS"


@pytest.mark.skipif(not told(), reason="this host's log is not ours to read")
def test_a_violation_while_there_is_no_manager_is_named_by_the_next(tmp_path: Path) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    code = f"import os; open({str(go)!r}).read(); os.chroot('/')"
    with Stack(tmp_path, {"web": task(code, "kill").replace('"task"', '"service"')}) as stack:
        stack.wait("web", "running")
        manager = stack.manager
        os.kill(manager, 19)
        go.write_text("now")
        os.kill(manager, 9)
        reason = stack.wait("web", "failed")["reason"]
    assert "chroot is in none of its promises" in reason
