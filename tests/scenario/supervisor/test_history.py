"""What led to a unit's state is known to the next manager too, and told once."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from supervisor import __version__
from tests.stack import Stack, keeper_binary

SLEEP = 'command = ["/bin/sleep", "1000"]\n'
CRASH = 'command = ["/bin/false"]\n[restart]\nwhen = "always"\ndelay = "1h"\nmax_delay = "1h"\n'


def told(stack: Stack) -> list[dict[str, Any]]:
    """The transitions in the supervisor's own log."""
    return [row for row in log(stack) if "id" in row]


def said(stack: Stack) -> list[str]:
    """Its messages."""
    return [row["message"] for row in log(stack) if "message" in row]


def log(stack: Stack) -> list[dict[str, Any]]:
    text = b"".join(path.read_bytes() for path in sorted((stack.log / "unboxed").glob("*.log")))
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("how", ["kill", "upgrade"])
def test_causes_outlive_the_manager(tmp_path: Path, how: str) -> None:
    app = SLEEP + '[needs]\nafter = ["one"]\n'
    with Stack(tmp_path, {"one": SLEEP, "app": app, "bad": CRASH}) as stack:
        stack.wait("app", "running")
        stack.wait("bad", "backoff")
        stack.call("Restart", units=["one"], wait=True)
        before = {key: stack.call("Why", unit=key)["chain"] for key in ("one", "app", "bad")}
        assert len(before["app"]) > 2
        count = len(stack.call("Describe", unit="one")["history"])
        stack.until(lambda: len(told(stack)) >= before["one"][0]["id"], "all to be logged")
        manager = stack.manager
        if how == "kill":
            os.kill(manager, signal.SIGKILL)
        else:
            stack.call("Upgrade")
        stack.until(lambda: stack.manager not in (0, manager), "another manager")
        stack.until(stack.answers, "it to answer")
        for key, chain in before.items():
            after = stack.call("Why", unit=key)["chain"]
            assert [one["id"] for one in after] == [one["id"] for one in chain]
            assert [one["cause"] for one in after] == [one["cause"] for one in chain]
        assert len(stack.call("Describe", unit="one")["history"]) == count
        stack.call("Restart", units=["one"], wait=True)
        chain = stack.call("Why", unit="one")["chain"]
        assert chain[0]["id"] > before["one"][0]["id"]
        stack.until(lambda: told(stack)[-1]["id"] >= chain[0]["id"], "that to be logged")
        why = "the one before it was killed or broke off; what it supervised went on"
        if how == "upgrade":
            why = f"upgraded, to the same version {__version__}"
        assert [text for text in said(stack) if "manager number" in text] == [
            f"this is manager number 2: {why}"]
        numbers = [row["id"] for row in told(stack)]
        assert numbers == sorted(set(numbers)), "nothing is told twice"


def test_an_upgrade_takes_what_was_installed_where_it_was_started_from(tmp_path: Path) -> None:
    installed, aside = tmp_path / "bin" / "unboxed-init", tmp_path / "aside"
    installed.parent.mkdir()
    aside.mkdir()
    shutil.copy(keeper_binary(), installed)
    with Stack(tmp_path, {"one": SLEEP}, keeper=str(installed)) as stack:
        before = stack.wait("one", "running")["pid"]
        manager = stack.manager
        installed.rename(aside / "unboxed-init")  # as pip does, which then deletes it
        shutil.copy(keeper_binary(), installed)
        shutil.rmtree(aside)
        stack.call("Upgrade")
        stack.until(lambda: stack.manager not in (0, manager), "another manager")
        stack.until(stack.answers, "it to answer")
        assert os.readlink(f"/proc/{stack.keeper}/exe") == str(installed)
        assert stack.row("one")["pid"] == before
