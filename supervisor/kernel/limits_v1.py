"""The same keys on hosts that mount cgroup v1 controllers. Pure.

What v1 cannot do is said by name: it has no memory.high and no protection of memory, and counts
swap together with memory. That an OOM kill takes the whole unit is the supervisor's work there
(limiter.Limiter.watch_oom).
"""
from __future__ import annotations

from supervisor.kernel.limits import (
    PERIOD_US,
    Device,
    Found,
    Pairs,
    Rule,
    Unenforceable,
    bfq_weight,
    by_device,
    plain,
    quota,
)
from supervisor.model.unit import IoLimit, Limits

_V2_ONLY = "only cgroup v2 can, and this host has the memory controller in v1"


def _refused(*_: object) -> Pairs:
    raise Unenforceable(_V2_ONLY)


def _swap(value: int, limits: Limits, _: Found, __: Device) -> Pairs:
    if limits.memory_bytes is None:
        raise Unenforceable("cgroup v1 counts swap and memory together; set limits.memory as well")
    return [("memory.memsw.limit_in_bytes", str(limits.memory_bytes + value))]


def _cpu(value: int, _: Limits, __: Found, ___: Device) -> Pairs:
    quota_us, period_us = quota(value)
    return [("cpu.cfs_period_us", str(period_us)), ("cpu.cfs_quota_us", str(quota_us))]


def _cpu_weight(value: int, *_: object) -> Pairs:
    return [("cpu.shares", str(max(2, value * 1024 // 100)))]


def _io_weight(value: int, _: Limits, found: Found, __: Device) -> Pairs:
    if "blkio.weight" in found.files:  # CFQ's, gone since Linux 5.0
        return [("blkio.weight", str(min(1000, max(10, value * 5))))]
    return [("blkio.bfq.weight", str(bfq_weight(value)))]


_IO_FILES = (
    "blkio.throttle.read_bps_device",
    "blkio.throttle.write_bps_device",
    "blkio.throttle.read_iops_device",
    "blkio.throttle.write_iops_device",
)


def _io(value: tuple[IoLimit, ...], _: Limits, __: Found, device: Device) -> Pairs:
    return [
        (file, f"{number} {figure}")
        for number, figures in by_device(value, device).items()
        for file, figure in zip(_IO_FILES, figures, strict=True)
        if figure is not None
    ]


RULES: dict[str, Rule] = {
    "memory": plain("memory.limit_in_bytes"),
    "memory_high": _refused,
    "memory_min": _refused,
    "swap": _swap,
    "oom": lambda *_: [],
    "cpu": _cpu,
    "cpu_weight": _cpu_weight,
    "cpus": plain("cpuset.cpus"),
    "io_weight": _io_weight,
    "io": _io,
    "tasks": plain("pids.max"),
}

# As limits.RESETS. A cpuset has no default of its own: "" is the one of the group above it.
RESETS = {
    "memory.limit_in_bytes": "-1",
    "memory.memsw.limit_in_bytes": "-1",
    "cpu.cfs_period_us": str(PERIOD_US),
    "cpu.cfs_quota_us": "-1",
    "cpu.shares": "1024",
    "cpuset.cpus": "",
    "blkio.weight": "500",
    "blkio.bfq.weight": "100",
    **dict.fromkeys(_IO_FILES, "0"),
    "pids.max": "max",
}
