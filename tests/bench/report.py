"""From raw samples to the tables of docs/performance.md: median (least to most) of the repeats."""
from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.bench.orphans import MODES
from tests.bench.sandboxes import PLAIN

Samples = list[dict[str, Any]]
Rows = dict[str, Samples]  # of one workload and variant, by peer, in the order of the run
Column = tuple[str, Callable[[Samples], str]]

_NOTHING = "-"


def tables(raw: Path) -> str:
    """Markdown. Workloads that were not run have no table."""
    groups: dict[tuple[str, Any], Rows] = defaultdict(lambda: defaultdict(list))
    for line in raw.read_text().splitlines():
        sample = json.loads(line)
        variant = (
            sample.get("mode") or sample.get("chunk") or sample.get("what") or sample.get("n")
        )
        groups[sample["workload"], variant][sample["peer"]].append(sample)
    parts = [*_lifecycle(groups), *_single(groups), _isolation(groups["isolate", None])]
    parts.append(_keys({what: groups["keys", what] for what in ("start", "calls", "memory")}))
    return "\n".join(part for part in parts if part)


def _lifecycle(groups: dict[tuple[str, Any], Rows]) -> Iterable[str]:
    numbers = sorted(n for workload, n in groups if workload == "lifecycle" and n)
    for n in numbers:
        yield _table(f"Start of {n:,}", groups["lifecycle", n], [
            ("first, ms", _spread("first_s", 1e3)), ("all, ms", _spread("wall_s", 1e3)),
            ("CPU ms", _spread("cpu_s", 1e3)), ("started", _least("started")),
        ])  # fmt: skip
    for n in numbers:
        yield _table(f"Stop and status of {n:,}", groups["lifecycle", n], [
            ("stop, ms", _spread("stop_s", 1e3)), ("stop, CPU ms", _spread("stop_cpu_s", 1e3)),
            ("left", _least("left_after_stop", most=True)),
            ("status, ms", _spread("status_s", 1e3)),
        ])  # fmt: skip
    yield _memory({n: rows for (workload, n), rows in groups.items() if workload == "lifecycle"})


def _memory(by_number: dict[int, Rows]) -> str:
    """PSS of the layer by number of services, and what each service beyond the tenth adds."""
    if len(by_number) < 2:
        return ""
    least, most = min(n for n in by_number if n), max(by_number)
    head = ["peer", *(f"{n:,}" for n in by_number), f"KB a unit beyond {least}", "parts, at most"]
    rows = []
    for peer in by_number[most]:
        medians = {n: _median(_values(rows_[peer], "pss_kb")) for n, rows_ in by_number.items()}
        low, high = medians[least], medians[most]
        each = _NOTHING
        if low is not None and high is not None and most > least:
            each = f"{(high - low) / (most - least):.1f}"
        parts: dict[str, list[int]] = defaultdict(list)
        for sample in by_number[most][peer]:
            for role, kb in sample.get("pss_by_role_kb", {}).items():
                parts[role].append(kb)
        split = ", ".join(f"{r} {statistics.median(v) / 1024:.1f}" for r, v in parts.items())
        cells = [_NOTHING if m is None else f"{m / 1024:.1f}" for m in medians.values()]
        rows.append([peer, *cells, each, split or _NOTHING])
    return _markdown("Memory of the supervision layer (PSS, MB) by number of services", head, rows)


def _single(groups: dict[tuple[str, Any], Rows]) -> Iterable[str]:
    for (workload, variant), rows in groups.items():
        if workload == "restart":
            yield _table(f"Restart after SIGKILL among {variant:,}, ms", rows, [
                ("kills", lambda samples: str(len(_values(samples, "ms")))),
                ("median", _quantile("ms", 0.5)), ("99 %", _quantile("ms", 0.99)),
                ("crash loop", _quantile("loop_ms", 0.5)),
                ("CPU ms a kill", _spread("cpu_per_kill_ms")),
            ])  # fmt: skip
        elif workload == "takeover":
            yield _table(f"kill -9 of the manager among {variant:,}", rows, [
                ("control answers, ms", _spread("ms")),
                ("pids that changed", _least("pids_changed", most=True)),
            ])  # fmt: skip
        elif workload == "idle":
            yield _table(f"Idle with {variant:,}: context switches of the layer", rows, [
                ("seconds", _spread("seconds")), ("voluntary", _spread("voluntary")),
                ("involuntary", _spread("involuntary")), ("CPU ms", _spread("cpu_s", 1e3)),
            ])  # fmt: skip
        elif workload == "orphans" and variant in MODES:
            yield _table(f"20,000 orphans, {variant}", rows, [
                ("drained, ms", _spread("drain_ms")), ("most tasks at once", _spread("max_tasks")),
                ("CPU s", _spread("cpu_s")), ("left after 15 s", _least("left", most=True)),
            ])  # fmt: skip
        elif workload == "logs":
            yield _table(f"Logs, {variant:,} bytes a write", rows, [
                ("MB/s", _spread("mb_per_s")), ("logger's CPU s a GB", _spread("cpu_s_per_gb")),
                ("lines lost", _least("lost", most=True)),
            ])  # fmt: skip
        elif workload == "query":
            yield _table(f"Questions to 10 GB of logs, {variant}", rows, [
                ("first byte, ms", _spread("first_ms")), ("all, ms", _spread("all_ms")),
                ("lines", _spread("lines")),
            ])  # fmt: skip
        elif workload == "delay":
            yield _table(f"A line among {variant}", rows, [
                ("median, ms", _spread("ms")), ("99 %", _spread("p99_ms")),
                ("most", _spread("most_ms")),
            ])  # fmt: skip
        elif workload == "scrape":
            yield _table(f"A scrape of {variant:,} units", rows, [
                ("median, ms", _spread("ms")), ("most, ms", _spread("most_ms")),
                ("manager's CPU, ms", _spread("manager_ms")),
                ("agent's CPU, ms", _spread("agent_ms")), ("bytes", _spread("bytes")),
                ("packed", _spread("packed_bytes")),
            ])  # fmt: skip
        elif workload == "boot":
            yield _table(f"A machine's boot, {variant}: 20 services", rows, [
                ("first, ms", _spread("first_ms")), ("last, ms", _spread("last_ms")),
                ("boots", lambda samples: str(len(_values(samples, "last_ms")))),
            ])  # fmt: skip
        elif workload == "booted":
            yield _table(f"Memory after a boot, {variant}, KB", rows, [
                ("of the machine", _spread("used_kb")), ("processes (PSS)", _spread("pss_kb")),
            ])  # fmt: skip
        elif workload == "apps":
            yield _table(f"{variant:,} services at level app with limits", rows, [
                ("started", _least("started")), ("all, ms", _spread("wall_s", 1e3)),
                ("stop, ms", _spread("stop_s", 1e3)),
                ("KB each: of the machine", _spread("used_kb")),
                ("of it our processes", _spread("layer_kb")),
                ("the kernel's", _spread("kernel_kb")),
            ])  # fmt: skip
        elif workload == "trace":
            yield _table(f"System calls, {variant:,} services", rows, [
                ("user ms", _spread("user_ms")), ("system ms", _spread("system_ms")),
                ("calls a service", _spread("calls_per_service")),
                ("most frequent, a service", _most_frequent),
            ])  # fmt: skip


def _isolation(rows: Rows) -> str:
    """With each one's ratio to bubblewrap, from medians of the same run."""
    if not rows:
        return ""
    base = _median(_values(rows.get("bubblewrap", []), "first_ms"))

    def ratio(samples: Samples) -> str:
        own = _median(_values(samples, "first_ms"))
        return f"{own / base:.2f}" if own and base else _NOTHING

    return _table("One isolated process", rows, [
        ("first byte, ms", _spread("first_ms")), ("x bubblewrap's", ratio),
        ("all of it, ms", _spread("all_ms")), ("CPU ms", _spread("cpu_ms")),
    ])  # fmt: skip


def _keys(by_what: dict[str, Rows]) -> str:
    """Each key beside a plain unit of the same run: what it adds."""
    starts = by_what["start"]
    if PLAIN not in starts:
        return ""
    plain = {
        key: _median(_values(rows.get(PLAIN, []), key))
        for rows in by_what.values() for sample in rows.get(PLAIN, []) for key in sample
        if key.endswith(("_ms", "_ns", "_kb"))
    }  # fmt: skip

    def more(rows: Rows, peer: str, key: str) -> str:
        own, base = _median(_values(rows.get(peer, []), key)), plain.get(key)
        if own is None or base is None:
            return _NOTHING
        return f"{own:.3g}" if peer == PLAIN else f"{own - base:+.2g}"

    head = ["key", "start, ms", "x plain", "until the answer, ms", "getppid, ns", "read", "fcntl",
            "our processes, KB", "the kernel, KB"]  # fmt: skip
    cells = []
    for peer, samples in starts.items():
        first = _median(_values(samples, "first_ms"))
        base = plain["first_ms"]
        cells.append([
            peer, _spread("first_ms")(samples),
            f"{first / base:.2f}" if first and base else _NOTHING, more(starts, peer, "answer_ms"),
            *(more(by_what["calls"], peer, f"{name}_ns") for name in ("getppid", "read", "fcntl")),
            *(more(by_what["memory"], peer, f"{name}_kb") for name in ("layer", "kernel")),
        ])  # fmt: skip
    return _markdown("Each key alone; all but the first two columns: more than plain", head, cells)


def _table(title: str, rows: Rows, columns: Sequence[Column]) -> str:
    cells = [[peer, *(cell(samples) for _, cell in columns)] for peer, samples in rows.items()]
    return _markdown(title, ["peer", *(head for head, _ in columns)], cells)


def _markdown(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"\n### {title}\n", f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _values(samples: Samples, key: str) -> list[float]:
    """Of all repeats; a sample that holds a list gives each of its values."""
    found = [sample.get(key) for sample in samples]
    flat = [v for value in found for v in (value if isinstance(value, list) else [value])]
    return [value for value in flat if value is not None]


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _spread(key: str, scale: float = 1) -> Callable[[Samples], str]:
    def cell(samples: Samples) -> str:
        values = [value * scale for value in _values(samples, key)]
        if not values:
            return _NOTHING
        middle = _number(statistics.median(values))
        if len(values) == 1:
            return middle
        return f"{middle} ({_number(min(values))} to {_number(max(values))})"

    return cell


def _least(key: str, *, most: bool = False) -> Callable[[Samples], str]:
    def cell(samples: Samples) -> str:
        values = _values(samples, key)
        return _number(max(values) if most else min(values)) if values else _NOTHING

    return cell


def _quantile(key: str, q: float) -> Callable[[Samples], str]:
    def cell(samples: Samples) -> str:
        values = sorted(_values(samples, key))
        return f"{values[min(int(q * len(values)), len(values) - 1)]:,.2f}" if values else _NOTHING

    return cell


def _most_frequent(samples: Samples) -> str:
    return ", ".join(f"{name} {calls}" for name, calls in samples[-1]["most"].items())
