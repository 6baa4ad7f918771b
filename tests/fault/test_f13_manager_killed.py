"""Fault 13: kill -9 of the manager with 200 services: they do not notice, and it is soon back."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from tests.blame import Watch
from tests.fault.witness import replaced
from tests.stack import Stack, alive

SERVICES = 200
BACK_S = 1.0
# What a new manager says as the old one did; memory and CPU time go on changing by themselves.
SAME = (
    "unit", "state", "goal", "phase", "since_ns", "pid", "ready", "restarts", "last_exit", "reason",
    "status_text", "deadline_ns", "next_try_ns", "waiting_for", "stale", "description", "tracking",
)  # fmt: skip
CLOCK_NS = 200_000_000  # by which two managers' idea of the wall clock may differ


def told(stack: Stack) -> dict[str, dict[str, Any]]:
    return {key: {name: row.get(name) for name in SAME} for key, row in stack.rows().items()}


def born(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def same(before: dict[str, Any], after: dict[str, Any]) -> bool:
    times = ("since_ns", "deadline_ns", "next_try_ns")
    return all(
        before[name] == after[name]
        or (name in times and abs(before[name] - after[name]) < CLOCK_NS)
        for name in SAME
    )


def test_f13_two_hundred_services_do_not_notice_that_the_manager_is_killed(tmp_path: Path) -> None:
    sleep = 'command = ["/bin/sleep", "1000"]\n'
    units = {f"u{n}": sleep for n in range(SERVICES)}
    others = {
        "resting": "autostart = false\n" + sleep,
        "failing": 'command = ["/bin/false"]\n[restart]\nwhen = "never"\n',
        "retrying": 'command = ["/bin/false"]\n[restart]\ndelay = "1h"\nmax_delay = "1h"\n',
        "held": sleep + '[start]\nready = "notify"\ntimeout = "1h"\n',
        "behind": sleep + '[needs]\nafter = ["held"]\nwants = ["held"]\n',
        "done": 'kind = "task"\ncommand = ["/bin/true"]\n',
    }
    with Stack(tmp_path, {**units, **others}) as stack:
        for key, state in (("failing", "failed"), ("retrying", "backoff"), ("held", "starting"),
                           ("behind", "waiting"), ("done", "finished")):  # fmt: skip
            stack.wait(key, state)
        stack.until(
            lambda: all(stack.rows()[key]["state"] == "running" for key in units), "all to run"
        )
        stack.write("u1", sleep + 'description = "changed since it started"\n')
        stack.call("ReloadUnits")
        after = told(stack)
        for kill in range(3):
            before = after
            births = {key: born(row["pid"]) for key, row in before.items() if row["pid"]}
            assert len(births) == SERVICES + 1
            manager = stack.manager
            watch = Watch(stack.keeper)
            os.kill(manager, signal.SIGKILL)
            watch.also(replaced(stack, manager))
            back_s = watch.blamed_s()
            after = told(stack)
            changed = [k for k in before if k not in after or not same(before[k], after[k])]
            assert not changed, [(before[key], after.get(key)) for key in changed]
            assert before.keys() == after.keys()
            assert {key: born(after[key]["pid"]) for key in births} == births
            assert back_s < BACK_S, f"kill {kill}: control was away for {back_s:.2f} s"
        assert after["u1"]["stale"]
        assert after["u1"]["description"] == "changed since it started"
        assert stack.call("Status")["supervisor"]["manager_starts"] == 4
        assert "nobody knows it" not in stack.errors.read_text()
    assert not any(alive(row["pid"]) for row in after.values() if row["pid"])
