"""A service that its own filter ends says which call it was."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.kernel.sandbox import violation
from tests.scenario.sandbox.kit import written
from tests.stack import Stack

# One that a filter of its own kills at its next call: PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP.
CONTROL = """
import ctypes, struct
call = ctypes.CDLL(None).prctl
kill = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x80000000))
call(38, 1, 0, 0, 0)
call(22, 2, struct.pack("HxxxxxxQ", 1, ctypes.addressof(kill)), 0, 0)
"""
PYTHON = ["/usr/bin/python3", "-I", "-S", "-c"]


def told() -> bool:
    """Whether this host tells of violations to us."""
    here = os.readlink("/proc/self/ns/pid") == violation._FIRST_PID_NAMESPACE
    return here and os.access("/dev/kmsg", os.R_OK) and os.geteuid() == 0


def heard() -> bool:
    """Whether it also tells us of each, however many there are."""
    try:
        os.close(violation._listen())
    except OSError:
        return False
    return True


def listening() -> None:
    """Returns once the kernel's log takes records: it refuses all for seconds after many."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with subprocess.Popen([sys.executable, "-c", CONTROL]) as control:
            assert control.wait() == -31
        if violation.killed_for(control.pid, os.uname().machine):
            return
        time.sleep(0.5)
    pytest.skip("the kernel's log drops records")


def unless_dropped(run: Callable[[int], bool]) -> bool:
    """What `run` says, which needs the kernel's log. If that took no more records meanwhile, as it
    says when it does again, `run` is run again."""
    for attempt in range(3):
        listening()
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(log, 0, os.SEEK_END)
        try:
            if run(attempt):
                return True
            listening()
            if "callbacks suppressed" not in text_of(log):
                return False
        finally:
            os.close(log)
    pytest.skip("the kernel's log drops records")


def text_of(log: int) -> str:
    found = b""
    while True:
        try:
            found += os.read(log, 8192)
        except BrokenPipeError:
            continue
        except BlockingIOError:
            return found.decode(errors="replace")


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


@pytest.mark.skipif(not heard(), reason="the audit of this host is not ours to hear")
def test_more_records_than_the_kernels_log_takes_hide_none(tmp_path: Path) -> None:
    code = (
        "import os\nfor _ in range(40):\n    if not os.fork(): os.chroot('/')\n    os.wait()\n"
        "os.chroot('/')"
    )
    text = task(code, "kill").replace('"exec"', '"exec", "proc"')
    with Stack(tmp_path, {"web": text}) as stack:
        assert "chroot is in none" in stack.wait("web", "failed")["reason"]


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
    kept = os.open(go, os.O_RDWR)  # so that no write meets a pipe that nobody reads
    code = f"import socket\ngo = open({str(go)!r}, 'rb', 0)\nwhile go.read(1): socket.socket()"
    unit = task(code, "log").replace('"task"', '"service"')
    told = "web: socket is in none of its promises"
    with Stack(tmp_path, {"web": unit}) as stack:
        stack.wait("web", "running")
        os.write(kept, b"12")
        written(stack, "unboxed", told)
        os.kill(stack.manager, 9)
        stack.until(stack.answers, "the next manager")
        os.write(kept, b"3")
        stack.until(lambda: written(stack, "unboxed", told).count(told) == 2, "its word")
        assert stack.row("web")["state"] == "running"
    os.close(kept)


def test_a_sigsys_without_a_filter_is_just_that(tmp_path: Path) -> None:
    text = 'kind = "task"\ncommand = ["/bin/sh", "-c", "kill -SYS $$"]\n[restart]\nwhen = "never"\n'
    with Stack(tmp_path, {"web": text}) as stack:
        assert stack.wait("web", "failed")["reason"] == "killed by SIGSYS"


@pytest.mark.skipif(not told(), reason="this host's log is not ours to read")
def test_a_violation_while_there_is_no_manager_is_named_by_the_next(tmp_path: Path) -> None:
    """The log alone tells of it: nobody listened."""

    def named(attempt: int) -> bool:
        root = tmp_path / str(attempt)
        root.mkdir()
        go = root / "go"
        os.mkfifo(go)
        code = f"import os; open({str(go)!r}).read(); os.chroot('/')"
        with Stack(root, {"web": task(code, "kill").replace('"task"', '"service"')}) as stack:
            stack.wait("web", "running")
            manager = stack.manager
            os.kill(manager, 19)
            go.write_text("now")
            os.kill(manager, 9)
            reason: str = stack.wait("web", "failed")["reason"]
        return "chroot is in none of its promises" in reason

    assert unless_dropped(named)
