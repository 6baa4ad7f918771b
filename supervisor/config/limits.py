"""The table of `[limits]` keys. Loaded when a unit has that section, and for documents.

Law as in `values`: accepted exactly or refused with a sentence. Whether a host can keep a limit is
known at launch only (kernel.limits).
"""
from __future__ import annotations

from typing import Any

from supervisor.config.quantity import DURATION, RATE, size
from supervisor.config.table import Fault, Key, Refused, Table, Type, rows, show
from supervisor.config.values import DIGITS, PATH, UNIT_NAME, choice, integer
from supervisor.model.rlimits import RLIMITS, UNLIMITED
from supervisor.model.unit import IoLimit, Limits, Unit

MAX_CPU = 8191
MAX_CPU_MILLI = 1024 * 1000
_MOST = {"nofile": 1 << 30, "nice": 40, "rtprio": 99}  # of those that count
_OF_PROCESSES = ("oom_score_adjust", "nice", "files", "core", "rlimits")

# --- one number ---


def _percent(value: object) -> int:
    """Thousandths of a core."""
    if type(value) is str and len(value) <= 16 and value[-1:] == "%":
        whole, point, tenth = value[:-1].partition(".")
        if whole and DIGITS.issuperset(whole) and (not point or (tenth and tenth in DIGITS)):
            found = int(whole) * 10 + int(tenth or 0)
            if 1 <= found <= MAX_CPU_MILLI:
                return found
            raise Refused(f'cannot use {show(value)}: it must be from "0.1%" to "102400%"')
    raise Refused(
        f'cannot use {show(value)}: write a part of one core, such as "50%", or "150%" for one '
        "and a half"
    )


def _cpus(value: object) -> str:
    """Sorted ranges that do not touch, as the kernel prints them."""
    wrong = f'cannot use {show(value)}: write numbers and ranges of CPUs, such as "0-3,8"'
    if type(value) is not str or len(value) > 4096:
        raise Refused(wrong)
    found: set[int] = set()
    for part in value.split(","):
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        if not all(0 < len(n) <= 4 and DIGITS.issuperset(n) for n in (first, last)):
            raise Refused(wrong)
        if not int(first) <= int(last) <= MAX_CPU:
            raise Refused(f"cannot use {show(part)}: a range goes up, to {MAX_CPU} at most")
        found.update(range(int(first), int(last) + 1))
    ranges: list[list[int]] = []
    for cpu in sorted(found):
        if ranges and cpu == ranges[-1][1] + 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)


# --- resource limits of a process ---

_KINDS = {
    "size": "size",
    "count": "whole number",
    "s": "duration in whole seconds",
    "us": "duration in whole microseconds",
}
_RANGES = '`"unlimited"`, or `"SOFT:HARD"`'


def _amount(name: str, value: object) -> int:
    """One of the two numbers of a resource limit, in the kernel's unit."""
    if value == "unlimited":
        return UNLIMITED
    kind = RLIMITS[name][1]
    if type(value) is str and 0 < len(value) <= 19 and DIGITS.issuperset(value):
        value = int(value)  # a half of "SOFT:HARD"
    if kind in {"s", "us"}:
        scale = 10**9 if kind == "s" else 1000
        found, rest = divmod(DURATION.parse(value), scale)
        if rest:
            raise Refused(f"cannot use {show(value)}: write a {_KINDS[kind]}")
        return int(found)
    if kind == "size":
        return int(size(0).parse(value))
    return int(integer(0, _MOST.get(name, 1 << 40)).parse(value))


def _rlimit(name: str, value: object) -> tuple[int, int]:
    """Soft and hard limit."""
    if type(value) is not str or ":" not in value:
        both = _amount(name, value)
        return both, both
    first, _, last = value.partition(":")
    soft, hard = _amount(name, first), _amount(name, last)
    if soft > hard:
        raise Refused(f"cannot use {show(value)}: the soft limit, the first, is above the hard one")
    return soft, hard


def rlimit(name: str) -> Type:
    words = f"{_KINDS[RLIMITS[name][1]]}, {_RANGES}"
    return Type(lambda value: _rlimit(name, value), "rlimit", words, name)


_INSTEAD = {
    "nofile": "write limits.files",
    "core": "write limits.core",
    "rss": "no kernel enforces it; write limits.memory",
    "locks": "no kernel enforces it; remove it",
}


def _rlimits(value: object) -> tuple[tuple[str, int, int], ...]:
    """Sorted by name, so that the order of keys is no change of the unit."""
    if type(value) is not dict:
        raise Refused(f'cannot use {show(value)}: write a table, as in {{stack = "8MiB"}}')
    found: list[tuple[str, int, int]] = []
    faults: list[Fault] = []
    for name, amount in value.items():
        try:
            if name in _INSTEAD:
                raise Refused(f"cannot set {name} here: {_INSTEAD[name]}")
            if name not in RLIMITS:
                known = ", ".join(sorted(RLIMITS.keys() - _INSTEAD))
                raise Refused(f"cannot set {show(name)}: it is none of {known}")
            found.append((name, *_rlimit(name, amount)))
        except Refused as refused:
            faults.append(((name,), str(refused)))
    if faults:
        raise Refused.of(faults)
    return tuple(sorted(found))


# --- disks ---

_IOPS = integer(1, 1 << 40)


def _make_io(**fields: Any) -> IoLimit:
    if fields.keys() <= {"path"}:
        raise Refused("cannot do without a limit; add read, write, read_iops or write_iops")
    return IoLimit(**fields)


IO = Table(
    IoLimit,
    Key("path", PATH, "path", "", "a file or directory on that disk, or its device; required"),
    Key("read", RATE, "read_bytes", "", "bytes read a second"),
    Key("write", RATE, "write_bytes", "", "bytes written a second"),
    Key("read_iops", _IOPS, "read_iops", "", "reads a second"),
    Key("write_iops", _IOPS, "write_iops", "", "writes a second"),
    make=_make_io,
    required="path",
)


def _io(value: object) -> tuple[IoLimit, ...]:
    found: tuple[IoLimit, ...] = rows(value, IO.read, '{path = "/var", read = "50MB/s"}')
    paths = [one.path for one in found]
    for index, path in enumerate(paths):
        if path in paths[:index]:
            raise Refused("cannot name a path twice; put both limits in one", index, "path")
    return found


# --- the section ---


def _make(**fields: Any) -> Limits:
    made = Limits(**fields)
    most, high, low = made.memory_bytes, made.memory_high_bytes, made.memory_min_bytes
    if high is not None and most is not None and high > most:
        raise Refused(
            "cannot be more than limits.memory, which acts first; lower it, or raise that",
            "memory_high",
        )
    for name, bound in (("memory", most), ("memory_high", high)):
        if low is not None and bound is not None and low > bound:
            raise Refused(
                f"cannot be more than limits.{name}; lower it, or raise that", "memory_min"
            )
    return made


_MEMORY = size(1 << 20)
_WEIGHT = integer(1, 10_000)

LIMITS = Table(
    Limits,
    Key("memory", _MEMORY, "memory_bytes", "", "the most it may use; above it, it is killed"),
    Key(
        "memory_high",
        _MEMORY,
        "memory_high_bytes",
        "",
        "above this it is slowed down and its memory is taken back; cgroup v2 only",
    ),
    Key(
        "memory_min",
        size(1),
        "memory_min_bytes",
        "",
        "so much is never taken from it; cgroup v2 only",
    ),
    Key(
        "swap",
        size(0),
        "swap_bytes",
        "",
        "the most it may swap; 0: none. On cgroup v1 it needs `memory`",
    ),
    Key(
        "cpu",
        Type(_percent, "percent", "percent of one core"),
        "cpu_milli",
        "",
        'time on CPUs: `"150%"` is one and a half cores',
    ),
    Key("cpu_weight", _WEIGHT, "cpu_weight", "", "its share when CPUs are short; others have 100"),
    Key(
        "cpus",
        Type(_cpus, "cpus", "list of CPUs"),
        "cpus",
        "",
        'the CPUs that it may run on: `"0-3,8"`',
    ),
    Key(
        "io_weight",
        _WEIGHT,
        "io_weight",
        "",
        "its share when a disk is busy; others have 100. It has effect on disks with the BFQ "
        "scheduler, and on cgroup v2 with io.cost",
    ),
    Key(
        "io",
        Type(_io, "entries", "list of `{path, read, write, read_iops, write_iops}`", IO),
        "io",
        "",
        "bytes and operations a second. Of two paths on one disk the lower figure counts; on "
        "cgroup v1 writes that go through the page cache are not held back",
    ),
    Key(
        "tasks",
        integer(1, 1 << 22),
        "tasks",
        "",
        "processes and threads; 4096 unless set, where the host has the pids controller; of a "
        "group, any number unless set",
    ),
    Key(
        "oom",
        choice("unit", "process"),
        "oom",
        "",
        "what goes when memory runs out: all of the unit, or one process; `unit` unless set, "
        "where the host has the memory controller; in a group it must be set to go beyond one unit",
    ),
    Key(
        "oom_score_adjust",
        integer(-1000, 1000),
        "oom_score_adjust",
        "",
        "when the host runs out of memory: -1000 is never killed, 1000 is first",
    ),
    Key("nice", integer(-20, 19), "nice", "", "scheduling priority; -20 is the highest"),
    Key("files", rlimit("nofile"), "files", "", "open files of one process"),
    Key("core", rlimit("core"), "core", "", "size of a core dump; 0: none"),
    Key(
        "rlimits",
        Type(_rlimits, "rlimits", "table of resource limits"),
        "rlimits",
        "",
        "others of setrlimit(2), for each process: `as`, `cpu`, `data`, `fsize`, `memlock`, "
        "`msgqueue`, `nice`, `nproc`, `rtprio`, `rttime`, `sigpending`, `stack`",
    ),
    Key("slice", UNIT_NAME, "slice", "", "the group unit whose `[limits]` it shares with others"),
    Key(
        "require",
        choice("all", "best"),
        "require",
        '"all"',
        "`all`: it does not start where a key cannot be enforced; `best`: it starts, and that is "
        "said",
    ),
    make=_make,
)


def contradictions(unit: Unit, limits: Limits) -> list[Fault]:
    """What the section and the rest of its unit cannot be together."""
    faults: list[Fault] = []
    if unit.kind == "group":
        faults += [
            (("limits", key), f"cannot have {key} in a group: it is a process's; remove it")
            for key in _OF_PROCESSES
            if getattr(limits, key) not in {None, ()}
        ]
    if limits.slice == unit.name:
        faults.append((("limits", "slice"), "cannot name the unit itself; name a group"))
    if limits.cpus and unit.pin:
        why = "cannot be together with pin, which chooses the CPU; remove one of them"
        faults.append((("limits", "cpus"), why))
    most, budget = limits.memory_bytes, unit.restart.memory_budget_bytes
    if most is not None and budget >= most:
        why = "cannot be reached below limits.memory, which kills it first; lower it"
        faults.append((("restart", "memory_budget"), why))
    return faults
