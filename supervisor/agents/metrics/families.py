"""What is told: each metric with its meaning, made of the supervisor's answers.

Law: a figure that is not known here has no sample, and is never 0. Names say their unit; what only
rises ends in _total. Label names are sorted, as the library sorts them.
"""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

from supervisor.agents.metrics.ask import Pair, Row
from supervisor.agents.metrics.text import Family, Kind, escaped, number
from supervisor.model.report import State

_S = 1e9  # ns of a second
STATES: tuple[str, ...] = get_args(State)
REASONS = (
    "clean", "failure", "signal", "oom", "timeout", "watchdog", "violation", "launch",
)  # fmt: skip
_RESOURCES = ("cpu", "memory", "io")
_BY_RESOURCE = tuple((resource, f"{resource}_pressure") for resource in _RESOURCES)

# Of Usage: field, name, kind, unit, how many of its own are one of that, meaning.
_USAGE: tuple[tuple[str, str, Kind, str, float, str], ...] = (
    ("memory_bytes", "memory_bytes", "gauge", "bytes", 1,
     "Memory of all its processes; page cache with it where its group has a memory controller."),
    ("memory_peak_bytes", "memory_peak_bytes", "gauge", "bytes", 1,
     "The most memory that it had since it was started."),
    ("swap_bytes", "swap_bytes", "gauge", "bytes", 1, "Swap that it uses."),
    ("cpu_ns", "cpu_seconds", "counter", "seconds", _S, "CPU time that it used."),
    ("throttled_ns", "cpu_throttled_seconds", "counter", "seconds", _S,
     "Time for which limits.cpu held it back."),
    ("throttled", "cpu_throttles", "counter", "", 1, "How often limits.cpu held it back."),
    ("read_bytes", "disk_read_bytes", "counter", "bytes", 1, "Bytes that it read from disks."),
    ("written_bytes", "disk_written_bytes", "counter", "bytes", 1,
     "Bytes that it wrote to disks."),
    ("reads", "disk_reads", "counter", "", 1, "Reads from disks."),
    ("writes", "disk_writes", "counter", "", 1, "Writes to disks."),
    ("tasks", "tasks", "gauge", "", 1, "Its threads and processes."),
    ("oom_kills", "oom_kills", "counter", "", 1,
     "Processes of it that were killed for want of memory."),
)  # fmt: skip


def families(told: Row, chunks: Iterable[list[Pair]]) -> list[Family]:
    """Of the answer to `Figures`, and of instances as they come: each chunk is worked up before the
    next is taken."""
    units: dict[str, Family] = {}
    for chunk in chunks:
        for family in _units(chunk, told["start_bounds_ns"]):
            known = units.setdefault(family.name, family)
            if known is not family:
                known.lines.extend(family.lines)
    return [_up("1.0"), *_supervisor(told["supervisor"]), *units.values()]


def none() -> list[Family]:
    """The supervisor did not answer."""
    return [_up("0.0")]


def _up(value: str) -> Family:
    lines = [f"unboxed_up {value}\n"]
    return Family("unboxed_up", "gauge", "Whether the supervisor answered.", "", lines)


def _supervisor(told: Row) -> list[Family]:
    def one(
        name: str, kind: Kind, text: str, value: float, unit: str = ""
    ) -> Family:
        total = "_total" if kind == "counter" else ""
        return Family(
            f"unboxed_{name}", kind, text, unit, [f"unboxed_{name}{total} {number(value)}\n"])

    version = escaped(told["version"])
    return [
        Family("unboxed_supervisor", "info", "The supervisor.", "",
               [f'unboxed_supervisor_info{{version="{version}"}} 1.0\n']),
        one("start_time_seconds", "gauge", "When it was started, since 1970.",
            told["started_ns"] / _S, "seconds"),
        one("manager_starts", "counter", "How often its manager began; 1: it was never replaced.",
            told["manager_starts"]),
        one("turns", "counter", "Turns of the manager's loop.", told["turns"]),
        one("units", "gauge", "Units that it has.", told["units"]),
        one("instances", "gauge", "Instances of units.", told["instances"]),
        one("clients", "gauge", "Open connections to its sockets.", told["clients"]),
        one("journal_bytes", "gauge", "Size of the journal of its state, in memory.",
            told["journal_bytes"], "bytes"),
        one("stored_descriptors", "gauge", "Descriptors that the keeper holds for the manager.",
            told["stored"]),
        *_processes(told),
    ]  # fmt: skip


def _processes(told: Row) -> list[Family]:
    rows = [(name, told[name]) for name in ("keeper", "logger", "manager") if told[name]]

    def each(
        name: str, kind: Kind, text: str, field: str, unit: str = "", per: float = 1
    ) -> Family:
        total = "_total" if kind == "counter" else ""
        return Family(f"unboxed_process_{name}", kind, text, unit, [
            f'unboxed_process_{name}{total}{{process="{process}"}} {number(row[field] / per)}\n'
            for process, row in rows if row[field] is not None
        ])

    return [
        each("cpu_seconds", "counter", "CPU time that a process of the supervisor used.", "cpu_ns",
             "seconds", _S),
        each("resident_memory_bytes", "gauge", "Its resident memory.", "memory_bytes", "bytes"),
        each("wakeups", "counter", "How often it went on after it had waited.", "wakeups"),
        each("open_fds", "gauge", "Its open descriptors.", "descriptors"),
    ]


def _labels(key: str, unit: str) -> tuple[str, str]:
    """What stands behind labels before "replica" and between that and "unit"; and behind these."""
    replica = key.partition("/")[2] or "0"
    return f'replica="{replica}",', f'unit="{escaped(unit)}"}}'


def _units(chunk: list[Pair], bounds_ns: list[int]) -> Iterable[Family]:
    rows = [
        (*_labels(figures["key"], figures["unit"]), figures, status) for figures, status in chunk
    ]
    yield _states(rows)
    yield Family(
        "unboxed_unit_state_change_timestamp_seconds", "gauge",
        "When it came into its present phase, since 1970.", "seconds",
        [f"unboxed_unit_state_change_timestamp_seconds{{{a}{b} {number(status['since_ns'] / _S)}\n"
         for a, b, _, status in rows],
    )  # fmt: skip
    for field, text in (
        ("starts", "How often it was started since the manager began."),
        ("restarts", "How often of these automatically."),
    ):
        yield Family(f"unboxed_unit_{field}", "counter", text, "", [
            f"unboxed_unit_{field}_total{{{a}{b} {number(figures[field])}\n"
            for a, b, figures, _ in rows
        ])
    yield _exits(rows)
    yield _latencies(rows, bounds_ns)
    yield from _usages(rows)
    yield from _pressures(rows)
    yield from _logs(rows)


_Rows = list[tuple[str, str, Row, Row]]


def _states(rows: _Rows) -> Family:
    name = "unboxed_unit_state"
    lines = []
    for a, b, _, status in rows:
        now = status["state"]
        head = f'{name}{{{a}state="'
        lines.append("".join(
            [f'{head}{state}",{b} {"1.0" if state == now else "0.0"}\n' for state in STATES]))
    return Family(name, "gauge", "Its state: 1 for the one that it is in, 0 for the others.", "",
                  lines)


def _exits(rows: _Rows) -> Family:
    """All reasons of each, so that the first end of a kind is seen to be one more than 0."""
    name = "unboxed_unit_exits"
    lines = []
    for a, b, figures, _ in rows:
        exits = figures["exits"] or dict.fromkeys(REASONS, 0)
        lines.append("".join(
            [f'{name}_total{{reason="{reason}",{a}{b} {number(exits[reason])}\n'
             for reason in REASONS]))
    return Family(name, "counter", "How its runs ended, since the manager began.", "", lines)


def _latencies(rows: _Rows, bounds_ns: list[int]) -> Family:
    name = "unboxed_unit_start_latency_seconds"
    bounds = [number(bound / _S) for bound in bounds_ns] + ["+Inf"]
    heads = [f'{name}_bucket{{le="{bound}",' for bound in bounds]
    lines = []
    for a, b, figures, _ in rows:
        told = figures["start_latency"]
        if told is None:
            continue
        total, parts, rest = 0, [], a + b
        for head, count in zip(heads, told["classes"], strict=True):
            total += count
            parts.append(f"{head}{rest} {number(total)}\n")
        lines.append(
            f"{''.join(parts)}{name}_count{{{rest} {number(total)}\n"
            f"{name}_sum{{{rest} {number(told['sum_ns'] / _S)}\n")
    return Family(name, "histogram", "How long its starts took, from launch until ready.",
                  "seconds", lines)


def _usages(rows: _Rows) -> Iterable[Family]:
    used = [(a + b, status["usage"]) for a, b, _, status in rows if status["usage"]]
    for field, name, kind, unit, per, text in _USAGE:
        head = f"unboxed_unit_{name}{'_total' if kind == 'counter' else ''}{{"
        yield Family(f"unboxed_unit_{name}", kind, text, unit, [
            f"{head}{labels} {number(usage[field] / per)}\n"
            for labels, usage in used if usage[field] is not None
        ])


def _pressures(rows: _Rows) -> Iterable[Family]:
    ratio, seconds = "unboxed_unit_pressure_ratio", "unboxed_unit_pressure_seconds"
    ratios: list[str] = []
    totals: list[str] = []
    for a, b, _, status in rows:
        usage = status["usage"]
        if not usage:
            continue
        for resource, field in _BY_RESOURCE:
            told = usage[field]
            if told is None:
                continue
            full = f'{a}resource="{resource}",scope="full",{b} '
            some = f'{a}resource="{resource}",scope="some",{b} '
            ratios.append(
                f"{ratio}{{{full}{number(told['full_percent'] / 100)}\n"
                f"{ratio}{{{some}{number(told['some_percent'] / 100)}\n")
            totals.append(
                f"{seconds}_total{{{full}{number(told['full_ns'] / _S)}\n"
                f"{seconds}_total{{{some}{number(told['some_ns'] / _S)}\n")
    yield Family(
        ratio, "gauge", "Share of the last 10 s in which some task of it (scope some), or all"
        " (scope full), waited for a resource.", "ratio", ratios)
    yield Family(
        seconds, "counter", "Time in which some task of it, or all, waited for a resource.",
        "seconds", totals)


_LOGS = (
    ("log_stored_bytes", "stored_bytes", "bytes", "Bytes of its output that were stored."),
    ("log_lost_bytes", "lost_bytes", "bytes", "Bytes of its output that were declared as lost."),
    ("log_losses", "losses", "", "How often some of its output was declared as lost."),
)


def _logs(rows: _Rows) -> Iterable[Family]:
    logs: list[tuple[str, dict[str, Any]]] = [
        (a + b, figures["log"]) for a, b, figures, _ in rows if figures["log"]]
    for name, field, unit, text in _LOGS:
        yield Family(f"unboxed_unit_{name}", "counter", text, unit, [
            f"unboxed_unit_{name}_total{{{labels} {number(log[field])}\n" for labels, log in logs
        ])
