from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.boot.machine_kit import Made


@pytest.fixture
def machine(tmp_path: Path) -> Made:
    return Made(tmp_path)
