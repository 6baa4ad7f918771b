"""The shipper is killed 100 times during a million numbered lines, and meanwhile its feed, the
logger and the manager too: every line arrives at the receiver, exactly once by its number."""
from __future__ import annotations

import json
import os
import random
import re
import signal
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from tests.scenario.agents.kit import feeds
from tests.scenario.agents.shipping import Receiver
from tests.stack import ROOT, Stack, children, command_line

KILLS = 100
LINES = 1_000_000  # of 60 bytes
BATCH = 2_000
PRODUCER = f"""
import os, time
for begin in range(0, {LINES}, {BATCH}):
    data = memoryview(b"".join(b"%059d\\n" % number for number in range(begin, begin + {BATCH})))
    while data:
        data = data[os.write(1, data):]
    time.sleep(0.02)
time.sleep(1000)
"""
SENT = re.compile(rb'"(\d{59})",\{"seq":"(\d+)"\}')


def shippers(stack: Stack) -> list[int]:
    assert stack.process is not None
    found = children(stack.process.pid)
    return [pid for pid in found if " agent shipper" in command_line(pid)]


def all_done(stack: Stack) -> bool:
    cursor = stack.home / "state" / "agents" / "ship" / "cursor"
    return cursor.exists() and cursor.read_text() == f"web@{LINES * 60:x}\n"


def sent(stack: Stack, receiver: Receiver, before: int) -> bool:
    """More than before, unless there is no more."""
    return len(receiver.requests) > before or all_done(stack)


def kill(pid: int) -> None:
    if pid:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.timeout(240)
@pytest.mark.slow
def test_a_shipper_killed_100_times_delivers_a_million_lines_once_each(tmp_path: Path) -> None:
    chance = random.Random(36)
    with Receiver() as receiver:
        settings = tmp_path / "shipper.toml"
        settings.write_text(
            f'to = "loki"\nurl = "http://127.0.0.1:{receiver.port}"\ngzip = false\n'
            "batch_seconds = 0.01\n")
        words = [sys.executable, "-m", "supervisor.cli", "agent", "shipper", str(settings)]
        units = {
            "web": f"command = {json.dumps([sys.executable, '-I', '-S', '-c', PRODUCER])}\n"
                   '[logs]\nkeep = "1GiB"\nsegment = "4MiB"\n',
            "ship": f"command = {json.dumps(words)}\nattach = ['web']\n"
                    "[agent]\nreceives = ['logs']\ncursor = true\n"
                    f'[env]\nPYTHONPATH = "{ROOT}"\n'
                    '[restart]\nwhen = "always"\ndelay = 0\nlimit = "none"\n',
        }
        with Stack(tmp_path, units) as stack:
            killed: set[int] = set()
            others: Counter[str] = Counter()
            while len(killed) < KILLS:
                had = len(receiver.requests)
                stack.until(lambda: set(shippers(stack)) - killed, "a shipper")
                if len(killed) % 5:  # most die while they send, the others while they start
                    stack.until(partial(sent, stack, receiver, had), "lines")
                time.sleep(chance.random() * 0.05)
                (pid, *_) = [*(set(shippers(stack)) - killed), 0]
                if len(killed) % 5 == 1:
                    for feed in feeds(stack):
                        kill(feed)
                        others["feed"] += 1
                    time.sleep(chance.random() * 0.1)
                if len(killed) % 10 == 2:
                    kill(stack.logger)
                    others["logger"] += 1
                if len(killed) % 10 == 3:
                    kill(stack.manager)
                    others["manager"] += 1
                if pid:
                    kill(pid)
                    killed.add(pid)
            assert min(others[each] for each in ("feed", "logger", "manager")) >= 5
            stack.until(stack.answers, "control to answer")
            stack.until(lambda: all_done(stack), "all to be acknowledged", timeout=90)
            assert stack.row("web")["restarts"] == 0

        found = [pair for request in receiver.requests for pair in SENT.findall(request.data)]
        numbers: dict[int, int] = {}
        for number, seq in found:
            assert numbers.setdefault(int(seq), int(number)) == int(number)
        assert [numbers[seq] for seq in sorted(numbers)] == list(range(LINES))
        print(f"{len(found) - LINES} lines were sent more than once; also killed: {dict(others)}")
