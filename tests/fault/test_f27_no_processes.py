"""Fault 27: no process can be forked any more (RLIMIT_NPROC, or the pids controller; pid_max is the
same refusal). Starts are retried and named, nothing that runs is lost, and once there is room all
is as it was to be, the manager and the logger included."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tests.fault.lifecycle import SLEEP, cpu_s, legacy_group, limited, supervisor, three
from tests.fault.witness import replaced
from tests.stack import Stack, alive, own

LIMITS = "RLIMIT_NPROC, pids.max and pid_max limit them"
REFUSED = f"the keeper refused it: no process is left ({LIMITS})"
SECONDS, SHARE = 3.0, 0.02
UNITS = {
    "calm": SLEEP,
    "ended": SLEEP + "[restart]\ndelay = 0\n",
    "new": SLEEP + "autostart = false\n",
    "task": 'command = ["/bin/true"]\nkind = "task"\nautostart = false\n',
    "hooked": SLEEP + 'autostart = false\nstart = {before = [["/bin/true"]]}\n',
}


@contextlib.contextmanager
def no_room(group: Path) -> Iterator[None]:
    (group / "pids.max").write_text("1")
    try:
        yield
    finally:
        (group / "pids.max").write_text("max")


def goes_on(stack: Stack, none_left: contextlib.AbstractContextManager[None]) -> None:
    stack.wait("calm", "running")
    stack.wait("ended", "running")
    before = stack.rows()
    pids = three(stack)
    with none_left:
        os.kill(before["ended"]["pid"], signal.SIGKILL)
        for name in ("new", "task", "hooked"):
            stack.call("Start", units=[name], wait=False)
        for name in ("ended", "new", "task", "hooked"):
            row = stack.wait(name, "backoff")
            assert row["reason"] == REFUSED
            assert row["next_try_ns"]
        used, began = cpu_s(pids["manager"]) + cpu_s(pids["keeper"]), time.monotonic()
        time.sleep(SECONDS)
        share = (cpu_s(pids["manager"]) + cpu_s(pids["keeper"]) - used) / (
            time.monotonic() - began
        )
        assert share < SHARE, f"the retries used {share:.1%} of a CPU"
        for name in ("manager", "logger"):
            os.kill(pids[name], signal.SIGKILL)
            stack.until(lambda name=name: not alive(pids[name]), f"the end of the {name}")  # type: ignore[misc]
        assert alive(before["calm"]["pid"])
    replaced(stack, pids["manager"])
    for name in ("calm", "ended", "new", "hooked"):
        stack.wait(name, "running")
    stack.wait("task", "finished")
    assert stack.row("calm")["pid"] == before["calm"]["pid"]
    stack.until(lambda: stack.logger not in (0, pids["logger"]), "another logger")


def test_f27_the_pids_controller() -> None:
    group = legacy_group("pids") / f"unboxed-fault-27-{os.getpid()}"
    group.mkdir()
    enter = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
    try:
        with supervisor("cgroup", UNITS, prefix=enter) as stack:
            goes_on(stack, no_room(group))
    finally:
        group.rmdir()


@contextlib.contextmanager
def no_more(stack: Stack) -> Iterator[None]:
    """The limit of whoever makes processes: the keeper, and the spawners that it has."""
    keeper = three(stack)["keeper"]
    with contextlib.ExitStack() as limits:
        for pid in [keeper, *own(keeper)]:
            limits.enter_context(limited(pid, "Max processes", 1))
        yield


def test_f27_rlimit_nproc() -> None:
    with supervisor("session", UNITS) as stack:
        goes_on(stack, no_more(stack))
