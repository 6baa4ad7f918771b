"""The state machine of one instance: (phase, event) -> what changes and what to do.

A state is goal x phase (model.state). A restart is no state of its own: it is a stop with goal up
(or `again`). `step` looks the handler up in TABLE, which has an entry for every pair; a pair that
changes nothing names the reason in IGNORED, so no combination is left to chance. The handlers are
in one module for each part of an instance's life; imports, and so calls, go one way:
running > starting > stopping > ending > turn.

What this module does not know: other units (world.py turns relations into NeedsMet, NeedFailed,
Released), the clock (the turn carries `now`), and whether an action succeeds.
"""
from __future__ import annotations

from typing import Any

from supervisor.core import ending, running, starting, stopping
from supervisor.core.turn import Handler, Turn
from supervisor.model import event as ev
from supervisor.model.state import PHASES, Instance, Phase
from supervisor.model.unit import Unit


def step(turn: Turn, unit: Unit, inst: Instance, event: Any) -> None:
    """Let `event` happen to `inst`. Events of earlier launches change nothing."""
    launch = getattr(event, "launch", None)
    if launch is not None and launch not in (inst.launch, inst.job):
        return  # stale: that process is not ours any more
    handler = TABLE[inst.phase, type(event)]
    if handler is not None:
        handler(turn, unit, inst, event)


_RUNNING: dict[type, Handler] = {
    ev.Reset: ending.reset,
    ev.Froze: running.froze,
    ev.Notified: running.notified,
}
_STOPPING: dict[type, Handler] = {
    **_RUNNING,
    ev.GoUp: stopping.up_after_stop,
    ev.GoAgain: stopping.up_after_stop,
    ev.GoDown: stopping.down_after_stop,
    ev.Execed: starting.late_exec,
    ev.Exited: running.exited,
    ev.Empty: stopping.stop_empty,
    ev.Due: stopping.stop_due,
    ev.LaunchFailed: starting.launch_failed,
}
_HANDLED: dict[Phase, dict[type, Handler]] = {
    "down": {
        ev.GoUp: starting.go_up,
        ev.GoAgain: starting.go_up,
        ev.Reset: ending.reset,
    },
    "waiting": {
        ev.NeedsMet: starting.begin_launch,
        ev.NeedFailed: starting.need_failed,
        ev.GoDown: ending.rest,
        ev.Reset: ending.reset,
    },
    "launching": {
        **_RUNNING,
        ev.Execed: starting.execed,
        ev.LaunchFailed: starting.launch_failed,
        ev.Skipped: starting.skipped,
        ev.Ready: starting.early_ready,
        ev.Exited: starting.launch_exited,
        ev.GoDown: stopping.go_down,
        ev.GoAgain: stopping.go_again,
        ev.GoUp: stopping.stay_up,
        ev.Due: starting.start_due,
    },
    "starting": {
        **_RUNNING,
        ev.Execed: starting.late_exec,
        ev.LaunchFailed: starting.launch_failed,
        ev.Ready: starting.got_ready,
        ev.Exited: starting.start_exited,
        ev.GoDown: stopping.go_down,
        ev.GoAgain: stopping.go_again,
        ev.GoUp: stopping.stay_up,
        ev.Released: stopping.released,
        ev.Due: starting.start_due,
    },
    "up": {
        **_RUNNING,
        ev.Execed: starting.late_exec,
        ev.LaunchFailed: starting.launch_failed,
        ev.Ready: running.reload_done,
        ev.Exited: running.exited,
        ev.Empty: running.up_empty,
        ev.GoDown: stopping.go_down,
        ev.GoAgain: stopping.go_again,
        ev.GoUp: stopping.stay_up,
        ev.Released: stopping.released,
        ev.Due: running.up_due,
        ev.Measured: running.measured,
        ev.Reloaded: running.reloaded,
    },
    "stopping": _STOPPING,
    "killing": {**_STOPPING, ev.Due: stopping.kill_due},
    "finishing": _STOPPING,
    "backoff": {
        ev.Due: starting.retry,
        ev.GoUp: starting.retry,
        ev.GoAgain: starting.retry,
        ev.GoDown: ending.rest,
        ev.Reset: ending.reset,
    },
    "failed": {
        ev.GoUp: starting.go_up,
        ev.GoAgain: starting.go_up,
        ev.GoDown: ending.give_in,
        ev.Reset: ending.reset,
    },
}

_NOTHING_RUNS = "nothing of it runs"
_NO_WAIT = "it waits for nothing"
IGNORED: dict[type, dict[Phase, str]] = {
    ev.GoUp: {"waiting": "it is about to start"},
    ev.GoDown: {"down": "it is down"},
    ev.GoAgain: {"waiting": "it is about to start"},
    ev.NeedsMet: dict.fromkeys((p for p in PHASES if p != "waiting"), _NO_WAIT),
    ev.NeedFailed: dict.fromkeys((p for p in PHASES if p != "waiting"), _NO_WAIT),
    ev.Released: dict.fromkeys(
        (p for p in PHASES if p not in ("starting", "up")), "no stop is being held back"
    ),
    ev.Execed: dict.fromkeys(("down", "waiting", "backoff", "failed"), _NOTHING_RUNS),
    ev.LaunchFailed: dict.fromkeys(("down", "waiting", "backoff", "failed"), _NOTHING_RUNS),
    ev.Skipped: dict.fromkeys((p for p in PHASES if p != "launching"), "it is past its conditions"),
    ev.Exited: dict.fromkeys(("down", "waiting", "backoff", "failed"), _NOTHING_RUNS),
    ev.Empty: dict.fromkeys(
        ("down", "waiting", "launching", "starting", "backoff", "failed"),
        "its emptiness decides nothing now",
    ),
    ev.Ready: dict.fromkeys(
        (p for p in PHASES if p not in ("launching", "starting", "up")),
        "its readiness decides nothing now",
    ),
    ev.Notified: dict.fromkeys(("down", "waiting", "backoff", "failed"), _NOTHING_RUNS),
    ev.Measured: dict.fromkeys((p for p in PHASES if p != "up"), "only what is up is recycled"),
    ev.Froze: dict.fromkeys(("down", "waiting", "backoff", "failed"), _NOTHING_RUNS),
    ev.Reloaded: dict.fromkeys((p for p in PHASES if p != "up"), "only what is up reloads"),
    ev.Due: dict.fromkeys(("down", "waiting", "failed"), "no deadline runs in it"),
}
TABLE: dict[tuple[Phase, type], Handler | None] = {
    (phase, kind): _HANDLED[phase].get(kind) for phase in PHASES for kind in ev.EVENTS
}
