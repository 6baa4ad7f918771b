"""Fault 7, end to end: a service lets go of 10,000 processes, and they all end at once.

Nobody is left as a zombie 2 s later, and the supervisor answers all the while.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Self

import pytest

from tests.stack import Stack, children

ORPHANS = 10_000
LIMIT_S = 2.0
ANSWER_S = 0.5  # with 10,000 processes ending on the same processors


def zombies(keeper: int) -> list[int]:
    found = []
    for pid in children(keeper):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
        except OSError:
            continue  # reaped while we looked
        if state == "Z":
            found.append(pid)
    return found


class Asker:
    """Asks for the status again and again; `slowest` is the longest that an answer took."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.slowest = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def _ask(self) -> None:
        while not self._over.wait(0.01):
            began = time.monotonic()
            self._stack.call("Status")
            self.slowest = max(self.slowest, time.monotonic() - began)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("end", ["by themselves", "by a stop"])
def test_f07_ten_thousand_orphans_of_a_service_end_at_once(tmp_path: Path, end: str) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    script = (
        f"exec 3<{fifo}; (i=0; while [ $i -lt {ORPHANS} ]; do read x <&3 & i=$((i + 1)); done); "
        f"echo > {tmp_path}/ready; exec sleep 1000"
    )
    unit = f"command = ['/bin/sh', '-c', '{script}']\n[stop]\nladder = ['TERM', '100ms', 'KILL']\n"
    with Stack(tmp_path, {"one": unit, "two": 'command = ["/bin/sleep", "1000"]\n'}) as stack:
        assert stack.process is not None
        keeper = stack.process.pid
        writer = os.open(fifo, os.O_WRONLY)
        stack.until((tmp_path / "ready").exists, "the orphans to be born", 60)
        assert len(children(keeper)) == ORPHANS + 4
        pids = {key: row["pid"] for key, row in stack.rows().items()}
        with Asker(stack) as asker:
            began = time.monotonic()
            if end == "by a stop":
                assert stack.call("Stop", units=["one"])["results"][0]["ok"]
                began = time.monotonic()
                del pids["one"]
            os.close(writer)
            stack.until(lambda: len(children(keeper)) <= 4, "the orphans to be gone")
            took = time.monotonic() - began
            assert zombies(keeper) == []
        assert took < LIMIT_S
        assert asker.slowest < ANSWER_S
        assert {key: stack.row(key)["pid"] for key in pids} == pids
