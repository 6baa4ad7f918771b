"""Law: docs/isolation-table.md is what packaging/probe_table.py makes of what was measured, and
every unit and action of the tables was measured."""
from __future__ import annotations

import runpy
from typing import Any

import pytest

from tests.law.source import ROOT
from tests.native.boxes import BOXES

TABLE = runpy.run_path(str(ROOT / "packaging" / "probe_table.py"))
AGAIN = "measure again: python packaging/probe_table.py measure FILE, and uml FILE"


@pytest.mark.parametrize("one", TABLE["results"](), ids=lambda one: one["kernel"])
def test_every_unit_and_action_was_measured_on_each_kernel(one: dict[str, Any]) -> None:
    keys = {name: row["keys"] for name, row in one["units"].items()}
    assert keys == {name: box.keys for name, box in BOXES.items()}, AGAIN
    actions = len(TABLE["groups"]())
    assert {len(ends) for ends in one["ends"].values()} == {actions}, AGAIN
    assert "" not in {end for ends in one["ends"].values() for end in ends}


def test_every_unit_did_what_was_expected() -> None:
    wrong = {
        (one["kernel"], name): row["differences"]
        for one in TABLE["results"]() for name, row in one["units"].items() if "differences" in row}
    assert not wrong


def test_the_page_is_what_was_measured() -> None:
    assert TABLE["PAGE"].read_text() == TABLE["page"](TABLE["results"]())


def test_kernels_with_and_without_landlock_were_measured() -> None:
    seen = sorted(one["landlock"] for one in TABLE["results"]())
    assert seen[0] == 0
    assert seen[-1] >= 6
