"""What the control interface tells its clients: one Struct for each type, reply and error of
`supervisor/control/io.unboxed.Supervisor.varlink`, with the same names and fields (tests compare).

Times are realtime nanoseconds since 1970, sizes bytes. None: not known here, or not applicable; the
key is sent all the same, so that every document has the same keys (but for Outcome and EventReply,
of whose fields each reply has one).
"""
from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from supervisor.model.state import Goal, Phase, Power

# The coarse public map of goal, phase and flags.
State = Literal[
    "running",  # ready
    "starting",
    "waiting",  # for units that it needs
    "stopping",
    "stopped",
    "finished",  # a task ran to its end with success
    "backoff",  # will be started again at `next_try_ns`
    "failed",  # gave up; `reason` says why
    "frozen",
    "reloading",
    "skipped",  # a condition did not hold
    "unkillable",  # survived SIGKILL: the kernel holds on to a process
]
Tracking = Literal["cgroup", "session"]


class Pressure(Struct, frozen=True, gc=False):
    """Stalls for want of a resource: percent of the last 10 s, and ns in all, in which some task
    waited, and in which all did."""

    some_percent: float
    some_ns: int
    full_percent: float
    full_ns: int


class Usage(Struct, frozen=True, gc=False):
    """Of all processes of an instance, by its groups' counters. `throttled`: how often limits.cpu
    held it back. `read_bytes` to `writes`: of disks. `oom_kills`: processes killed for memory."""

    memory_bytes: int | None = None
    memory_peak_bytes: int | None = None
    swap_bytes: int | None = None
    cpu_ns: int | None = None
    throttled_ns: int | None = None
    throttled: int | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None
    reads: int | None = None
    writes: int | None = None
    tasks: int | None = None
    oom_kills: int | None = None
    cpu_pressure: Pressure | None = None
    memory_pressure: Pressure | None = None
    io_pressure: Pressure | None = None


class InstanceStatus(Struct, frozen=True, gc=False):
    """`pid` 0: no main process. `status_text`: what the service says of itself (sd_notify STATUS).
    `recent_restarts` of at most `restart_limit` count for the limit now. `missing_limits` and
    `missing_sandbox`: what of its [limits] and isolation is not enforced, in sentences. `attached`:
    the units that it is an agent of; `agents`: its own; `behind_bytes`: what is stored of their
    logs and it has not got, or acknowledged. `usage`: if it was asked for."""

    key: str
    unit: str
    state: State
    goal: Goal
    phase: Phase
    since_ns: int
    pid: int = 0
    ready: bool = False
    restarts: int = 0
    recent_restarts: int = 0
    restart_limit: int | None = None
    last_exit: str = ""
    reason: str = ""
    status_text: str = ""
    memory_bytes: int | None = None
    cpu_ns: int | None = None
    tasks: int | None = None
    tracking: Tracking = "cgroup"
    next_try_ns: int | None = None
    deadline_ns: int | None = None
    waiting_for: tuple[str, ...] = ()
    stale: bool = False
    removed: bool = False
    description: str = ""
    missing_limits: tuple[str, ...] = ()
    missing_sandbox: tuple[str, ...] = ()
    attached: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    behind_bytes: int | None = None
    usage: Usage | None = None


class SupervisorStatus(Struct, frozen=True, gc=False):
    """`pid` is the manager's. `manager_starts` 1: it was never replaced. `ending`: what becomes of
    the machine that is going down, None as long as it is not."""

    version: str
    pid: int
    keeper_pid: int
    manager_starts: int
    tracking: Tracking
    started_ns: int
    units: int
    ending: Power | None = None


class ProcessStatus(Struct, frozen=True, gc=False):
    pid: int
    ppid: int
    command: str
    memory_bytes: int | None = None


class ListenerStatus(Struct, frozen=True, gc=False):
    """`queue`: connections that wait to be accepted."""

    name: str
    address: str
    queue: int | None = None


class Transition(Struct, frozen=True, gc=False, rename={"source": "from", "target": "to"}):
    """`cause_id`: the transition, of whatever unit, that led to this one; 0 none."""

    id: int
    key: str
    time_ns: int
    source: Phase
    target: Phase
    cause: str
    cause_id: int = 0


class Result(Struct, frozen=True, gc=False):
    """How an operation ended for one instance. `code` is the exit code of the command line: 0 done,
    1 failed, 3 no such unit or not running, 4 not permitted, 5 timed out."""

    key: str
    ok: bool
    message: str = ""
    code: int = 0


class Progress(Struct, frozen=True, gc=False):
    key: str
    state: State
    phase: Phase
    waiting_for: tuple[str, ...] = ()
    deadline_ns: int | None = None
    reason: str = ""


class Problem(Struct, frozen=True, gc=False):
    """One error of a file. `line` 0: the file as a whole; `key` "": no one key."""

    file: str
    line: int
    key: str
    message: str


class Step(Struct, frozen=True, gc=False):
    step: str
    detail: str


class Mechanism(Struct, frozen=True, gc=False):
    """What makes the kernel keep one key of a unit file."""

    key: str
    value: str
    mechanism: str


class Exits(Struct, frozen=True, gc=False):
    """How runs ended. `signal`: by one that is no ordinary way to ask for an end. `timeout`: not
    ready, or not stopped, in time. `launch`: before the main process began, or by a hook."""

    clean: int = 0
    failure: int = 0
    signal: int = 0
    oom: int = 0
    timeout: int = 0
    watchdog: int = 0
    violation: int = 0
    launch: int = 0


class StartLatency(Struct, frozen=True, gc=False):
    """From launch until ready. `classes`: how many starts were within each bound of
    FiguresReply.start_bounds_ns and beyond the one before it; the last: beyond them all."""

    count: int
    sum_ns: int
    classes: tuple[int, ...] = ()


class LogFigures(Struct, frozen=True, gc=False):
    """`last_ns`: when something was written, 0 for never."""

    stored_bytes: int
    lost_bytes: int
    losses: int
    last_ns: int


class InstanceFigures(Struct, frozen=True, gc=False):
    """Counted since the manager began, those of `log` since the host did. None: nothing to count
    so far."""

    key: str
    unit: str
    starts: int = 0
    restarts: int = 0
    exits: Exits | None = None
    start_latency: StartLatency | None = None
    log: LogFigures | None = None


class ProcessFigures(Struct, frozen=True, gc=False):
    """`wakeups`: how often it went on after it had waited. `memory_bytes`: resident."""

    pid: int
    cpu_ns: int | None = None
    memory_bytes: int | None = None
    wakeups: int | None = None
    descriptors: int | None = None


class SupervisorFigures(Struct, frozen=True, gc=False):
    """`turns`: of the manager's loop. `stored`: descriptors that the keeper holds. `logger` None:
    it is being replaced."""

    version: str
    started_ns: int
    manager_starts: int
    turns: int
    units: int
    instances: int
    clients: int
    journal_bytes: int
    stored: int
    manager: ProcessFigures
    keeper: ProcessFigures
    logger: ProcessFigures | None = None


# --- replies ----------------------------------------------------------------------------------


class StatusReply(Struct, frozen=True, gc=False):
    instances: tuple[InstanceStatus, ...]
    supervisor: SupervisorStatus


class FiguresReply(Struct, frozen=True, gc=False):
    instances: tuple[InstanceFigures, ...]
    supervisor: SupervisorFigures
    start_bounds_ns: tuple[int, ...]


class UnitDescription(Struct, frozen=True, gc=False):
    """`definition`: the unit as understood; None for who may not see it. `cgroup` "": none."""

    status: InstanceStatus
    tree: tuple[ProcessStatus, ...] = ()
    listeners: tuple[ListenerStatus, ...] = ()
    definition: Any = None
    cgroup: str = ""
    history: tuple[Transition, ...] = ()


class Outcome(Struct, frozen=True, gc=False, omit_defaults=True):
    """Of an operation: `progress` while it goes on (if `more`), `results` in the last reply."""

    results: tuple[Result, ...] | None = None
    progress: tuple[Progress, ...] | None = None


class UnitsReloaded(Struct, frozen=True, gc=False):
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class EventReply(Struct, frozen=True, gc=False, omit_defaults=True):
    """`ready` in the first reply, whose transitions are all that follow it."""

    ready: bool | None = None
    event: Transition | None = None


class Causes(Struct, frozen=True, gc=False):
    """The present state first, then what led to it; `status` of the same moment."""

    chain: tuple[Transition, ...]
    status: InstanceStatus


class BootStep(Struct, frozen=True, gc=False):
    """`done_ns` is monotonic, as all times of a boot. Names: keeper (it runs; before that it was
    the kernel's time), machine (file systems and console are there), interpreter (runs the
    manager's own code), imports, prepared (sockets and groups), read (the unit files), planned,
    begun."""

    name: str
    done_ns: int


class BootWait(Struct, frozen=True, gc=False):
    """`until`: ready, started or finished."""

    unit: str
    until: str


class BootUnit(Struct, frozen=True, gc=False):
    """When an instance was first what; 0: never. `ended_ns`: has ended, failed or was skipped."""

    key: str
    unit: str
    waiting_ns: int
    launching_ns: int
    starting_ns: int
    up_ns: int
    ended_ns: int
    failed: bool
    waits: tuple[BootWait, ...]


class BootReportReply(Struct, frozen=True, gc=False):
    """`done_ns` 0: some are still under way."""

    machine: bool
    done_ns: int
    steps: tuple[BootStep, ...]
    units: tuple[BootUnit, ...]


class Explanation(Struct, frozen=True, gc=False):
    steps: tuple[Step, ...]
    keys: tuple[Mechanism, ...]


class AuditCheck(Struct, frozen=True, gc=False):
    """`badness` of `range`, 0 is good; None: not applicable. `exposure`: its share, in points."""

    name: str
    badness: int | None
    range: int
    exposure: float


class NextKey(Struct, frozen=True, gc=False):
    """`exposure`: what the unit's would be with this one more key."""

    key: str
    value: str
    exposure: float


class UnitAudit(Struct, frozen=True, gc=False):
    """`exposure` from 0.0 to 10.0, less is better. `checks`: if one unit was asked for."""

    unit: str
    exposure: float
    word: str
    cheapest: NextKey | None = None
    checks: tuple[AuditCheck, ...] = ()


class Audits(Struct, frozen=True, gc=False):
    audits: tuple[UnitAudit, ...]


class InstancePorts(Struct, frozen=True, gc=False):
    """`network`: host, none or private. `listen`, `connect`: what its rules allow; None: anything.
    `pids`: all of its processes, where no cgroup tells whose they are."""

    key: str
    unit: str
    pid: int
    network: str
    listeners: tuple[ListenerStatus, ...] = ()
    listen: tuple[str, ...] | None = None
    connect: tuple[str, ...] | None = None
    pids: tuple[int, ...] = ()


class PortsReply(Struct, frozen=True, gc=False):
    instances: tuple[InstancePorts, ...]


class Relation(Struct, frozen=True, gc=False):
    """`unit` looks at `target`. `until`: what it waits for there; "": for nothing."""

    unit: str
    kind: str
    target: str
    until: str = ""


class RelationsReply(Struct, frozen=True, gc=False):
    relations: tuple[Relation, ...] = ()


class Grant(Struct, frozen=True, gc=False):
    """A role on the units whose names fit one of these globs."""

    role: str
    units: tuple[str, ...]


class RightsReply(Struct, frozen=True, gc=False):
    """What the peer `uid` may do."""

    uid: int
    grants: tuple[Grant, ...] = ()


class Changed(Struct, frozen=True, gc=False):
    """`file`: the drop-in that has it now. `results`: of each instance that runs."""

    file: str
    results: tuple[Result, ...] = ()


class Executed(Struct, frozen=True, gc=False, omit_defaults=True):
    """`pid` in the first reply; then how it ended: `code`, or the `signal` that ended it."""

    pid: int | None = None
    code: int | None = None
    signal: int | None = None


class Tried(Struct, frozen=True, gc=False):
    unit: str


class LearnedWord(Struct, frozen=True, gc=False):
    word: str
    path: str


class LearnedProcess(Struct, frozen=True, gc=False):
    """What waits for its learner: `descriptor` of `pid` is the listener of its filter. `root`:
    where its paths begin. `words`: what @words stand for. `drop_in`: where what is learned
    belongs. `hooks`: it has other commands, which are not seen. `dynamic`: its user is. `folders`:
    where unit files are read from, highest rank first."""

    key: str
    unit: str
    pid: int
    descriptor: int
    program: str
    root: str
    drop_in: str
    words: tuple[LearnedWord, ...] = ()
    hooks: bool = False
    dynamic: bool = False
    folders: tuple[str, ...] = ()


class LearnReply(Struct, frozen=True, gc=False, omit_defaults=True):
    """Each process that is executed, and at last why there is none any more."""

    process: LearnedProcess | None = None
    ended: str | None = None


class Ending(Struct, frozen=True, gc=False):
    """When everything that still runs is killed."""

    deadline_ns: int


class Done(Struct, frozen=True, gc=False):
    """Nothing to tell but that it is done."""


# --- errors -----------------------------------------------------------------------------------


class NoSuchUnit(Struct, frozen=True, gc=False):
    unit: str
    message: str


class NotRunning(Struct, frozen=True, gc=False):
    """There is no process to be among."""

    unit: str
    message: str


class NotPermitted(Struct, frozen=True, gc=False):
    reason: str
    message: str


class InvalidUnits(Struct, frozen=True, gc=False):
    """Unit files with errors; nothing was changed."""

    problems: tuple[Problem, ...]
    message: str


class Failed(Struct, frozen=True, gc=False):
    message: str


class TimedOut(Struct, frozen=True, gc=False):
    message: str


class BadMessage(Struct, frozen=True, gc=False):
    """What came is no call; the connection is closed."""

    message: str


class TooManyClients(Struct, frozen=True, gc=False):
    message: str


class TooSlow(Struct, frozen=True, gc=False):
    """The client did not complete its message, or did not read; the connection is closed."""

    message: str


Refusal = (
    NoSuchUnit | NotRunning | NotPermitted | InvalidUnits | Failed | TimedOut
    | BadMessage | TooManyClients | TooSlow
)  # fmt: skip
