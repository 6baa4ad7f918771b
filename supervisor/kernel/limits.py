"""What a unit's [limits] mean to the kernel: keys to values of cgroup files. Pure.

A key that is written is enforced or named with what is missing; the defaults (`tasks`, `oom`) hold
where the host can. Here is cgroup v2; `limits_v1` is the second, smaller backend. A host may have
some controllers in one and some in the other, so each key asks for its own.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from supervisor.model.rlimits import RLIMITS
from supervisor.model.unit import IoLimit, Limits

DEFAULT_TASKS = 4096
PERIOD_US = 100_000
MIN_QUOTA_US = 1_000  # the kernel's least


class Found(NamedTuple):
    """A controller of this host. `top`: our directory, below which the units' groups are."""

    version: int
    top: str
    files: frozenset[str]


class Write(NamedTuple):
    """`value` into `file` of the unit's group that `controller` has. `key`: of [limits]."""

    key: str
    controller: str
    file: str
    value: str


class Missing(NamedTuple):
    """A key that this host cannot enforce, and why."""

    key: str
    why: str

    def __str__(self) -> str:
        return f"limits.{self.key} cannot be enforced here: {self.why}"


class Compiled(NamedTuple):
    writes: tuple[Write, ...]
    missing: tuple[Missing, ...]


class Unenforceable(Exception):
    """Why one key has no effect on this host."""


Find = Callable[[str], Found | str]  # a controller by name, or why there is none
Device = Callable[[str], str]  # "MAJOR:MINOR" of the disk of a path; raises Unenforceable
Pairs = list[tuple[str, str]]  # file, value
Rule = Callable[[Any, Limits, Found, Device], Pairs]

# Key: controller, field of model.unit.Limits.
KEYS = {
    "memory": ("memory", "memory_bytes"),
    "memory_high": ("memory", "memory_high_bytes"),
    "memory_min": ("memory", "memory_min_bytes"),
    "swap": ("memory", "swap_bytes"),
    "oom": ("memory", "oom"),
    "cpu": ("cpu", "cpu_milli"),
    "cpu_weight": ("cpu", "cpu_weight"),
    "cpus": ("cpuset", "cpus"),
    "io_weight": ("io", "io_weight"),
    "io": ("io", "io"),
    "tasks": ("pids", "tasks"),
}
_DEFAULTS: dict[str, Any] = {"tasks": DEFAULT_TASKS, "oom": "unit"}
_UNSET = (None, "", ())


def translate(
    limits: Limits, find: Find, device: Device, *, group: bool = False
) -> Compiled:
    """The writes that enforce `limits`. `group`: of a group unit, where there are no defaults: its
    members have theirs."""
    from supervisor.kernel.limits_v1 import RULES as RULES_V1

    writes: list[Write] = []
    missing: list[Missing] = []
    for key, (controller, field) in KEYS.items():
        asked = getattr(limits, field)
        value = asked
        if asked in _UNSET:
            value = None if group else _DEFAULTS.get(key)
            if value is None:
                continue
        why = found = find(controller)
        if isinstance(found, Found):
            try:
                if group and key == "oom" and found.version == 1:
                    raise Unenforceable("on cgroup v1 a budget that is used up costs one process")
                rules = RULES if found.version == 2 else RULES_V1
                pairs = rules[key](value, limits, found, device)
                lacking = [file for file, _ in pairs if file not in found.files]
                if not lacking:
                    writes += [Write(key, controller, *pair) for pair in pairs]
                    continue
                why = f"its {controller} controller has no {lacking[0]}"
            except Unenforceable as exc:
                why = str(exc)
        if asked not in _UNSET:
            missing.append(Missing(key, str(why)))
    return Compiled(tuple(writes), tuple(missing))


def change(old: Sequence[Write], new: Sequence[Write], resets: dict[str, str]) -> list[Write]:
    """What to write so that `new` holds where `old` did: what is gone goes back to its default."""
    known = set(old)
    kept = {(one.file, _device(one)) for one in new}
    gone = [one for one in old if (one.file, _device(one)) not in kept]
    back = [
        one._replace(value=f"{_device(one)} {resets[one.file]}".lstrip()) for one in gone
    ]
    return [one for one in (*back, *new) if one not in known]


def _device(one: Write) -> str:
    """The device that a value is for, "" if it is for none."""
    first, space, _ = one.value.partition(" ")
    return first if space and ":" in first else ""


class OfProcess(NamedTuple):
    """What holds for each process: steps of its launch plan. `rlimits`: resource, soft, hard."""

    rlimits: tuple[tuple[int, int, int], ...]
    nice: int | None
    oom_score: int | None


def of_process(limits: Limits) -> OfProcess:
    rows = [(RLIMITS[name][0], soft, hard) for name, soft, hard in limits.rlimits]
    for name, both in (("nofile", limits.files), ("core", limits.core)):
        if both is not None:
            rows.append((RLIMITS[name][0], *both))
    return OfProcess(tuple(sorted(rows)), limits.nice, limits.oom_score_adjust)


# --- shared by both versions ---


def quota(cpu_milli: int) -> tuple[int, int]:
    """Microseconds of CPU time in a period of so many: a small part of a core needs a long one."""
    quota_us, period_us = cpu_milli * PERIOD_US // 1000, PERIOD_US
    if quota_us < MIN_QUOTA_US:
        quota_us, period_us = cpu_milli * 1000, 1_000_000
    return quota_us, period_us


def bfq_weight(weight: int) -> int:
    """1..10000 around 100, as BFQ has it: 1..1000 around 100."""
    return weight if weight <= 100 else 100 + (weight - 100) * 900 // 9900


def by_device(io: tuple[IoLimit, ...], device: Device) -> dict[str, list[int | None]]:
    """Device: bytes read, bytes written, reads, writes a second. The lower of two figures."""
    found: dict[str, list[int | None]] = {}
    for one in io:
        row = found.setdefault(device(one.path), [None] * 4)
        for index, figure in enumerate(
            (one.read_bytes, one.write_bytes, one.read_iops, one.write_iops)
        ):
            if figure is not None:
                before = row[index]
                row[index] = figure if before is None else min(figure, before)
    return found


# --- cgroup v2 ---


def _cpu(value: int, _: Limits, __: Found, ___: Device) -> Pairs:
    quota_us, period_us = quota(value)
    return [("cpu.max", f"{quota_us} {period_us}")]


def _io_weight(value: int, _: Limits, found: Found, __: Device) -> Pairs:
    pairs = [("io.weight", f"default {value}"), ("io.bfq.weight", f"default {bfq_weight(value)}")]
    return [pair for pair in pairs if pair[0] in found.files] or pairs[:1]


_IO_NAMES = ("rbps", "wbps", "riops", "wiops")


def _io(value: tuple[IoLimit, ...], _: Limits, __: Found, device: Device) -> Pairs:
    rows = []
    for number, figures in by_device(value, device).items():
        parts = [
            f"{name}={'max' if figure is None else figure}"
            for name, figure in zip(_IO_NAMES, figures, strict=True)
        ]
        rows.append(("io.max", f"{number} {' '.join(parts)}"))
    return rows


def plain(file: str) -> Rule:
    return lambda value, _limits, _found, _device: [(file, str(value))]


RULES: dict[str, Rule] = {
    "memory": plain("memory.max"),
    "memory_high": plain("memory.high"),
    "memory_min": plain("memory.min"),
    "swap": plain("memory.swap.max"),
    "oom": lambda value, *_: [("memory.oom.group", "1" if value == "unit" else "0")],
    "cpu": _cpu,
    "cpu_weight": plain("cpu.weight"),
    "cpus": plain("cpuset.cpus"),
    "io_weight": _io_weight,
    "io": _io,
    "tasks": plain("pids.max"),
}

# What a file of a group says that nobody limited; behind a device, if it has those.
RESETS = {
    "memory.max": "max",
    "memory.high": "max",
    "memory.min": "0",
    "memory.swap.max": "max",
    "memory.oom.group": "0",
    "cpu.max": f"max {PERIOD_US}",
    "cpu.weight": "100",
    "cpuset.cpus": "",
    "io.weight": "default 100",
    "io.bfq.weight": "default 100",
    "io.max": "rbps=max wbps=max riops=max wiops=max",
    "pids.max": "max",
}
