"""What one unit file means, typed: the value that config makes, core reads and kernel launches.

Everything here is frozen and comparable, so "did this unit change?" is `==`. Times are integer
nanoseconds (`*_ns`), sizes integer bytes (`*_bytes`), signals Linux numbers. Defaults are those
of docs/units.md; config owns the text syntax, this module knows none of it.
"""
from __future__ import annotations

from typing import Literal

from msgspec import Struct

from supervisor.model.sandbox import Network, Sandbox, Secret

Until = Literal["started", "ready", "finished"]
Kind = Literal["service", "task", "group"]
Share = Literal["pid", "tmp", "limits"]
Receives = Literal["logs", "metrics", "endpoints", "cgroup", "pidfd"]
When = Literal["always", "on-failure", "on-abnormal", "never"]

SECOND_NS = 1_000_000_000
AGENT_DRAIN_NS = 5 * SECOND_NS  # for an agent that receives logs, unless it says otherwise
BOOT, RESCUE = "boot", "rescue"  # units that a machine's supervisor knows by name
CORES = 0  # `instances = "cores"`: one for each CPU the supervisor may use


class Edge(Struct, frozen=True, gc=False, omit_defaults=True):
    """One relation to another unit. `order` false: start it too, but wait for nothing."""

    unit: str
    until: Until = "ready"
    order: bool = True


class Needs(Struct, frozen=True, gc=False, omit_defaults=True):
    requires: tuple[Edge, ...] = ()
    wants: tuple[Edge, ...] = ()
    after: tuple[Edge, ...] = ()
    before: tuple[Edge, ...] = ()
    conflicts: tuple[str, ...] = ()
    binds_to: tuple[Edge, ...] = ()


class Conditions(Struct, frozen=True, gc=False, omit_defaults=True):
    """All must hold or the start is skipped (not failed). A leading "!" negates one."""

    path_exists: tuple[str, ...] = ()
    virtualization: tuple[str, ...] = ()
    kernel_cmdline: tuple[str, ...] = ()
    first_boot: bool | None = None
    host: tuple[str, ...] = ()


class Ready(Struct, frozen=True, gc=False, omit_defaults=True):
    """When a start counts as done. Only the field that `kind` names means anything."""

    kind: Literal["exec", "notify", "fd", "log", "exit"] = "exec"
    fd: int = 0
    pattern: str = ""
    code: int = 0


class Start(Struct, frozen=True, gc=False, omit_defaults=True):
    """`timeout_ns` 0: no limit. `watchdog_ns` 0: no watchdog. Hooks are argument lists."""

    ready: Ready = Ready()
    timeout_ns: int = 60 * SECOND_NS
    before: tuple[tuple[str, ...], ...] = ()
    after: tuple[tuple[str, ...], ...] = ()
    watchdog_ns: int = 0


class RestartLimit(Struct, frozen=True, gc=False, omit_defaults=True):
    """`count` restarts within `within_ns` are allowed; the next one does `then`.

    `then`: "fail", the name of a unit to start as well, or what is done with a machine.
    """

    count: int = 10
    within_ns: int = 300 * SECOND_NS
    then: str = "fail"


class Restart(Struct, frozen=True, gc=False, omit_defaults=True):
    """`max_age_ns` and `memory_budget_bytes` 0: never recycled for that."""

    when: When = "on-failure"
    success_codes: tuple[int, ...] = (0,)
    delay_ns: int = SECOND_NS // 10
    factor: float = 2.0
    max_delay_ns: int = 60 * SECOND_NS
    jitter: float = 0.1
    reset_after_ns: int = 600 * SECOND_NS
    limit: RestartLimit | None = RestartLimit()
    max_age_ns: int = 0
    max_age_jitter_ns: int = 0
    memory_budget_bytes: int = 0


class Rung(Struct, frozen=True, gc=False):
    """Send `signal`, then wait `wait_ns` (0: not at all) before the next rung."""

    signal: int
    wait_ns: int


class Stop(Struct, frozen=True, gc=False, omit_defaults=True):
    """cgroup.kill follows the last rung, always. `drain_ns`, which comes before the first: see
    `drain_ns(unit)`."""

    ladder: tuple[Rung, ...] = (Rung(15, 10 * SECOND_NS),)
    scope: Literal["all", "main"] = "all"
    command: tuple[str, ...] = ()
    drain_ns: int | None = None


class Reload(Struct, frozen=True, gc=False, omit_defaults=True):
    kind: Literal["signal", "command", "restart"] = "signal"
    signal: int = 1
    command: tuple[str, ...] = ()


class Listen(Struct, frozen=True, gc=False, omit_defaults=True):
    """One listening socket. `host`/`port` for tcp, tcp6, udp, udp6; `path` for unix and
    unix-datagram (a file), abstract (without its NUL), fifo, and netlink ("FAMILY[ GROUP]")."""

    name: str
    family: Literal[
        "tcp", "tcp6", "udp", "udp6", "unix", "unix-datagram", "abstract", "fifo", "netlink"
    ]
    host: str = ""
    port: int = 0
    path: str = ""
    backlog: int = 4096
    reuse_port: bool = False
    mode: int = 0o666
    user: str = ""
    group: str = ""


class Logs(Struct, frozen=True, gc=False, omit_defaults=True):
    """`max_age_ns` and `rate_bytes` (a second) 0: no limit. All but `to` is for files."""

    keep_bytes: int = 256 << 20
    segment_bytes: int = 16 << 20
    max_age_ns: int = 0
    compress: bool = True
    stderr: Literal["merge", "separate"] = "merge"
    on_full: Literal["block", "drop"] = "block"
    rate_bytes: int = 0
    to: Literal["files", "console", "null", "inherit"] = "files"


class IoLimit(Struct, frozen=True, gc=False, omit_defaults=True):
    """At most so many bytes and operations a second, on the disk that holds `path`. None: any."""

    path: str
    read_bytes: int | None = None
    write_bytes: int | None = None
    read_iops: int | None = None
    write_iops: int | None = None


class Limits(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a unit may use. None: not asked for (`tasks` and `oom` have defaults, which hold where
    the host can keep them). Resource limits are (soft, hard), in the kernel's own units.

    `cpu_milli`: thousandths of a core. `cpus`: in ascending ranges, "0-3,8".
    """

    memory_bytes: int | None = None
    memory_high_bytes: int | None = None
    memory_min_bytes: int | None = None
    swap_bytes: int | None = None
    cpu_milli: int | None = None
    cpu_weight: int | None = None
    cpus: str = ""
    io_weight: int | None = None
    io: tuple[IoLimit, ...] = ()
    tasks: int | None = None
    oom: Literal["unit", "process"] | None = None
    oom_score_adjust: int | None = None
    nice: int | None = None
    files: tuple[int, int] | None = None
    core: tuple[int, int] | None = None
    rlimits: tuple[tuple[str, int, int], ...] = ()
    slice: str = ""
    require: Literal["all", "best"] = "all"


class Agent(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a unit is told of those that it is attached to. `cursor`: it acknowledges log lines."""

    receives: tuple[Receives, ...] = ()
    cursor: bool = False
    share: tuple[Share, ...] = ()


class Unit(Struct, frozen=True, gc=False, omit_defaults=True):
    """`instances` 0 (CORES): one for each CPU. `user` "": the supervisor's."""

    name: str
    source: str = ""
    description: str = ""
    documentation: tuple[str, ...] = ()
    kind: Kind = "service"
    command: tuple[str, ...] = ()
    autostart: bool = True
    instances: int = 1
    pin: bool = False
    directory: str = ""
    umask: int = 0o077
    user: str = ""
    group: str = ""
    groups: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    env_files: tuple[str, ...] = ()
    needs: Needs = Needs()
    conditions: Conditions = Conditions()
    start: Start = Start()
    restart: Restart = Restart()
    stop: Stop = Stop()
    reload: Reload = Reload()
    listen: tuple[Listen, ...] = ()
    logs: Logs = Logs()
    limits: Limits | None = None
    sandbox: Sandbox | None = None
    network: Network | None = None
    root: str = ""
    secrets: tuple[Secret, ...] = ()
    attach: tuple[str, ...] = ()
    agent: Agent | None = None


def receives(unit: Unit, what: Receives) -> bool:
    return unit.agent is not None and what in unit.agent.receives


def shares(unit: Unit, what: Share) -> bool:
    """With the one that it is an agent of."""
    return unit.agent is not None and what in unit.agent.share


def shares_process(unit: Unit) -> bool:
    """Whether it is started after its main, whose namespaces it shares, and ends with it."""
    return shares(unit, "pid") or shares(unit, "tmp")


def drain_ns(unit: Unit) -> int:
    """How long it has, once it is to stop, before anything else is done about it."""
    if unit.stop.drain_ns is not None:
        return unit.stop.drain_ns
    return AGENT_DRAIN_NS if receives(unit, "logs") else 0
