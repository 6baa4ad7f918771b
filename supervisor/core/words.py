"""How things end, in words."""
from __future__ import annotations

from supervisor.model.values import signal_name

TOO_LATE = "not ready within start.timeout"  # how such a reason begins
NO_PING, HUNG = "no watchdog ping", "it reported itself hung"  # the same
# How far a unit has come, and what is waited for.
CAME = {"ready": "is ready", "started": "has started", "finished": "has finished"}
SKIPPED = "was skipped"  # which counts as having come as far as anybody waits for
COMES = {"ready": "be ready", "started": "start", "finished": "finish"}
CLD_EXITED, CLD_KILLED, CLD_DUMPED = 1, 2, 3
# Signals by which a service may be asked to end: dying of one of them is no failure.
CLEAN_SIGNALS = frozenset({1, 2, 13, 15})


def exit_words(code: int, status: int) -> str:
    """`code` a CLD_* number, `status` the exit status or the signal."""
    if code == CLD_EXITED:
        return f"exit {status}"
    if code == CLD_DUMPED:
        return f"killed by {signal_name(status)}, core dumped"
    return f"killed by {signal_name(status)}"
