"""Figures of an instance's groups: of all its processes, on cgroup v2 and v1, read when asked for.

None is "not known here", never 0. Whether it was killed for memory, and by whose limit, is read
from the same counters, before the groups are taken away.
"""
from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from time import monotonic
from typing import NamedTuple

from supervisor.kernel.host import read, read_long
from supervisor.model.unit import Limits

_ALL = "cpu io memory pids"  # controllers whose files are read


class Places(NamedTuple):
    """Directories of one instance's groups. `unified` of v2, the others of v1; "": none."""

    unified: str = ""
    memory: str = ""
    cpu: str = ""
    pids: str = ""
    io: str = ""


class Pressure(NamedTuple):
    """Stalls for want of one resource: percent of the last 10 s, and ns in all, in which some
    task waited, and in which all did."""

    some_percent: float
    some_ns: int
    full_percent: float
    full_ns: int


class Usage(NamedTuple):
    """Bytes, ns, and counts since the groups were made. `throttled`: held back by limits.cpu.
    `read_` and `written_`: of disks. `oom_kills`: processes killed for want of memory."""

    memory_bytes: int | None
    memory_peak_bytes: int | None
    swap_bytes: int | None
    cpu_ns: int | None
    throttled_ns: int | None
    throttled: int | None
    read_bytes: int | None
    written_bytes: int | None
    reads: int | None
    writes: int | None
    tasks: int | None
    oom_kills: int | None
    cpu_pressure: Pressure | None
    memory_pressure: Pressure | None
    io_pressure: Pressure | None


class Oom(NamedTuple):
    """`kills`: processes killed. `own`: how often the group's own limit stood in the way."""

    kills: int
    own: int


def read_usage(places: Places) -> Usage:
    """All figures of one instance: some ten small files."""
    unified, v1 = places.unified, places.memory
    has = _controllers(os.path.dirname(unified), int(monotonic()))
    cpu = _table(f"{unified}/cpu.stat") if unified else {}
    own_cpu = _table(f"{places.cpu}/cpu.stat") if places.cpu else {}
    used = cpu.get("usage_usec")
    throttled_ns = _scaled(cpu.get("throttled_usec"), 1000)
    if v1:
        memory = _number(f"{v1}/memory.usage_in_bytes")
        peak = _number(f"{v1}/memory.max_usage_in_bytes")
        total = _number(f"{v1}/memory.memsw.usage_in_bytes")
        swap = None if total is None or memory is None else max(0, total - memory)
        killed = _table(f"{v1}/memory.oom_control")
    else:
        memory = peak = swap = None
        killed = {}
        if "memory" in has:
            memory = _number(f"{unified}/memory.current")
            peak = _number(f"{unified}/memory.peak")
            swap = _number(f"{unified}/memory.swap.current")
            killed = _table(f"{unified}/memory.events")
    disk = _disk_v1(places.io) if places.io else _disk(unified) if "io" in has else _NOTHING
    return Usage(
        memory,
        peak,
        swap,
        _scaled(used, 1000),
        own_cpu.get("throttled_time", throttled_ns),
        own_cpu.get("nr_throttled", cpu.get("nr_throttled")),
        *disk,
        _tasks(places, has),
        killed.get("oom_kill"),
        _pressure(f"{unified}/cpu.pressure"),
        _pressure(f"{unified}/memory.pressure"),
        _pressure(f"{unified}/io.pressure"),
    )


@lru_cache(maxsize=8)
def _controllers(parent: str, _second: int) -> str:
    """Those that groups below `parent` have, in this second: to look for the files of others, in
    each group, would be a sixth of the whole."""
    text = read(f"{parent}/cgroup.subtree_control", 256)
    return text if text or os.path.exists(f"{parent}/cgroup.subtree_control") else _ALL


def memory_bytes(places: Places) -> int | None:
    """What the kernel charges it with now: the page cache that it filled is in it."""
    if places.memory:
        return _number(f"{places.memory}/memory.usage_in_bytes")
    return _number(f"{places.unified}/memory.current") if places.unified else None


def oom(places: Places) -> Oom:
    """How often memory ran out for one group: two small files at most."""
    if places.memory:
        kills = _table(f"{places.memory}/memory.oom_control").get("oom_kill", 0)
        return Oom(kills, sum(_met_v1(f"{places.memory}/{name}") for name in _LIMITED_V1))
    path = places.unified
    own = _table(f"{path}/memory.events.local") or _table(f"{path}/memory.events")
    return Oom(_table(f"{path}/memory.events").get("oom_kill", 0), own.get("oom", 0))


def why_killed(
    before: Oom,
    after: Oom,
    limits: Limits | None,
    slices: Sequence[tuple[str, Limits, Oom, Oom]] = (),
) -> str:
    """What to say of an end if memory was the cause between the two, "" if it was not. `slices`,
    outermost first: name, limits, and the counters before and after."""
    if after.kills <= before.kills:
        return ""
    from supervisor.config.render import size_text

    if limits is not None and limits.memory_bytes is not None and after.own > before.own:
        return f"killed for memory: limits.memory of {size_text(limits.memory_bytes)} reached"
    met = [row for row in slices if row[1].memory_bytes is not None and row[3].own]
    rose = [row for row in met if row[3].own > row[2].own]
    for name, shared, _, _ in (rose or met)[-1:]:  # on v1 a full one may count no more
        size = size_text(shared.memory_bytes or 0)
        return f"killed for memory: the {size} of slice {name} were used up"
    return "killed for memory: the host, or a group above the supervisor, had none left"


# --- files ---


def _number(path: str) -> int | None:
    text = read(path, 64).strip()
    return int(text) if text.isdigit() else None


def _met_v1(name: str) -> int:
    """How often a limit of v1 was met. Of memsw some kernels do not count it: its peak tells."""
    peak, most = _number(f"{name}.max_usage_in_bytes"), _number(f"{name}.limit_in_bytes")
    full = peak is not None and most is not None and peak >= most
    return (_number(f"{name}.failcnt") or 0) + full


def _table(path: str) -> dict[str, int]:
    """Lines of "name number"."""
    rows = (line.split() for line in read(path, 4096).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def _scaled(value: int | None, by: int) -> int | None:
    return None if value is None else value * by


def _tasks(places: Places, has: str) -> int | None:
    if places.pids or "pids" in has:
        count = _number(f"{places.pids or places.unified}/pids.current")
        if count is not None:
            return count
    if not places.unified:
        return None
    threads = len(read_long(f"{places.unified}/cgroup.threads").split())
    return threads or (0 if os.path.exists(f"{places.unified}/cgroup.threads") else None)


_Disk = tuple[int | None, int | None, int | None, int | None]
_NOTHING: _Disk = (None, None, None, None)
_LIMITED_V1 = ("memory", "memory.memsw")  # with swap = 0 the second is met first
_FIELDS = {"rbytes": 0, "wbytes": 1, "rios": 2, "wios": 3}
_FIELDS_V1 = (("io_service_bytes", 0), ("io_serviced", 2))


def _disk(path: str) -> _Disk:
    """Bytes read, bytes written, reads, writes of all disks together."""
    if not os.path.exists(f"{path}/io.stat"):
        return _NOTHING
    sums = [0, 0, 0, 0]
    for word in read_long(f"{path}/io.stat").split():
        name, equals, figure = word.partition("=")
        if equals and name in _FIELDS and figure.isdigit():
            sums[_FIELDS[name]] += int(figure)
    return sums[0], sums[1], sums[2], sums[3]


def _disk_v1(path: str) -> _Disk:
    if not os.path.isdir(path):
        return _NOTHING
    sums = [0, 0, 0, 0]
    for file, first in _FIELDS_V1:
        text = read_long(f"{path}/blkio.throttle.{file}_recursive")
        for line in (text or read_long(f"{path}/blkio.throttle.{file}")).splitlines():
            row = line.split()  # "8:0 Read 4096"
            if len(row) == 3 and row[1] in {"Read", "Write"}:
                sums[first + (row[1] == "Write")] += int(row[2])
    return sums[0], sums[1], sums[2], sums[3]


def _pressure(path: str) -> Pressure | None:
    """None too where the kernel counts no pressure (psi=0)."""
    return _stalls(read(path, 512))


@lru_cache(maxsize=16)  # most groups never waited: then the text is the same
def _stalls(text: str) -> Pressure | None:
    """"some avg10=0.00 avg60=0.00 avg300=0.00 total=0", the same for "full"; totals in us."""
    found = [
        (float(words[1].partition("=")[2]), int(words[4].partition("=")[2]) * 1000)
        for words in map(str.split, text.splitlines())
    ]
    if not found:
        return None
    full = found[1] if len(found) > 1 else (0.0, 0)  # of a CPU only since Linux 5.13
    return Pressure(*found[0], *full)
