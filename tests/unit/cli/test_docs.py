"""docs/commands.md says what the table says."""
from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_of_commands_is_current() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "generate_commands.py"))
    assert made["PAGE"].read_text(encoding="utf-8") == made["page"](), (
        "run `python docs/generate_commands.py`")
