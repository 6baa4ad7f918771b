"""Throughput of capture: one service writes 100-byte lines as fast as they are taken.

Everything goes to tmpfs, so the figures are the tools' and not the disk's. Rotation is on (16 MiB
segments, all kept) wherever the tool has it, so that lines can be counted afterwards.
"""
from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

from tests.bench import harness, peers
from tests.bench.harness import DONE, START, Bench, Tree
from tests.bench.loggers import STATE_FILES, Journald, Pipeline, pipelines
from tests.bench.ours import Unboxed
from tests.bench.peers import Command, Peer

MEGABYTE = 10**6
CHUNKS = (65536, 100)  # bytes a write(2): as a program writes to a pipe, and a line at a time
_LINE = 100
_QUIET_NS = 1_500_000_000  # stored is what is there when nothing grew for so long
_LIMIT_S = 60.0
# Megabytes for each size of write: enough for a second or so.
_AMOUNTS: dict[type[Peer], tuple[int, int]] = {
    Unboxed: (1000, 200), Journald: (20, 10), peers.Dinit: (500, 100),
    peers.Supervisord: (200, 50), peers.Circus: (100, 50), peers.Pm2: (100, 30),
}  # fmt: skip


def all_rows(bench: Bench) -> list[tuple[Peer, tuple[int, int]]]:
    """Each row with its megabytes for the two sizes of write."""
    return [*pipelines(bench.bindir), *((kind(), amounts) for kind, amounts in _AMOUNTS.items())]


def measure(bench: Bench, peer: Peer, megabytes: int, chunk: int) -> dict[str, Any]:
    """MB/s from the first byte written to the last one stored; CPU seconds per GB, the writer's own
    aside; lines that are not there."""
    root = harness.scratch()
    log = root / "captured"
    log.mkdir()
    log.chmod(0o777)  # multilog and the like may run as somebody else
    amount = str(megabytes * MEGABYTE)
    flood: Command = [bench.bindir / "flood", bench.fifo.path, amount, str(chunk)]
    bench.fifo.drain()
    peer.configure(root, 1, flood, log)
    systemd = isinstance(peer, peers.Systemd)
    tree = Tree(bench, peer.argv(root), peer.environ(root), systemd_cgroup=systemd)
    try:
        sample = _watch(bench, tree, log, peer)
        stored = peer.lines(tree) if isinstance(peer, Journald) else _lines(log)
    finally:
        tree.destroy()
        peer.cleanup(root)
        shutil.rmtree(root, ignore_errors=True)
    seconds = sample["seconds"]
    return {
        "mb": megabytes, "chunk": chunk, "mb_per_s": megabytes / seconds,
        "lost": megabytes * MEGABYTE // _LINE - stored,
        "cpu_s_per_gb": sample["cpu_s"] / megabytes * 1000,
    }  # fmt: skip


def _watch(bench: Bench, tree: Tree, log: Path, peer: Peer) -> dict[str, float]:
    start = done = grew = 0
    own_s = cpu_s = cpu_at_start_s = 0.0
    last = -1.0
    end = time.monotonic() + _LIMIT_S
    while time.monotonic() < end:
        record = bench.fifo.read(0.002)
        if record and record.kind == START:
            start, cpu_at_start_s = record.ns, tree.cpu_s()
        elif record and record.kind == DONE:
            done, own_s = record.ns, record.value / 1e6
        now = time.monotonic_ns()
        size = round(tree.cpu_s(), 2) if isinstance(peer, Journald) else _size(log)
        if size != last:
            last, grew, cpu_s = size, now, tree.cpu_s()
        if isinstance(peer, Pipeline) and tree.proc.poll() is not None:
            grew, cpu_s = now, tree.cpu_s()
            break
        if done and now - grew > _QUIET_NS:
            break
    while record := bench.fifo.read(0):
        if record.kind == DONE:
            done, own_s = record.ns, record.value / 1e6
    if not (start and done):
        raise RuntimeError(f"the writer did not end within {_LIMIT_S:.0f} s")
    return {"seconds": (max(grew, done) - start) / 1e9, "cpu_s": cpu_s - cpu_at_start_s - own_s}


def _files(log: Path) -> list[Path]:
    """All but our index files, those of one stream in the order in which they were written."""
    return [
        Path(folder) / name
        for folder, _, names in os.walk(log)
        for name in sorted(names)
        if not name.endswith(".idx") and name not in STATE_FILES
    ]


def _size(log: Path) -> int:
    total = 0
    for path in _files(log):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # being rotated just now
            continue
    return total


def _lines(log: Path) -> int:
    """Full lines of the writer's, stamped or not; one that two segments share counts too."""
    line, rest, found = b"x" * (_LINE - 1), b"", 0
    for path in _files(log):
        data = rest + path.read_bytes()
        found += data.count(line + b"\n") + data.count(line + b"\\n")  # the second in JSON
        rest = data[data.rfind(b"\n") + 1 :]
    return found
