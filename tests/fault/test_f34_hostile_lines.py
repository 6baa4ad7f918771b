"""Fault 34: lines that no program expects. They are kept as they are, in little memory."""
from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.logger.read import records
from supervisor.logger.text import escape
from tests.logger_kit import ROOT, FakeKeeper, ended, segments, wait_until, writer

GIGABYTE = 10**9
MIB = 1 << 20


def one_line_of_a_gigabyte() -> Iterator[bytes]:
    block = bytes(range(32, 127)) * 690
    for _ in range(GIGABYTE // len(block)):
        yield block
    yield b"\nand a short one\n"


def rss_kib(pid: int) -> int:
    """The most memory that it ever had."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0])


@pytest.mark.timeout(300)
def test_f34_a_line_of_a_gigabyte_takes_no_memory(tmp_path: Path) -> None:
    with FakeKeeper(tmp_path / "log", f"keep={64 * MIB} segment={8 * MIB}") as keeper:
        pid = keeper.start()
        end = keeper.stream("web")
        os.write(end, b"begin\n")
        wait_until(lambda: keeper.stored("web"))
        before = rss_kib(pid)
        with writer(end, one_line_of_a_gigabyte) as unit:
            assert ended(unit, 250)
        wait_until(lambda: segments(tmp_path / "log" / "web")[-1].read_bytes().endswith(b"one\n"))
        assert rss_kib(pid) - before < 8 * 1024
        assert keeper.finish() == 0
        assert sum(p.stat().st_size for p in (tmp_path / "log" / "web").iterdir()) <= 64 * MIB

    # The reader is a process of its own, so that its memory can be told.
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from supervisor.logger.read import records\n"
        "def most(): return int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
        "before = most(); size = 0\n"
        "for _, _, _, line, _, _ in records(sys.argv[2]): size += len(line)\n"
        "print(size, most() - before, line.decode())\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(ROOT), str(tmp_path / "log")],
        check=True, capture_output=True, text=True,
    )
    size, grown, last = ran.stdout.split(maxsplit=2)
    assert int(size) > 50 * MIB
    assert int(grown) < 8 * 1024
    assert last == "and a short one\n"


HOSTILE = (
    b"nul \0 in the middle",
    b"\xff\xfe\xfa bad utf-8 \xc3",
    b"\x1b]0;title\x07\x1b[2J\x1b[31mred",
    b"over\rwritten",
    "c1 \x9b2J and bidi \u202e".encode(),
    b"",
    bytes(byte for byte in range(256) if byte != 10),
)


def test_f34_bytes_are_kept_raw_and_escaped_for_a_terminal(tmp_path: Path) -> None:
    with FakeKeeper(tmp_path / "log") as keeper:
        keeper.start()
        end = keeper.stream("web")
        whole = b"".join(line + b"\n" for line in HOSTILE)
        os.write(end, whole)
        assert keeper.finish() == 0
        assert keeper.stored("web") == whole
    assert tuple(record[3] for record in records(str(tmp_path / "log"))) == HOSTILE
    for line in HOSTILE:
        assert not {chr(code) for code in (*range(9), *range(10, 32), *range(127, 160))} & set(
            escape(line)
        )
