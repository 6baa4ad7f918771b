"""Speakers: services that do what a test tells them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.stack import ROOT, Stack


class Speaker:
    """The handle of one speaker service; `unit` is its unit file without other tables."""

    def __init__(self, home: Path, name: str = "speaker") -> None:
        self.fifo, self.out = home / f"{name}.fifo", home / f"{name}.out"
        os.mkfifo(self.fifo)
        script = str(ROOT / "tests" / "speaker.py")
        words = [sys.executable, "-I", "-S", script, str(self.fifo), str(self.out)]
        self.unit = f"command = {json.dumps(words)}\n"

    def tell(self, *lines: str) -> None:
        with self.fifo.open("a") as fifo:
            fifo.writelines(line + "\n" for line in lines)

    def facts(self, stack: Stack, event: str, count: int = 1) -> dict[str, Any]:
        """The count-th row of facts about `event`, as soon as it is there."""

        def there() -> dict[str, Any] | None:
            rows = [json.loads(line) for line in self.out.read_text().splitlines()] if (
                self.out.exists()
            ) else []
            rows = [row for row in rows if row["event"] == event]
            return rows[count - 1] if len(rows) >= count else None

        found = stack.until(there, f"{event} number {count}")
        assert isinstance(found, dict)
        return found


@pytest.fixture
def speaker(tmp_path: Path) -> Speaker:
    return Speaker(tmp_path)
