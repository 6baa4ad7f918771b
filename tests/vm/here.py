"""The supervisor of the machine in which a test runs: a test's Stack without one of its own."""
from __future__ import annotations

from pathlib import Path

from tests.stack import Stack, children, command_line
from tests.vm.machine import HOST


class Here(Stack):
    """The supervisor of this machine: it was there before us, and goes on after us."""

    def __init__(self) -> None:
        super().__init__(HOST, {})
        self.runtime = Path("/run/unboxed")

    def answers(self) -> bool:
        try:
            self.call("Status")
        except OSError:
            return False
        return True

    def _child(self, script: str) -> int:
        found = [pid for pid in children(1) if f"/{script}/__main__.py" in command_line(pid)]
        return found[0] if found else 0
