"""Fault 21: a service runs out of memory. Its end says so, whoever of it the kernel picked, and its
restart policy is kept; other units do not notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.limits_kit import HOG, SLEEP, need, service
from tests.stack import Stack

CHILD = f"import os, time\nif not os.fork():\n exec({HOG!r})\ntime.sleep(1000)"
SAID = "killed for memory: limits.memory of 48MiB reached"


@pytest.mark.parametrize("code", [HOG, CHILD], ids=["the main process", "a child of it"])
def test_an_end_for_want_of_memory_is_named_and_restarted(code: str, tmp_path: Path) -> None:
    need("memory")
    text = service(code, '[limits]\nmemory = "48MiB"\n[restart]\ndelay = 0\n'
                         'limit = {count = 3, within = "1m"}\n')
    with Stack(tmp_path, {"hog": text, "calm": SLEEP}) as stack:
        pid = stack.wait("calm", "running")["pid"]
        row = stack.wait("hog", "failed")
        assert (row["last_exit"], row["restarts"]) == (SAID, 3)
        causes = [moved["cause"] for moved in stack.call("Describe", unit="hog")["history"]]
        assert len([cause for cause in causes if SAID in cause]) >= 4
        assert stack.row("calm")["pid"] == pid
