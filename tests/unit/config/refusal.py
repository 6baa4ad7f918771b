"""How a unit file is refused."""
from __future__ import annotations

from supervisor.config.load import load_text
from supervisor.config.problem import Broken


def assert_refused(text: str, line: int, key: str, reason: str) -> None:
    """For one reason, at that line and key, in words that hold `reason`."""
    found = load_text("web", text, "f")
    assert isinstance(found, Broken)
    assert [(p.line, p.key) for p in found.problems] == [(line, key)]
    assert found.problems[0].message.startswith("cannot ")
    assert reason in found.problems[0].message
