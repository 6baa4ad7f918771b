"""An agent that collects, and what it has collected."""
from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.stack import ROOT, Stack, children, command_line

SCRIPT = str(ROOT / "tests" / "scenario" / "agents" / "collector.py")


class Collector:
    """`unit`: the text of its unit file but for [tables]."""

    def __init__(self, home: Path, attach: str = '["web"]', name: str = "ship") -> None:
        self.name = name
        self.out = home / f"{name}.out"
        words = [sys.executable, "-I", "-S", SCRIPT, str(self.out)]
        self.unit = f"command = {json.dumps(words)}\nattach = {attach}\n"

    def rows(self) -> list[dict[str, Any]]:
        try:
            return [json.loads(line) for line in self.out.read_bytes().splitlines() if line]
        except FileNotFoundError:
            return []

    def messages(self) -> list[str]:
        return [row["message"] for row in self.rows()]

    def life(self, event: str) -> list[dict[str, Any]]:
        try:
            lines = self.out.with_name(f"{self.name}.out.life").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [row for row in map(json.loads, lines) if row["event"] == event]

    def wait(self, stack: Stack, *messages: str) -> None:
        stack.until(lambda: set(messages) <= set(self.messages()), f"{messages}")


def feeds(stack: Stack) -> list[int]:
    """The pids of all feed processes."""
    assert stack.process is not None
    found = children(stack.process.pid)
    return [pid for pid in found if "/logger/feed.py" in command_line(pid)]


def stored(stack: Stack) -> list[str]:
    """What the keeper has open, by kind: the targets of its descriptors."""
    assert stack.process is not None
    links = Path(f"/proc/{stack.keeper}/fd").iterdir()
    return sorted(str(link.readlink()).partition(":")[0] for link in links)
