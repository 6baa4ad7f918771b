"""Fault 3: a service that always ends at once is started again ever more slowly, as its back-off
says, and costs the supervisor less than 1 % of a CPU."""

from __future__ import annotations

import itertools
import time

from tests.blame import Watch
from tests.fault.lifecycle import cpu_s, supervisor, three
from tests.stack import Stack

FALSE = 'command = ["/bin/false"]\nautostart = false\n[restart]\nwhen = "always"\nlimit = "none"\n'
CAPPED = FALSE + 'delay = "100ms"\nmax_delay = "800ms"\n'
SECOND_NS = 10**9
JITTER = 1.1
LATE_NS = 100_000_000  # it is told to wake us, and does so a little later
LONGEST_NS = {"false": 60 * SECOND_NS, "capped": 800_000_000}
RESTARTS = {"false": 6, "capped": 8}  # 0.1 + 0.2 + ... + 3.2 s, both about 6 s


def pauses_ns(stack: Stack, key: str) -> list[int]:
    history = stack.call("Describe", unit=key)["history"]
    return [
        after["time_ns"] - before["time_ns"]
        for before, after in itertools.pairwise(history)
        if before["to"] == "backoff" and after["to"] == "waiting"
    ]


def test_f03_the_back_off_is_kept_and_costs_nothing() -> None:
    with supervisor("cgroup", {"false": FALSE, "capped": CAPPED}) as stack:
        mine = three(stack).values()
        watch = Watch(*mine)
        stack.call("Start", units=["false", "capped"], wait=False)
        began, used = time.monotonic(), sum(map(cpu_s, mine))
        time.sleep(7)  # of quiet: every question would cost the CPU time that is measured
        share = (sum(map(cpu_s, mine)) - used) / (time.monotonic() - began)
        assert share < 0.01, f"{share:.2%} of a CPU"
        for key, restarts in RESTARTS.items():
            stack.until(
                lambda key=key, restarts=restarts: len(pauses_ns(stack, key)) >= restarts,  # type: ignore[misc]
                "as many restarts",
            )
            assert stack.wait(key, "backoff")["last_exit"] == "exit 1"
            found = pauses_ns(stack, key)
            late_ns = LATE_NS + int(watch.excused_s() * 1e9)
            for number, pause in enumerate(found):
                least = min(SECOND_NS // 10 * 2**number, LONGEST_NS[key])
                assert least <= pause <= least * JITTER + late_ns, (key, number, pause)
