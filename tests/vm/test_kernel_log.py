"""The kernel's log of a machine that says more than anybody could read: what is lost is counted."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.vm.machine import HOST, POWER_OFF, Machine, needs_machine

LINES = 20_000  # more than its buffer holds
WRITE = f"""
import os
fd = os.open("/dev/kmsg", os.O_WRONLY)
for number in range({LINES}):
    os.write(fd, b"<12>line %d\\n" % number)
"""
SCRIPT = f"""
echo on >/proc/sys/kernel/printk_devkmsg
receive() {{
    exec "$PYTHON" -m supervisor.cli agent receive kernel --cursor {HOST}/cursor
}}
receive >{HOST}/first 2>{HOST}/errors &
receiver=$!
until grep -q Linux {HOST}/first; do sleep 0.1; done
kill -STOP $receiver
"$PYTHON" -I -S {HOST}/write
kill -CONT $receiver
echo '<11>the last' >/dev/kmsg
until grep -q 'the last' {HOST}/first; do sleep 0.1; done
kill $receiver
wait $receiver
echo '<12>while nobody read' >/dev/kmsg
receive >{HOST}/second 2>>{HOST}/errors &
until grep -q 'while nobody read' {HOST}/second; do sleep 0.1; done
kill -KILL $!
{POWER_OFF}"""


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@needs_machine
@pytest.mark.slow
def test_what_the_kernel_overwrote_is_told_and_a_restart_tells_nothing_twice(
    tmp_path: Path,
) -> None:
    (tmp_path / "write").write_text(WRITE)
    with Machine(tmp_path, SCRIPT) as machine:
        machine.ended()
    assert (tmp_path / "errors").read_text() == ""
    first, second = entries(tmp_path / "first"), entries(tmp_path / "second")
    expected = first[0]["seq"]
    for one in [*first, *second]:
        if "lost" in one:
            expected += one["lost"]
        else:
            assert one["seq"] == expected
            expected += 1
    lost = sum(one.get("lost", 0) for one in first)
    kept = sum(one["message"].startswith("line ") for one in first)
    assert 0 < kept < LINES
    assert kept + lost >= LINES
    assert [one["priority"] for one in first if one["message"] == "the last"] == [3]
    assert second[0]["message"] == "while nobody read"
