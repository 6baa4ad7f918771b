"""20,000 orphans for a PID 1 to reap: each tool as the first process of a fresh pid namespace.

storm: a double-forker makes orphans that end at once; burst: all live, then end together.
`pids.current` counts unreaped zombies, so "drained" is the kernel's own word.
"""
from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from tests.bench import harness, peers
from tests.bench.harness import DONE, START, Bench, Tree
from tests.bench.ours import KEEPER, Unboxed
from tests.bench.peers import Command, Peer, words, write_script

COUNT = 20_000
MODES = ("storm", "burst")
_NAMESPACE = ["unshare", "-pfm", "--kill-child", "--mount-proc"]
_LIMIT_S = 15.0
_AT_REST = 12  # tasks of any of these when nothing is left to reap


class DinitPid1(peers.Dinit):
    def argv(self, root: Path) -> Command:
        return [self.tool, "-o", "-q", "-d", root / "dinit.d", "-p", root / "sock"]


class RunitPid1(peers.Runit):
    name, tool = "runit (PID 1)", "/sbin/runit"

    def argv(self, root: Path) -> Command:
        stages = root / "stages"
        stages.mkdir()
        write_script(stages / "1", "#!/bin/sh\n")
        write_script(stages / "2", f"#!/bin/sh\nexec runsvdir -P {root}/scan\n")
        write_script(stages / "3", "#!/bin/sh\n")
        prepare = f"mount -t tmpfs tmpfs /run; mount --bind {stages} /etc/runit"
        return ["sh", "-c", f"{prepare}; exec {self.tool}"]


class BusyboxInit(Peer):
    name, tool = "busybox init", "/bin/busybox"

    def configure(self, root: Path, n: int, command: Command, log: Path | None = None) -> None:
        (root / "inittab").write_text(f"::once:{words(command)}\n")

    def argv(self, root: Path) -> Command:
        prepare = f"mount -t tmpfs tmpfs /etc; cp {root}/inittab /etc"
        return ["sh", "-c", f"{prepare}; exec {self.tool} init"]


class Prefix(Peer):
    """A small init: a command in front of another."""

    def __init__(self, name: str, *prefix: str | Path) -> None:
        self.name, self.tool = name, str(prefix[0])
        self._prefix = prefix
        self._command: Command = ()

    def configure(self, root: Path, n: int, command: Command, log: Path | None = None) -> None:
        self._command = command

    def argv(self, root: Path) -> Command:
        return [*self._prefix, *self._command]


def all_rows(bench: Bench) -> list[Peer]:
    return [
        Prefix("(limit) C wait loop", bench.bindir / "reap"),
        Prefix("unboxed-init --", KEEPER, "--"), Prefix("tini", "tini", "--"),
        Prefix("dumb-init", "dumb-init"),
        Prefix("catatonit", "catatonit", "--"), BusyboxInit(), Unboxed(), peers.S6(), peers.Runit(),
        RunitPid1(), peers.Nitro(), DinitPid1(), peers.Systemd(), peers.Supervisord(),
        peers.Circus(), peers.Pm2(),
    ]  # fmt: skip


def measure(bench: Bench, peer: Peer, mode: str, count: int = COUNT) -> dict[str, Any]:
    """From the first orphan (burst: the release) until all are reaped, in ms."""
    root = harness.scratch()
    bench.fifo.drain()
    peer.configure(root, 1, [bench.bindir / "orphans", bench.fifo.path, str(count), mode])
    argv = peer.argv(root) if peer.namespaced else [*_NAMESPACE, *peer.argv(root)]
    tree = Tree(bench, argv, peer.environ(root), systemd_cgroup=isinstance(peer, peers.Systemd))
    try:
        start = 0
        while not start:
            record = bench.fifo.read(60)
            if record is None:
                return {"error": "it never started"}
            if record.kind == START:
                start = record.ns
        return _drain(bench, tree, start)
    finally:
        tree.destroy()
        peer.cleanup(root)
        shutil.rmtree(root, ignore_errors=True)


def _drain(bench: Bench, tree: Tree, start: int) -> dict[str, Any]:
    cpu_s, most, done = tree.cpu_s(), 0, False
    end = time.monotonic() + _LIMIT_S
    while time.monotonic() < end:
        now = tree.tasks()
        most = max(most, now)
        if not done and (record := bench.fifo.read(0)):
            done = record.kind == DONE
        if done and now <= _AT_REST:
            took_ms = (time.monotonic_ns() - start) / 1e6
            used_s = tree.cpu_s() - cpu_s
            return {"drain_ms": took_ms, "max_tasks": most, "cpu_s": used_s, "left": 0}
        time.sleep(0.001)
    used_s = tree.cpu_s() - cpu_s
    return {"drain_ms": None, "max_tasks": most, "cpu_s": used_s, "left": tree.tasks()}
