"""`unboxed boot-report`: what a start took, step by step, and what its end was waited for."""
from __future__ import annotations

import os

from supervisor.cli.boot_chain import (
    STEPS,
    begun_ns,
    came_ns,
    chain,
    end_ns,
    origin_ns,
    skipped,
    spans,
    took_ns,
)
from supervisor.cli.call import DONE, Call, Failure
from supervisor.cli.screen import Screen, clean
from supervisor.cli.server import Server, print_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BLAMED = 20  # units that took longest


def run(call: Call) -> int:
    with Server(call, "report the boot") as server:
        report = server.call("BootReport", {})
    path = call.text("plot")
    if path:
        _write(path, report)
    if call.flag("json"):
        print_json(_document(report))
    elif not path:
        print("\n".join(_lines(report, Screen())))
    return DONE


def _write(path: str, report: dict[str, Any]) -> None:
    from supervisor.cli.boot_plot import plot

    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(plot(report))
    except OSError as error:
        raise Failure(
            f"cannot write {path}: {os.strerror(error.errno or 0).lower()}; nothing was drawn"
        ) from None


def _document(report: dict[str, Any]) -> dict[str, Any]:
    """Times from where the report begins; null for what did not happen."""
    begin = origin_ns(report)

    def since(when: int) -> int | None:
        return when - begin if when else None

    names = ("waiting_ns", "launching_ns", "starting_ns", "up_ns", "ended_ns")
    return {
        "machine": report["machine"], "done": bool(report["done_ns"]),
        "total_ns": end_ns(report) - begin, "kernel_ns": _kernel_ns(report),
        "steps": [{"name": name, "from_ns": start - begin, "to_ns": stop - begin}
                  for name, start, stop in spans(report)],
        "units": [{"key": row["key"], "failed": row["failed"], "took_ns": took_ns(row),
                   **{name: since(row[name]) for name in names}} for row in report["units"]],
        "chain": [{"key": row["key"], "until": until, "came_ns": since(came_ns(row)),
                   "took_ns": took_ns(row)} for row, until in chain(report["units"])],
    }  # fmt: skip


def _kernel_ns(report: dict[str, Any]) -> int | None:
    """Until the first process began; None off a machine, where that was long ago."""
    found = [step["done_ns"] for step in report["steps"] if step["name"] == "keeper"]
    return int(found[0]) if report["machine"] and found else None


def _lines(report: dict[str, Any], screen: Screen) -> list[str]:
    begin, units = origin_ns(report), report["units"]
    whole, kernel = end_ns(report) - begin, _kernel_ns(report)
    missing = [row["key"] for row in units if not came_ns(row)]
    parts = f": {_s(kernel)} of the kernel, {_s(whole - kernel)} after it" if kernel else ""
    lines = [screen.paint(f"{_s(whole)}", "head") + parts]
    if not report["done_ns"]:
        said = ", ".join(clean(key) for key in missing[:5])
        lines.append(screen.paint(f"it goes on: {len(missing)} not there yet ({said})", "31"))
    lines += ["", screen.paint("Step of the supervisor's own start      at       took", "head")]
    for name, start, stop in spans(report):
        words = STEPS.get(name, name)
        lines.append(f"  {words:34} {_s(stop - begin):>8} {_s(stop - start):>8}")
    blamed = sorted((row for row in units if took_ns(row)), key=lambda row: -took_ns(row))
    if blamed:
        lines += ["", screen.paint("From launch until ready, the longest", "head")]
        lines += [f"  {_s(took_ns(row)):>8}  {clean(row['key'])}" for row in blamed[:_BLAMED]]
    links = chain(units)
    if links:
        title = "Critical chain: who came last, and for whom that had waited"
        lines += ["", screen.paint(title, "head")]
    for depth, (row, until) in enumerate(links):
        word = {"": "there", "ready": "ready"}.get(until, until)
        ran = f", launched at {_s(begun_ns(row) - begin)}, took {_s(took_ns(row))}"
        if skipped(row):
            word, ran = "skipped", ""
        lines.append(
            f"  {'  ' * min(depth, 12)}{screen.paint(clean(row['key']), 'head')} {word} at"
            f" {_s(came_ns(row, until or 'ready') - begin)}{ran}")
    return lines


def _s(ns: int) -> str:
    return f"{ns / 1e9:.3f} s"
