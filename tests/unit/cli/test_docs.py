"""docs/commands.md says what the table says."""
from __future__ import annotations

import runpy
from pathlib import Path

from supervisor.model.paths import paths

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_of_commands_is_current() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "generate_commands.py"))
    assert made["PAGE"].read_text(encoding="utf-8") == made["page"](), (
        "run `python docs/generate_commands.py`")


def test_the_commands_page_has_the_default_directories_of_root_and_others() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    env = {"HOME": "/h", "XDG_RUNTIME_DIR": "/x"}
    for uid in (0, 1000):
        where = paths(env, uid)
        for path in (where.runtime, where.state, where.log):
            shown = path.replace("/x/", "$XDG_RUNTIME_DIR/").replace("/h/", "~/")
            assert f"| `{shown}` |" in text
