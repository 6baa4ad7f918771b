"""`unboxed boot-report` of a supervisor that runs, and of one whose manager was replaced."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.stack import ROOT, Stack

UNITS = {
    "db": """
        command = ["/bin/sh", "-c", "sleep 0.3; echo ready; exec sleep 1000"]
        start.ready = { log = "ready" }
    """,
    "web": 'command = ["/bin/sleep", "1000"]\nneeds.requires = ["db"]',
    "free": 'command = ["/bin/sleep", "1000"]',
    "later": 'command = ["/bin/sleep", "1000"]\nautostart = false',
}


@pytest.fixture
def stack() -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="ub-") as home, Stack(Path(home), UNITS) as running:
        running.wait("web", "running")
        yield running


def ask(stack: Stack, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "supervisor.cli", "boot-report", *words,
         "--runtime-dir", str(stack.runtime)],
        capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)


def document(stack: Stack) -> dict[str, Any]:
    done = ask(stack, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_it_tells_steps_units_and_the_chain(stack: Stack) -> None:
    found = document(stack)
    assert found["done"]
    assert not found["machine"]
    names = [step["name"] for step in found["steps"]]
    assert names[-6:] == ["interpreter", "imports", "prepared", "read", "planned", "begun"]
    assert all(step["to_ns"] >= step["from_ns"] >= 0 for step in found["steps"])
    units = {row["key"]: row for row in found["units"]}
    assert set(units) == {"db", "web", "free"}
    assert units["db"]["took_ns"] > 250e6
    assert units["web"]["launching_ns"] >= units["db"]["up_ns"]
    assert units["free"]["up_ns"] < units["web"]["up_ns"] <= found["total_ns"]
    chain = [(row["key"], row["until"]) for row in found["chain"]]
    assert chain == [("web", ""), ("db", "ready")]
    text = ask(stack).stdout
    assert "Critical chain" in text
    assert "    db ready at " in text


def test_it_stays_when_the_manager_is_replaced_and_when_units_come_later(stack: Stack) -> None:
    before = document(stack)
    stack.call("Start", units=["later"])
    stack.call("Restart", units=["free"])
    first = stack.manager
    os.kill(first, signal.SIGKILL)
    stack.until(lambda: stack.manager not in (0, first) and stack.answers(), "another manager")
    assert document(stack) == before


def test_it_draws_a_picture_of_it(stack: Stack, tmp_path: Path) -> None:
    picture = tmp_path / "boot.svg"
    assert ask(stack, "--plot", str(picture)).returncode == 0
    root = ET.parse(picture)  # noqa: S314 - our own file
    texts = [part.text for part in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"db", "web", "free"} <= set(texts)
    missing = ask(stack, "--plot", str(tmp_path / "none" / "boot.svg"))
    assert missing.returncode == 1
    assert missing.stderr.startswith("cannot write ")
