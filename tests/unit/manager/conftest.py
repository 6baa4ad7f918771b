"""Managers that boot by a plan."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.manager.boot_plan_kit import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    made: list[Machine] = []

    def begin(**files: str) -> Machine:
        made.append(Machine(tmp_path, **files))
        return made[-1]

    yield begin
    for one in made:
        one.bench.close()
