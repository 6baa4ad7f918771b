"""Fault 8: a service ignores SIGTERM: it is dead at the timeout of its ladder, +-100 ms."""

from __future__ import annotations

from tests.blame import Watch
from tests.fault.lifecycle import both_modes, supervisor, three, wait_for_death
from tests.stack import children

DEAF = (
    "command = ['/bin/sh', '-c', \"trap '' TERM; sleep 1000 & while :; do wait; sleep 1; done\"]\n"
    '[stop]\nladder = ["TERM", "1s", "KILL"]\n'
)
TIMEOUT_S, TOLERANCE_S = 1.0, 0.1


@both_modes
def test_f08_what_ignores_term_is_dead_when_its_time_is_over(mode: str) -> None:
    with supervisor(mode, {"deaf": DEAF}) as stack:
        for _ in range(3):
            stack.call("Start", units=["deaf"], wait=True)
            pid = stack.wait("deaf", "running")["pid"]
            stack.until(lambda pid=pid: children(pid), "the trap to be set")  # type: ignore[misc]
            family = [pid, *children(pid)]
            watch = Watch(*three(stack).values())
            stack.call("Stop", units=["deaf"])
            for one in family:
                assert wait_for_death(one, 5)
            took, late = watch.wall_s(), watch.blamed_s() - TIMEOUT_S
            assert took >= TIMEOUT_S - TOLERANCE_S, f"dead after {took:.3f} s"
            assert late <= TOLERANCE_S, f"dead after {took:.3f} s, {late:.3f} s too late"
            assert stack.wait("deaf", "stopped")["last_exit"] == "killed by SIGKILL"
