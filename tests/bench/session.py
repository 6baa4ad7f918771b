"""One peer with N services, from its exec to the last trace of it; the start is measured."""
from __future__ import annotations

import shutil
import time
from pathlib import Path

from tests.bench import harness
from tests.bench.harness import EXEC, Bench, Tree
from tests.bench.peers import Peer

_TAKE_EVERY_S = 0.005


class Session:
    """Times are counted from the peer's exec, as the probe that becomes it stamps it.

    `first_s`, `wall_s`: until the first and the last service ran its first instruction (None: not
    all came). `cpu_s`: of the whole tree until then. `live`: pids that the services reported.
    """

    def __init__(
        self, bench: Bench, peer: Peer, n: int, where: str | Path = "/dev/shm"
    ) -> None:
        """`where`: a directory for that of the peer, with its configuration."""
        self.bench, self.peer, self.n = bench, peer, n
        self.root = harness.scratch(where)
        self.live: set[int] = set()
        peer.configure(self.root, n, [bench.service, bench.fifo.path])
        bench.fifo.drain()
        self.kernel_kb = harness.kernel_kb()
        busy_s = harness.busy_s()
        self.tree = Tree(
            bench, peer.argv(self.root), peer.environ(self.root),
            systemd_cgroup=peer.name == "systemd",
        )  # fmt: skip
        self.exec_ns, starts = self._collect()
        self.cpu_s = self.tree.cpu_s()
        self.foreign_s = harness.busy_s() - busy_s - self.cpu_s
        self.started = len(starts)
        self.first_s = self.wall_s = None
        if n and self.started == n:
            self.first_s = (min(starts) - self.exec_ns) / 1e9
            self.wall_s = (max(starts) - self.exec_ns) / 1e9

    def _collect(self) -> tuple[int, list[int]]:
        """Monotonic times of the exec (0: never) and of all starts that came in time.

        Records carry their own times, so they are taken seldom: a reader that woke for each of
        them would take a good part of a CPU from whoever is being measured.
        """
        begin = 0
        starts: list[int] = []
        deadline = time.monotonic() + self.peer.start_limit_s
        while len(starts) < self.n or not begin:
            records = self.bench.fifo.read_all(min(deadline - time.monotonic(), 20))
            if not records:
                break
            for record in records:
                if record.kind == EXEC:
                    begin = record.ns
                else:
                    starts.append(record.ns)
                    self.live.add(record.pid)
            time.sleep(_TAKE_EVERY_S)
        return begin, starts

    def stop(self, limit_s: float) -> float | None:
        """Ask for a clean stop; seconds until all is gone, or None after `limit_s`."""
        start = time.monotonic()
        self.peer.stop(self.root, self.tree)
        while time.monotonic() - start < limit_s:
            self.tree.proc.poll()
            if self.peer.stopped(self.tree):
                return time.monotonic() - start
            time.sleep(0.0005)
        return None

    def close(self) -> None:
        self.tree.destroy()
        self.peer.cleanup(self.root)
        shutil.rmtree(self.root, ignore_errors=True)
