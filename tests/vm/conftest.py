"""A machine in a process is slow, and slower where others are at work: its tests have more time."""
from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.machine import PATIENCE_S


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(PATIENCE_S + 20))
