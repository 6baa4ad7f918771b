"""Fault 21: a service runs out of memory. Its end says so, whoever of it the kernel picked, and its
restart policy is kept; other units do not notice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.limits_kit import HOG, SLEEP, need, service
from tests.stack import Stack

CHILD = f"import os, time\nif not os.fork():\n exec({HOG!r})\ntime.sleep(1000)"
SAID = "killed for memory: limits.memory of 48MiB reached"
# What it writes into its private /tmp is its memory too.
TMP = (
    "with open('/tmp/file', 'wb') as file:\n while True:\n  file.write(bytes(1 << 20))\n"
    "  file.flush()")
APP = 'tmp = "private"\nprocesses = "own"\n'


@pytest.mark.parametrize(
    "code, box",
    [(HOG, ""), (CHILD, ""), (HOG, APP), (CHILD, APP), (TMP, APP)],
    ids=["the main process", "a child of it", "in a sandbox", "a child in a sandbox", "its /tmp"],
)
def test_an_end_for_want_of_memory_is_named_and_restarted(
    code: str, box: str, tmp_path: Path
) -> None:
    need("memory")
    if box and os.geteuid():
        pytest.skip("needs root: a view of its own")
    keys = '[limits]\nmemory = "48MiB"\n[restart]\ndelay = 0\nlimit = {count = 3, within = "1m"}\n'
    text = service(code, keys + (f"[sandbox]\n{box}" if box else ""))
    with Stack(tmp_path, {"hog": text, "calm": SLEEP}) as stack:
        pid = stack.wait("calm", "running")["pid"]
        row = stack.wait("hog", "failed")
        assert (row["last_exit"], row["restarts"]) == (SAID, 3)
        causes = [moved["cause"] for moved in stack.call("Describe", unit="hog")["history"]]
        assert len([cause for cause in causes if SAID in cause]) >= 4
        assert stack.row("calm")["pid"] == pid
