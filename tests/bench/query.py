"""How long `unboxed logs` takes to find something in 10 GB: to its first byte, and in all.

The stores are written here, as a logger would have left them after a day: one stream of 640
segments of 16 MiB, the same compressed, and a thousand streams of 10 MiB. Bytes that no question is
about are holes in sparse files; indexes are whole. No supervisor runs, and nothing is left behind.
"""
from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from supervisor.logger.form import ENTRY, INDEX, LOG, OUTPUT, PACKED, segment_name
from supervisor.logger.packed import pack

MIB = 1 << 20
ARRIVAL = 64 << 10  # bytes that came at once
TAIL = 4 * MIB  # of each segment that is no hole
DAY_S = 86_400
STAGGER_NS = 7_000_000  # between the last lines of two streams
_LINE = b'{"level":"info","msg":"request done","path":"/api/orders/%010d","ms":12,"status":200}\n'
_RARE = b'{"level":"error","msg":"payment refused","path":"/api/orders/%010d","ms":5012}\n'
_EVERY = 500  # lines between rare ones
# Store -> (streams, segments of each, MiB of a segment, whether they are compressed).
STORES = {
    "one stream": (1, 640, 16, False),
    "one stream, compressed": (1, 640, 16, True),
    "1,000 streams": (1000, 1, 10, False),
}
# What is asked -> the words.
QUESTIONS = {
    "--since 5m": ("--since", "5m"),
    "--since 1h": ("--since", "1h"),
    "-n 10": ("-n", "10"),
    "--since 5m --grep": ("--since", "5m", "--grep", "payment refused"),
    "-n 1 --grep": ("-n", "1", "--grep", "payment refused"),
    "--since 5m -p err": ("--since", "5m", "-p", "err"),
    "--since 5m --json": ("--since", "5m", "--json"),
}


@contextlib.contextmanager
def store(name: str) -> Iterator[Path]:
    """A log directory of that kind, whose last line came just now."""
    streams, segments, mib, packed = STORES[name]
    root = Path(tempfile.mkdtemp(prefix="bench-query-"))
    try:
        maker = _Maker(root, mib * MIB, packed=packed)
        for number in range(streams):
            maker.stream(f"unit-{number}", number * STAGGER_NS, segments)
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def measure(logdir: Path, question: str) -> dict[str, Any]:
    """Milliseconds from the exec to the first byte, and to the end; lines that came."""
    argv = [*command(), "logs", "--log-dir", str(logdir), *QUESTIONS[question]]
    begun = time.monotonic_ns()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, bufsize=0) as asked:
        assert asked.stdout is not None
        size = len(asked.stdout.read(1) or b"")
        first = time.monotonic_ns()
        lines = 0
        if question != "--since 1h":  # that would be gigabytes
            while block := asked.stdout.read(1 << 20):
                lines += block.count(b"\n")
                size += len(block)
            if asked.wait() != 0:
                raise RuntimeError(f"it ended with status {asked.returncode}")
            ended = time.monotonic_ns()
        else:
            asked.kill()
            ended = first
    if not size:
        raise RuntimeError("it found nothing")
    return {"first_ms": (first - begun) / 1e6, "all_ms": (ended - begun) / 1e6, "lines": lines}


def command() -> list[str]:
    """The installed command if there is one beside this Python, else this source tree."""
    installed = Path(sys.executable).parent / "unboxed"
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "supervisor.cli"]


class _Maker:
    def __init__(self, root: Path, size: int, *, packed: bool) -> None:
        self._root = root
        self._size = size
        self._now_ns = time.time_ns()
        self._tail = _lines(min(TAIL, size))
        self._packed = b""
        if packed:
            with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
                source.write((b"x" * 255 + b"\n") * ((size - len(self._tail)) // 256) + self._tail)
                source.flush()
                pack(source.fileno(), target.fileno())
                target.seek(0)
                self._packed = target.read()

    def stream(self, key: str, age_ns: int, segments: int) -> None:
        """One whose last line is that old."""
        home = self._root / key
        home.mkdir()
        arrivals = self._size // ARRIVAL
        step_ns = DAY_S * 10**9 // (segments * arrivals)
        at_ns = self._now_ns - segments * arrivals * step_ns - age_ns
        for number in range(segments):
            start = number * self._size
            index = bytearray(ENTRY.size * arrivals)
            for arrival in range(arrivals):
                at_ns += step_ns
                ENTRY.pack_into(index, ENTRY.size * arrival, at_ns, start + arrival * ARRIVAL,
                                ARRIVAL, OUTPUT, 0)
            packed = self._packed and number < segments - 1
            self._write(home / segment_name(start, PACKED if packed else LOG), at_ns)
            path = home / segment_name(start, INDEX)
            path.write_bytes(index)
            os.utime(path, ns=(at_ns, at_ns))

    def _write(self, path: Path, at_ns: int) -> None:
        with path.open("wb") as file:
            if path.name.endswith(PACKED):
                file.write(self._packed)
            else:
                file.truncate(self._size)
                file.seek(self._size - len(self._tail))
                file.write(self._tail)
        os.utime(path, ns=(at_ns, at_ns))


def _lines(size: int) -> bytes:
    parts = [b"\n"]  # ends the hole before it
    length, number = 1, 0
    while length < size:
        number += 1
        line = (_LINE if number % _EVERY else _RARE) % number
        parts.append(line)
        length += len(line)
    return b"".join(parts)[:size - 1] + b"\n"
