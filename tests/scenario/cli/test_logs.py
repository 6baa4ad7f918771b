"""`unboxed logs` beside a real supervisor: both streams apart, and following whatever happens."""
from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import ROOT, Stack
from tests.terminal import Terminal

SCRIPT = """
i=0
while [ $i -lt 200 ]; do
    printf 'out %d ' $i
    echo "<4>problem $i" >&2
    echo end
    i=$((i + 1))
done
echo '{"level":"error","msg":"last"}'
exec sleep 1000
"""
UNITS = {
    "apart": f"""
        command = ["/bin/sh", "-c", '''{SCRIPT}''']
        logs.stderr = "separate"
    """,
    "echo": """
        command = ["/bin/sh", "-c", "echo begun $$; echo ended >&2; exec sleep 1000"]
        restart.delay = 0
    """,
}


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path, UNITS) as stack:
        for key in UNITS:
            stack.wait(key, "running")
        yield stack


def logs(stack: Stack, *words: str) -> list[str]:
    argv = [sys.executable, "-m", "supervisor.cli", "logs", "--log-dir", str(stack.log), *words]
    ran = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert ran.stderr == ""
    return ran.stdout.splitlines()


def test_both_streams_of_a_unit_are_whole_and_apart(stack: Stack) -> None:
    stack.until(lambda: logs(stack, "apart", "--grep", "last"), "the last line")
    output = [json.loads(line) for line in logs(stack, "apart", "--stream", "output", "--json")]
    error = [json.loads(line) for line in logs(stack, "apart", "--stream", "error", "--json")]
    assert [one["message"] for one in output[:-1]] == [f"out {n} end" for n in range(200)]
    assert [one["message"] for one in error] == [f"<4>problem {n}" for n in range(200)]
    assert {one["priority"] for one in error} == {4}
    assert [line.split(" ", 1)[1] for line in logs(stack, "apart", "-p", "err")] == [
        'apart {"level":"error","msg":"last"}']
    assert len(logs(stack, "apart", "-p", "warning")) == 201
    assert logs(stack, "-n", "1", "--grep", "problem 7$")[0].endswith(" apart! <4>problem 7")
    own = stack.until(
        lambda: logs(stack, "unboxed", "--boot", "--grep", "apart:"), "the supervisor's own words"
    )
    assert isinstance(own, list)
    assert "unboxed apart: " in own[0][30:]


def test_following_goes_on_over_restarts_and_ends_when_nobody_reads(stack: Stack) -> None:
    argv = [sys.executable, "-m", "supervisor.cli", "logs", "--log-dir", str(stack.log), "-f",
            "--since", "1h", "--grep", "begun", "echo"]  # fmt: skip
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        seen = [follower.stdout.readline().split(" ", 2)[2]]
        for _ in range(3):
            stack.call("Restart", units=["echo"], wait=True)
            seen.append(follower.stdout.readline().split(" ", 2)[2])
        assert len(set(seen)) == 4
        assert all(line.startswith("begun ") for line in seen)
        follower.stdout.close()  # and the log is quiet now: it is told all the same
        assert follower.wait(20) == 0


def test_a_terminal_shows_priorities_and_errors(stack: Stack) -> None:
    stack.until(lambda: logs(stack, "apart", "--grep", "last"), "the last line")
    terminal = Terminal(["logs", "--log-dir", str(stack.log), "apart"])
    assert terminal.end() == 0
    assert '\x1b[31m{"level":"error","msg":"last"}\x1b[0m' in terminal.raw
    assert "\x1b[31;1m!\x1b[0m \x1b[33m<4>problem 199\x1b[0m" in terminal.raw
    assert " | out 199 end" in terminal.raw
