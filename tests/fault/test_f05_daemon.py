"""Fault 5: a daemon that forked twice, has a session of its own, closed every descriptor and
ignores SIGTERM is gone at the latest one second after the stop's time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.blame import Watch
from tests.fault.lifecycle import both_modes, supervisor, three, wait_for_death
from tests.stack import Stack

STOP_S = 1.0
DAEMON = """
trap '' TERM HUP
(setsid /bin/sh -c 'cd /; exec <&- >&- 2>&-
(setsid /bin/sh -c "echo \\$\\$ > {home}/pid; while :; do sleep 1000; done") &' &)
"""
UNIT = "command = ['/bin/sh', '{home}/daemon.sh']\n[stop]\nladder = ['TERM', '1s', 'KILL']\n"


def start(stack: Stack, then: str) -> list[int]:
    """The pids of the daemon and of its child, once they are there."""
    (stack.home / "daemon.sh").write_text(DAEMON.format(home=stack.home) + then)
    (stack.home / "pid").touch()
    (stack.home / "pid").chmod(0o666)
    stack.write("one", UNIT.format(home=stack.home))
    stack.call("ReloadUnits")
    stack.call("Start", units=["one"])
    stack.until(lambda: (stack.home / "pid").read_text().endswith("\n"), "the daemon")
    daemon = int((stack.home / "pid").read_text())

    def family() -> list[int]:
        tree = stack.call("Describe", unit="one")["tree"]
        ours = [row["pid"] for row in tree if row["pid"] == daemon or row["ppid"] == daemon]
        return ours if len(ours) == 2 else []

    found = stack.until(family, "its child")
    assert isinstance(found, list)
    return found


@both_modes
@pytest.mark.parametrize("main", ["stays", "ends"])
def test_f05_a_daemon_ends_with_its_unit(mode: str, main: str) -> None:
    units = {"other": "command = ['/bin/true']\nautostart = false\n"}
    with supervisor(mode, units) as stack:
        wait = f"until [ -e {stack.home}/enough ]; do sleep 0.01; done\n"
        family = start(stack, "exec sleep 1000\n" if main == "stays" else wait)
        watch = Watch(*three(stack).values())
        if main == "stays":
            stack.call("Stop", units=["one"])
        else:
            (stack.home / "enough").touch()
        for pid in family:
            assert wait_for_death(pid, 20)
        took = watch.blamed_s()
        group = Path(stack.call("Describe", unit="one")["cgroup"] or "/nowhere")
        stack.wait("one", "stopped")
        causes = {one["cause"] for one in stack.call("Describe", unit="one")["history"]}
        assert ("main process: exit 0" in causes) == (main == "ends")
        assert took <= STOP_S + 1, f"gone after {took:.3f} s"
        if mode == "cgroup":
            assert not group.exists()
