"""The state of one instance, as core writes it, the journal keeps it and status shows it.

Only core/ writes these fields. Times are monotonic nanoseconds, 0 meaning "none".
"""
from __future__ import annotations

from typing import Literal

from msgspec import Struct

Power = Literal["poweroff", "reboot", "halt", "kexec"]  # what may end a machine
Goal = Literal["up", "down"]
Phase = Literal[
    "down",  # nothing runs, nothing is planned
    "waiting",  # wants to start, something it needs is not there yet
    "launching",  # before-hooks, then the main process up to its exec
    "starting",  # exec happened, not ready yet
    "up",  # ready; held here while dependents stop first
    "stopping",  # drain, stop command, signal ladder
    "killing",  # cgroup.kill was written, not empty yet
    "finishing",  # main ended by itself, its leftovers are being stopped
    "backoff",  # will be started again at `deadline_ns`
    "failed",  # gave up; the reason is in `cause`
]
PHASES: tuple[Phase, ...] = (
    "down", "waiting", "launching", "starting", "up",
    "stopping", "killing", "finishing", "backoff", "failed",
)  # fmt: skip

# What a child of the keeper is for. "ready" is the watcher of ready = {log = ...}.
# "exec": a command that somebody runs among a unit's processes; "feed": what an agent gets the logs
# from. Core knows nothing of these two.
Role = Literal["", "before", "after", "ready", "stop", "reload", "exec", "feed"]


class Instance(Struct, gc=False, omit_defaults=True):
    """One instance of one unit. `launch` is the main process's launch number, 0 when none runs;
    `job` that of the one helper process (hook, stop or reload command) and `role` its purpose."""

    key: str
    unit: str
    index: int = 0
    goal: Goal = "down"
    phase: Phase = "down"
    since_ns: int = 0
    defined_ns: int = 0  # when its unit was read, if the supervisor ran already
    launch: int = 0
    pid: int = 0
    job: int = 0
    role: Role = ""
    hook: int = 0  # index of the hook that runs
    deadline_ns: int = 0  # of the phase
    launched_ns: int = 0  # when the main process was asked for
    started_ns: int = 0  # when it was executed, as far as was heard
    rung: int = 0  # next rung of the stop ladder; -1 the command, -2 the drain, -3 SIGABRT
    emptied: bool = True  # no process of it is left, as far as is known
    again: bool = False  # stop, then start: a restart was asked for
    result: str = ""  # why the present run ends, in words; "" while all is well
    ended: Literal["", "clean", "unclean", "abnormal"] = ""  # how the last run ended
    short: bool = False  # the start failed for want of something the host may have again soon
    last_exit: str = ""  # the last end in words
    sent: int = 0  # the last signal that an operator sent to this run, 0 for none
    sent_ns: int = 0  # when
    sent_by: str = ""  # by whom and how, in words
    failures: int = 0  # restarts in a row, for the back-off
    restarts: int = 0  # automatic restarts since an operator's start
    recent_ns: tuple[int, ...] = ()  # automatic restarts within the limit's window
    finished: bool = False  # a task ran to its end with success
    skipped: bool = False  # a condition did not hold
    frozen: bool = False
    reloading: bool = False
    stuck: bool = False  # survived cgroup.kill
    status_text: str = ""  # sd_notify STATUS
    watchdog_ns: int = 0  # interval in force
    watchdog_due_ns: int = 0
    age_due_ns: int = 0  # recycle at (max_age)
    measure_due_ns: int = 0  # look at its memory at (memory_budget)
    cause: str = ""  # of the last transition, in words
    cause_id: int = 0  # that transition's number


class Transition(Struct, frozen=True, gc=False, array_like=True, omit_defaults=True):
    """One change of phase. `cause_id`: the transition, of whatever unit, that led to it, or 0."""

    id: int
    key: str
    time_ns: int
    source: Phase
    target: Phase
    cause: str
    cause_id: int = 0
