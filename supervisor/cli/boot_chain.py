"""What a start took, and what its end was waited for: pure, from the answer of BootReport.

Law: the chain goes back from whoever came last. Of all that a unit is ordered after, it had waited
for the one that came last before it went on; then the same is asked of that one.
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    Unit = dict[str, Any]

STEPS = {
    "keeper": "the kernel, up to the first process", "machine": "file systems and console",
    "plan": "the boot plan's launches sent",
    "interpreter": "the interpreter's start", "imports": "our code and its libraries",
    "prepared": "sockets, groups, objects", "read": "unit files read",
    "planned": "parsed and planned", "begun": "launches and waits written down",
}  # fmt: skip


def came_ns(unit: Unit, until: str = "ready") -> int:
    """When it was there, as far as somebody who waits `until` needs it; 0: not yet. Whoever has
    ended is as far as it will come."""
    ended: int = unit["ended_ns"]
    up: int = unit["up_ns"]
    if until == "started":
        return unit["starting_ns"] or up or ended
    if until == "finished":
        return ended
    return up or ended


def begun_ns(unit: Unit) -> int:
    """When it did not wait any more; 0: it does."""
    for name in ("launching_ns", "starting_ns", "up_ns", "ended_ns"):
        if unit[name]:
            return int(unit[name])
    return 0


def skipped(unit: Unit) -> bool:
    """Whether a condition did not hold: nothing of it ran, and it took nobody's time."""
    return bool(unit["ended_ns"] and not (unit["starting_ns"] or unit["up_ns"] or unit["failed"]))


def took_ns(unit: Unit) -> int:
    """From its launch until it was there; 0 if it is not, or never ran."""
    begun, came = begun_ns(unit), came_ns(unit)
    return came - begun if begun and came and not skipped(unit) else 0


def chain(units: Sequence[Unit], last: Unit | None = None) -> list[tuple[Unit, str]]:
    """The critical chain, the last unit first; with each, until what of it the one before waited
    ("" for the first). Of instances of one unit that is the one that came last."""
    there = [unit for unit in units if came_ns(unit)]
    if last is None:
        if not there:
            return []
        last = max(there, key=lambda unit: (came_ns(unit), unit["key"]))
    by_name: dict[str, list[Unit]] = {}
    for unit in there:
        by_name.setdefault(unit["unit"], []).append(unit)
    found = [(last, "")]
    seen = {last["unit"]}
    while True:
        one = found[-1][0]
        waited: list[tuple[int, str, Unit, str]] = []
        for wait in one["waits"]:
            rows = [row for row in by_name.get(wait["unit"], ()) if came_ns(row, wait["until"])]
            if rows and wait["unit"] not in seen:
                row = max(rows, key=lambda row: came_ns(row, wait["until"]))
                waited.append((came_ns(row, wait["until"]), row["key"], row, wait["until"]))
        early = [entry for entry in waited if entry[0] <= begun_ns(one)]
        if not early or not one["waiting_ns"]:
            return found
        _, _, row, until = max(early, key=lambda entry: entry[:2])
        found.append((row, until))
        seen.add(row["unit"])


def origin_ns(report: dict[str, Any]) -> int:
    """Where the report's time begins: with the kernel of a machine, else with the keeper."""
    if report["machine"]:
        return 0
    return min((step["done_ns"] for step in report["steps"]), default=0)


def spans(report: dict[str, Any]) -> Iterable[tuple[str, int, int]]:
    """(step, from, to) of our own start, in order."""
    before = origin_ns(report)
    for step in report["steps"]:
        if step["done_ns"] > before or report["machine"]:
            yield step["name"], before, step["done_ns"]
        before = step["done_ns"]


def end_ns(report: dict[str, Any]) -> int:
    """When it was done, or the last that is known of it."""
    if report["done_ns"]:
        return int(report["done_ns"])
    times = [unit[name] for unit in report["units"]
             for name in ("launching_ns", "starting_ns", "up_ns", "ended_ns")]
    return max([*times, *(step["done_ns"] for step in report["steps"])], default=0)
