"""Which rows there are, in which order, and what stands in them."""
from __future__ import annotations

from typing import Any

import pytest

from supervisor.cli.screen import columns
from supervisor.cli.top.columns import BARS, cells, heading, layout, spark
from supervisor.cli.top.table import ORDERS, Units
from tests.unit.cli.fake import NOW_NS, instance

SECOND = 10**9


def pressure(**percents: float) -> dict[str, Any]:
    return {f"{name}_pressure": {"some_percent": percent} for name, percent in percents.items()}


def units(*statuses: dict[str, Any]) -> Units:
    found = Units()
    found.listed(statuses)
    found.sampled(statuses, 100.0)
    found.summed(sampled=True)
    return found


def keys(found: Units) -> list[str]:
    return [row.key for row in found.rows()]


def test_cpu_is_what_was_used_since_the_look_before_in_percent_of_one_cpu() -> None:
    found = units(instance("web", cpu_ns=5 * SECOND))
    assert found.all["web"].cpu is None
    found.sampled([instance("web", cpu_ns=6 * SECOND)], 104.0)
    assert found.all["web"].cpu == pytest.approx(25.0)
    found.sampled([instance("web", cpu_ns=14 * SECOND)], 106.0)
    assert found.all["web"].cpu == pytest.approx(400.0)
    assert list(found.all["web"].cpu_history) == pytest.approx([25.0, 400.0])


def test_a_new_run_whose_counters_began_anew_used_nothing_rather_than_less() -> None:
    found = units(instance("web", cpu_ns=5 * SECOND))
    seen = []
    for at, status in enumerate((instance("web", cpu_ns=0), instance("web", "stopped"),
                                 instance("web", cpu_ns=9 * SECOND))):
        found.sampled([status], 102.0 + at)
        seen.append(found.all["web"].cpu)
    assert seen == [0, None, None], "after a stop there is nothing to compare it with"


def test_instances_stand_in_the_order_of_their_numbers() -> None:
    found = units(*(instance(f"web/{number}") for number in (10, 9, 0)), instance("db"))
    assert keys(found) == ["db", "web/0", "web/9", "web/10"]
    found.sort_by("U")
    assert keys(found) == ["web/10", "web/9", "web/0", "db"]


@pytest.mark.parametrize("letter,expected", [
    ("S", ["c", "b", "a"]), ("M", ["b", "c", "a"]), ("T", ["c", "b", "a"]),
    ("R", ["b", "a", "c"]), ("P", ["c", "a", "b"]), ("A", ["c", "b", "a"]),
])
def test_each_column_orders_with_the_striking_first_and_the_unknown_last(
    letter: str, expected: list[str]
) -> None:
    found = units(
        instance("a", since_ns=1, usage=pressure(cpu=3.0, io=1.0)),
        instance("b", "backoff", since_ns=2, memory_bytes=9, tasks=1, restarts=4),
        instance("c", "failed", since_ns=3, memory_bytes=8, tasks=2, usage=pressure(memory=9.0)))
    found.sort_by(letter)
    assert keys(found) == expected
    found.sort_by(letter)
    assert keys(found)[0] == expected[-1] or letter == "R"
    assert found.backwards


def test_a_search_looks_at_names_states_and_descriptions() -> None:
    found = units(instance("web/0"), instance("db", "failed"), instance("x", description="A Web"))
    for search, expected in (("WEB", ["web/0", "x"]), ("fail", ["db"]), ("zzz", [])):
        found.search = search
        assert keys(found) == expected


def test_collapsed_instances_are_one_row_with_sums_and_the_most_alarming_state() -> None:
    statuses = [
        instance("web/0", memory_bytes=10, tasks=1, cpu_ns=0, restarts=1, since_ns=5),
        instance("web/1", "backoff", since_ns=9, usage=pressure(io=40.0)),
        instance("db", memory_bytes=5)]
    found = units(*statuses)
    statuses[0]["cpu_ns"] = SECOND
    found.sampled(statuses, 102.0)
    found.summed(sampled=True)
    found.collapsed = True
    assert keys(found) == ["db", "web"]
    web = found.rows()[1]
    assert (web.name, web.state, web.since_ns) == ("web ×2", "backoff", 9)  # noqa: RUF001 - times
    assert (web.memory, web.tasks, web.restarts) == (10, 1, 1)
    assert web.cpu == pytest.approx(50.0)
    assert web.pressure == (40.0, "io")
    assert [row.key for row in web.members] == ["web/0", "web/1"]


def test_units_that_are_gone_are_gone_and_what_stays_keeps_its_history() -> None:
    found = units(instance("web", memory_bytes=1), instance("old"))
    found.listed([instance("web"), instance("new")])
    assert keys(found) == ["new", "web"]
    assert list(found.all["web"].memory_history) == [1]
    found.sampled([instance("strange")], 1.0)
    assert keys(found) == ["new", "web"], "it was not listed"


@pytest.mark.parametrize("width", [20, 40, 60, 79, 80, 100, 120, 200, 300])
def test_lines_fill_the_width_exactly_whatever_it_is(width: int) -> None:
    found = units(
        instance("a-unit-with-quite-a-long-name-that-goes-on-and-on/12", "unkillable",
                 memory_bytes=2**62, tasks=99999, restarts=100, since_ns=NOW_NS - 10**18,
                 usage=pressure(cpu=100.0), cpu_ns=0),
        instance("数据库", "failed", reason="exit 1\x1b[2J"))
    found.sampled([instance(key, cpu_ns=10**15) for key in found.all], 101.0)
    shape = layout(width)
    lines = [heading(shape, "C", backwards=False)]
    lines += [cells(row, shape, NOW_NS) for row in found.rows()]
    for line in lines:
        text = " ".join(cell for cell, _ in line)
        assert columns(text) == max(width, 27), text  # with less, lines are cut at the right
        assert text.isprintable()


def test_eighty_columns_have_all_figures_and_wide_ones_the_reason() -> None:
    names = [column.name for column in layout(80).columns]
    assert names == ["UNIT", "STATE", "CPU%", "", "MEM", "", "TASKS", "RST", "PSI", "AGE"]
    assert [column.name for column in layout(130).columns][-1] == "REASON"
    assert "" not in [column.name for column in layout(60).columns]


def test_the_first_letter_of_each_heading_is_the_key_of_its_order() -> None:
    for letter in ORDERS:
        line = heading(layout(80), letter, backwards=False)
        chosen = [text.strip() for text, kind in line if kind == "chosen"]
        assert len(chosen) == 1
        assert chosen[0].startswith(letter)


def test_bars_are_of_the_highest_or_of_ten_percent_and_constant_memory_is_flat() -> None:
    assert spark([0, 5, 100], 5, 10.0) == "  " + BARS[0] + BARS[0] + BARS[-1]
    assert spark([10.0], 1, 10.0) == BARS[-1]
    assert spark([0.1, 0.2], 2, 10.0) == BARS[0] * 2
    assert spark([5e8, 5e8, 5e8 + 4096], 3) == BARS[0] * 3
    assert spark([1e8, 2e8, 3e8], 3) == BARS[0] + BARS[4] + BARS[-1]
    assert spark([], 5) == ""
