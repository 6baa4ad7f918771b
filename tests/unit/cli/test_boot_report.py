"""The critical chain, and the picture: well-formed, deterministic, nobody's text is markup."""
from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import pytest

from supervisor.cli.boot_chain import chain, end_ns, spans, took_ns
from supervisor.cli.boot_plot import plot
from supervisor.cli.boot_report import _document, _lines
from supervisor.cli.screen import Screen

Unit = dict[str, Any]
MS = 1_000_000
SVG = "{http://www.w3.org/2000/svg}"


def unit(
    key: str, waiting: int, launching: int, up: int, *waits: tuple[str, str], ended: int = 0,
    failed: bool = False,
) -> Unit:
    return {
        "key": key, "unit": key.partition("/")[0], "waiting_ns": waiting * MS,
        "launching_ns": launching * MS, "starting_ns": launching * MS + 1 if launching else 0,
        "up_ns": up * MS, "ended_ns": ended * MS, "failed": failed,
        "waits": [{"unit": name, "until": until} for name, until in waits],
    }  # fmt: skip


UNITS = [
    unit("disk", 0, 100, 150, ended=190),
    unit("db", 110, 190, 400, ("disk", "finished")),
    unit("quick", 0, 110, 115),
    unit("web/0", 110, 400, 420, ("db", "ready"), ("quick", "ready")),
    unit("web/1", 110, 400, 450, ("db", "ready"), ("quick", "ready")),
    unit("late", 110, 116, 300, ("quick", "started"), ("web", "ready")),
]


def report(*units: Unit, machine: bool = True, done: int = 450) -> dict[str, Any]:
    steps = {"keeper": 50, "machine": 60, "interpreter": 70, "imports": 90, "begun": 120}
    return {"machine": machine, "done_ns": done * MS, "units": list(units),
            "steps": [{"name": name, "done_ns": at * MS} for name, at in steps.items()]}


def parse(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 - our own text


def keys(found: list[tuple[Unit, str]]) -> list[tuple[str, str]]:
    return [(row["key"], until) for row, until in found]


def test_the_chain_goes_back_through_what_was_waited_for_last() -> None:
    assert keys(chain(UNITS)) == [("web/1", ""), ("db", "ready"), ("disk", "finished")]


def test_who_came_later_than_the_launch_was_not_waited_for() -> None:
    late = next(row for row in UNITS if row["key"] == "late")
    assert keys(chain(UNITS, late)) == [("late", ""), ("quick", "started")]


def test_who_never_waited_begins_the_chain() -> None:
    assert keys(chain([unit("a", 0, 10, 20), unit("b", 0, 30, 40, ("a", "ready"))])) == [("b", "")]


@pytest.mark.parametrize("units", [
    [], [unit("stuck", 10, 0, 0, ("none", "ready"))],
])  # fmt: skip
def test_without_anybody_there_is_no_chain(units: list[Unit]) -> None:
    assert chain(units) == []
    parse(plot(report(*units, done=0)))


def test_units_that_wait_for_each_other_end_the_chain() -> None:
    rows = [unit("a", 1, 10, 20, ("b", "started")), unit("b", 1, 10, 20, ("a", "started"))]
    assert len(chain(rows)) <= 2


def test_time_begins_with_the_kernel_of_a_machine_else_with_the_keeper() -> None:
    assert next(iter(spans(report()))) == ("keeper", 0, 50 * MS)
    assert next(iter(spans(report(machine=False)))) == ("machine", 50 * MS, 60 * MS)
    found = _document(report(*UNITS, machine=False))
    assert (found["total_ns"], found["kernel_ns"]) == (400 * MS, None)
    assert _document(report(*UNITS))["kernel_ns"] == 50 * MS


def test_a_start_that_goes_on_says_who_is_missing() -> None:
    rows = [*UNITS, unit("stuck", 110, 0, 0, ("never", "ready"))]
    text = "\n".join(_lines(report(*rows, done=0), Screen()))
    assert "1 not there yet (stuck)" in text
    assert end_ns(report(*rows, done=0)) == 450 * MS
    assert took_ns(rows[-1]) == 0


def test_the_text_has_the_kernel_the_steps_the_slowest_and_the_chain() -> None:
    lines = _lines(report(*UNITS), Screen())
    assert lines[0] == "0.450 s: 0.050 s of the kernel, 0.400 s after it"
    text = "\n".join(lines)
    slowest = text.partition("the longest\n")[2].splitlines()[0]
    assert slowest.split() == ["0.210", "s", "db"]
    assert "    db ready at 0.400 s, launched at 0.190 s, took 0.210 s" in text


def test_the_picture_has_a_bar_for_each_unit_and_is_the_same_each_time() -> None:
    text = plot(report(*UNITS))
    assert text == plot(report(*UNITS))
    root = parse(text)
    labels = [part.text for part in root.iter(f"{SVG}text") if "name" in part.get("class", "")]
    assert set(labels) >= {row["key"] for row in UNITS}
    bold = {part.text for part in root.iter(f"{SVG}text") if "critical" in part.get("class", "")}
    assert bold == {"web/1", "db", "disk"}
    width = float(root.get("width", "0"))
    for bar in root.iter(f"{SVG}rect"):
        assert 0 <= float(bar.get("x", "0")) <= width
        assert float(bar.get("x", "0")) + float(bar.get("width", "0")) <= width + 1
    assert "prefers-color-scheme: dark" in text


def test_what_was_skipped_took_no_time() -> None:
    watchdog = unit("watchdog", 0, 120, 0, ended=440)
    watchdog["starting_ns"] = 0
    rows = [*UNITS[:2], watchdog, unit("last", 110, 441, 450, ("watchdog", "ready"))]
    text = "\n".join(_lines(report(*rows), Screen()))
    assert "watchdog" not in text.partition("Critical chain")[0]
    assert "    watchdog skipped at 0.440 s\n" in f"{text}\n"
    assert {row["key"]: row["took_ns"] for row in _document(report(*rows))["units"]} == {
        "disk": 50 * MS, "db": 210 * MS, "watchdog": 0, "last": 9 * MS}
    picture = parse(plot(report(watchdog)))
    bars = [bar.get("class") for bar in picture.iter(f"{SVG}rect") if bar.get("height") == "14"]
    assert "launching" not in bars
    assert "skipped" in [part.text for part in picture.iter(f"{SVG}text")]


def test_a_failure_is_drawn_as_one() -> None:
    bars = parse(plot(report(unit("bad", 0, 100, 0, ended=200, failed=True))))
    kinds = [bar.get("class") for bar in bars.iter(f"{SVG}rect") if bar.get("height") == "14"]
    assert kinds.count("failed") == 1


def test_nobody_s_name_is_markup() -> None:
    text = plot(report(unit('<script>"&', 0, 100, 200)))
    labels = [part.text for part in parse(text).iter(f"{SVG}text")]
    assert '<script>"&' in labels
    assert "<script>" not in text
