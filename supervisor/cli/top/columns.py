"""How a row is laid out: which columns fit, and what stands in each.

Law: pure. Cells are (text, kind) pairs, where a kind is one of words.STATES' or "", and every line
of one width has the same columns at the same places. The letter that a heading begins with is the
key that sorts by it.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from supervisor.cli.screen import clean, columns, cut
from supervisor.cli.top.table import ORDERS, Row
from supervisor.cli.words import SECOND_NS, STATES, remark, size, span

BARS = "▁▂▃▄▅▆▇█"
Cell = tuple[str, str]

_UNIT_LEAST, _UNIT_MOST = 16, 40
_SPARK_LEAST, _SPARK_MOST = 6, 20
_REASON_LEAST = 16
_WAITS = 10.0  # percent of the time: from then on it is worth a look
_MEMORY_FULL = 1 << 20  # what changes by less is a flat line
_CPU_FULL = 10.0  # percent of one CPU: a unit that never used more does not fill its bars


class Column(NamedTuple):
    """`name` "" continues the column before it."""

    name: str
    width: int
    right: bool


class Layout(NamedTuple):
    columns: tuple[Column, ...]
    spark: int
    width: int


# From the left; the number says which goes first where there is no room: the highest.
_FIXED = (
    ("STATE", 10, False, 0), ("CPU%", 5, True, 0), ("spark", 0, False, 4), ("MEM", 5, True, 0),
    ("spark", 0, False, 4), ("TASKS", 5, True, 2), ("RST", 3, True, 1), ("PSI", 4, True, 3),
    ("AGE", 6, True, 1),
)  # fmt: skip


def layout(width: int) -> Layout:
    """The columns for a line of that width, one apart from each other."""
    kept = list(_FIXED)
    while kept and width - _room(kept) < _UNIT_LEAST and max(one[3] for one in kept):
        most = max(one[3] for one in kept)
        kept = [one for one in kept if one[3] != most]
    spare = max(width - _room(kept) - _UNIT_LEAST, 0)
    sparks = sum(one[0] == "spark" for one in kept)
    spark = _SPARK_LEAST + min(spare // 8, _SPARK_MOST - _SPARK_LEAST)
    unit = _UNIT_LEAST + min(spare // 4, _UNIT_MOST - _UNIT_LEAST)
    left = width - unit - _room(kept) - sparks * (spark - _SPARK_LEAST)
    reason = left - 1 if left > _REASON_LEAST else 0
    if not reason:
        unit = max(unit + left, 4)
    found = [Column("UNIT", unit, right=False)]
    found += [
        Column("", spark, right=False) if name == "spark" else Column(name, wide, right)
        for name, wide, right, _ in kept
    ]
    if reason:
        found.append(Column("REASON", reason, right=False))
    return Layout(tuple(found), spark, width)


def _room(kept: Sequence[tuple[str, int, bool, int]]) -> int:
    return sum(1 + (wide or _SPARK_LEAST) for _, wide, _, _ in kept)


def heading(shape: Layout, order: str, *, backwards: bool) -> list[Cell]:
    """The line of headings; that of the order has an arrow, where there is room for it."""
    falls = ORDERS[order][1] is not backwards
    cells = []
    for column in shape.columns:
        chosen = column.name[:1] == order and column.name in _SORTABLE
        name = column.name
        if chosen and len(name) < column.width:
            name += "▾" if falls else "▴"
        cells.append((_fit(name, column), "chosen" if chosen else "head"))
    return cells


_SORTABLE = {"UNIT", *(name for name, _, _, _ in _FIXED)}


def cells(row: Row, shape: Layout, now_ns: int) -> list[Cell]:
    kind = STATES.get(row.state, "bad")
    sparks = iter((spark(row.cpu_history, shape.spark, _CPU_FULL),
                   spark(row.memory_history, shape.spark)))  # fmt: skip
    found = []
    for column in shape.columns:
        text, colour = next(sparks, "") if not column.name else "", "faint"
        if column.name:
            text, colour = _cell(row, column.name, kind, now_ns)
        found.append((_fit(text, column), colour))
    return found


def _cell(row: Row, name: str, kind: str, now_ns: int) -> Cell:
    if name == "UNIT":
        return row.name, kind if kind == "bad" else ""
    if name == "STATE":
        return row.state, kind
    if name == "CPU%":
        return number(row.cpu), ""
    if name == "MEM":
        return size(row.memory) or "-", ""
    if name == "TASKS":
        return "-" if row.tasks is None else str(row.tasks), ""
    if name == "RST":
        return str(row.restarts), "busy" if row.restarts else "faint"
    if name == "PSI":
        return pressure(row), "busy" if row.pressure and row.pressure[0] >= _WAITS else "faint"
    if name == "AGE":
        return age(now_ns - row.since_ns), ""
    return clean(remark(row.status, now_ns)), "faint"


def number(percent: float | None) -> str:
    """At most five columns, whatever it is."""
    if percent is None:
        return "-"
    return f"{percent:.1f}" if percent < 999.95 else f"{percent:.0f}"


def age(ns: int) -> str:
    """"48s", "3min", "2h", "5d": whole seconds, since it is looked at each second."""
    return span(max(ns, 0) // SECOND_NS * SECOND_NS).replace(" ", "")


def pressure(row: Row) -> str:
    """"c12": of the last 10 s it waited 12 percent for the CPU (m: memory, i: disks)."""
    if row.pressure is None:
        return "-"
    percent, name = row.pressure
    return f"{name[0]}{percent:.0f}" if percent >= 0.5 else "0"


def spark(values: Sequence[float], width: int, full: float | None = None) -> str:
    """The last `width` of them as bars. From 0 to `full` or the highest; without `full`, from the
    lowest: what stays the same is a flat line, and what grows is seen."""
    shown = list(values)[-width:]
    if not shown:
        return ""
    high = max(shown)
    low = 0.0
    if full is None:
        low = min(shown)
        span_ = max(high - low, high / 8, _MEMORY_FULL)
    else:
        span_ = max(high, full)
    bars = [BARS[min(int((value - low) / span_ * len(BARS)), len(BARS) - 1)] for value in shown]
    return "".join(bars).rjust(width)


def _fit(text: str, column: Column) -> str:
    text = cut(text, column.width)
    space = " " * (column.width - columns(text))
    return space + text if column.right else text + space
