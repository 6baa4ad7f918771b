"""How long a line waits to be stored while other units flood: none, one, or four of them.

The line carries the time when it was written, its entry in the index the time when it was taken.
"""
from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path
from typing import Any

from supervisor.logger.form import ENTRY, INDEX, LOG
from tests.bench import harness
from tests.bench.harness import DONE, Bench, Tree
from tests.bench.ours import Units

FLOODS = (0, 1, 4)
_LINES = 300
_LIMIT_S = 60.0
_FLOOD = "1000000000000"  # bytes: more than there is time for

_UNIT = """\
command = [{command}]
[logs]
keep = "64MiB"
compress = false
"""


def measure(bench: Bench, floods: int, chunk: int) -> dict[str, Any]:
    """Milliseconds from a line's write to its entry, of lines every 10 ms."""
    root = harness.scratch()
    log = root / "log"
    bench.fifo.drain()
    texts = {
        f"flood{i}": _text(bench, "flood", "/dev/null", _FLOOD, str(chunk)) for i in range(floods)
    }
    texts["tick"] = _text(bench, "tick", str(bench.fifo.path), str(_LINES))
    peer = Units(texts)
    peer.configure(root, 0, [], log)
    tree = Tree(bench, peer.argv(root), peer.environ(root))
    try:
        end = time.monotonic() + _LIMIT_S
        while time.monotonic() < end:
            record = bench.fifo.read(0.1)
            if record and record.kind == DONE:
                break
        else:
            raise RuntimeError(f"the lines were not written within {_LIMIT_S:.0f} s")
        time.sleep(1)
        delays_ms = _delays_ms(log / "tick")
    finally:
        tree.destroy()
        peer.cleanup(root)
        shutil.rmtree(root, ignore_errors=True)
    return {
        "mode": f"{floods} units that write {chunk} bytes at a time",
        "ms": statistics.median(delays_ms), "p99_ms": statistics.quantiles(delays_ms, n=100)[98],
        "most_ms": max(delays_ms),
    }  # fmt: skip


def _text(bench: Bench, probe: str, *arguments: str) -> str:
    words = (str(bench.bindir / probe), *arguments)
    return _UNIT.format(command=", ".join(f'"{word}"' for word in words))


def _delays_ms(stream: Path) -> list[float]:
    found = []
    for path in sorted(stream.glob(f"*{LOG}")):
        start = int(path.stem, 16)
        data = path.read_bytes()
        for taken_ns, offset, length, _, _ in ENTRY.iter_unpack(
            path.with_suffix(INDEX).read_bytes()
        ):
            lines = data[offset - start : offset - start + length].split()
            found += [(taken_ns - int(line)) / 1e6 for line in lines]
    return found
