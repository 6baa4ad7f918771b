"""What supervisors are measured at: start, memory, status, stop, restart, idle, takeover.

Each function is one sample: a peer with N services, alone on the machine. A sample is a flat
dictionary of figures (None: the peer could not), times in the unit that its name ends in.
"""
from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.bench import harness
from tests.bench.harness import Bench
from tests.bench.ours import call
from tests.bench.peers import Peer
from tests.bench.session import Session

Sample = dict[str, Any]

_SETTLE_S = 1.5  # between start and the memory figure
_MOST_ROLES = 40  # processes of a layer that are weighed one by one
_STOP_LIMIT_S = 60.0
_STATUS_CALLS = 3
_KILLS = 40
_FIXED_DELAY_MS = 500.0
_IDLE_SETTLE_S = 20.0


def lifecycle(bench: Bench, peer: Peer, n: int) -> Sample:
    """Start N, let them settle, weigh the layer, ask for the status of all, stop all."""
    session = Session(bench, peer, n)
    sample: Sample = {
        "started": session.started, "first_s": session.first_s, "wall_s": session.wall_s,
        "cpu_s": session.cpu_s, "foreign_s": session.foreign_s,
    }  # fmt: skip
    try:
        time.sleep(_SETTLE_S)
        layer, services = session.tree.split(bench.service)
        sample |= {
            "cpu_settled_s": session.tree.cpu_s(), "pss_kb": harness.pss_kb(layer),
            "layer": len(layer), "services": len(services),
            "kernel_kb": harness.kernel_kb() - session.kernel_kb,
        }  # fmt: skip
        if len(layer) <= _MOST_ROLES:
            roles: dict[str, int] = {}
            for pid in layer:
                role = peer.role(_arguments(pid))
                roles[role] = roles.get(role, 0) + harness.pss_kb([pid])
            sample["pss_by_role_kb"] = roles
        if n:
            sample |= _status(session)
        cpu_s = session.tree.cpu_s()
        sample["stop_s"] = session.stop(_STOP_LIMIT_S)
        sample["stop_cpu_s"] = session.tree.cpu_s() - cpu_s
        sample["left_after_stop"] = 0 if sample["stop_s"] is not None else session.tree.tasks()
    finally:
        session.close()
    return sample


def _arguments(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")


def _status(session: Session) -> Sample:
    """The status of all as a whole process, its start and end included."""
    command = session.peer.status(session.root, session.tree)
    if command is None:
        return {}
    times = []
    env = session.peer.environ(session.root)
    lines = code = 0
    for _ in range(_STATUS_CALLS):
        start = time.monotonic()
        argv = ["/bin/sh", "-c", command] if isinstance(command, str) else [str(w) for w in command]
        done = subprocess.run(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=120, check=False,
        )  # fmt: skip
        times.append(time.monotonic() - start)
        lines, code = done.stdout.count(b"\n"), done.returncode
    return {"status_s": times, "status_lines": lines, "status_code": code}


def restart(bench: Bench, peer: Peer, n: int) -> Sample:
    """SIGKILL to services that have been up over 2 s, then a crash loop of one.

    From the signal to the first record of the replacement, in ms.
    """
    session = Session(bench, peer, n)
    try:
        time.sleep(2.5)
        pids = harness.host_pids(session.tree.split(bench.service)[1])
        victims = random.sample(sorted(session.live), min(_KILLS, n - 1))
        cpu_s, end = session.tree.cpu_s(), time.monotonic() + 60
        times: list[float | None] = []
        for victim in victims:
            if time.monotonic() > end:
                break
            times.append(_kill(session, pids[victim])[0])
            if len(times) == 8 and min(t or 1e4 for t in times) > _FIXED_DELAY_MS:
                break  # a fixed delay: more samples of it say nothing new
            time.sleep(0.02)
        cpu_ms = (session.tree.cpu_s() - cpu_s) / len(times) * 1e3
        time.sleep(1.2)
        victim = min(session.live.difference(victims))
        loop = _crash_loop(session, victim)
    finally:
        session.close()
    return {"started": session.started, "ms": times, "loop_ms": loop, "cpu_per_kill_ms": cpu_ms}


def _kill(session: Session, pid: int) -> tuple[float | None, int]:
    """Milliseconds until the replacement's first record, and its pid (in its own namespace)."""
    session.bench.fifo.drain()
    start = time.monotonic_ns()
    os.kill(pid, signal.SIGKILL)
    record = session.bench.fifo.read(15)
    return ((record.ns - start) / 1e6, record.pid) if record else (None, 0)


def _crash_loop(session: Session, victim: int) -> list[float | None]:
    times: list[float | None] = []
    for _ in range(3):
        pids = harness.host_pids(session.tree.split(session.bench.service)[1])
        took, victim = _kill(session, pids[victim])
        times.append(took)
        if not victim:
            break
        time.sleep(0.03)
    return times


def takeover(bench: Bench, peer: Peer, n: int) -> Sample:
    """kill -9 of the manager: milliseconds until the status socket answers again, and whether every
    service kept its pid. Only of a peer that has a manager and speaks our control interface."""
    session = Session(bench, peer, n)
    times: list[float] = []
    try:
        time.sleep(_SETTLE_S)
        before = sorted(session.tree.split(bench.service)[1])
        path = str(session.root / "rt" / "status")
        _ask_status(path)
        for _ in range(5):
            manager = next(
                pid for pid in session.tree.split(bench.service)[0]
                if peer.role(_arguments(pid)) == "manager"
            )  # fmt: skip
            start = time.monotonic()
            os.kill(manager, signal.SIGKILL)
            answered = _ask_status(path)
            times.append((time.monotonic() - start) * 1e3)
            if answered != n:
                raise RuntimeError(f"status after takeover names {answered} of {n} instances")
            time.sleep(11)  # longer than what the keeper counts as a crash loop
        after = sorted(session.tree.split(bench.service)[1])
    finally:
        session.close()
    return {"ms": times, "pids_changed": len(set(before) ^ set(after)), "started": session.started}


def _ask_status(path: str, limit_s: float = 10.0) -> int:
    """How many instances the supervisor at `path` names; asks until it is answered."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        try:
            return len(call(path, "Status", limit_s=end - time.monotonic())[1]["instances"])
        except OSError:
            time.sleep(0.001)
    raise RuntimeError(f"no answer from {path} within {limit_s} s")


def idle(
    bench: Bench, peers: Sequence[Peer], n: int, reps: int, seconds: float
) -> Iterator[tuple[int, Peer, Sample]]:
    """All peers idle with N services each, at once, so that the windows are the same for everyone:
    context switches of the layer and CPU seconds of the tree, per window."""
    sessions: list[tuple[Session, list[int]]] = []
    try:
        for peer in peers:
            session = Session(bench, peer, n)
            if session.started == n:
                sessions.append((session, session.tree.split(bench.service)[0]))
            else:
                print("idle: left out", peer.name, session.started, file=sys.stderr)
                session.close()
        time.sleep(_IDLE_SETTLE_S)
        for rep in range(reps):
            before = [(harness.switches(layer), s.tree.cpu_s()) for s, layer in sessions]
            time.sleep(seconds)
            for (session, layer), (switched, cpu_s) in zip(sessions, before, strict=True):
                voluntary, involuntary = harness.switches(layer)
                yield rep, session.peer, {
                    "voluntary": voluntary - switched[0], "involuntary": involuntary - switched[1],
                    "cpu_s": session.tree.cpu_s() - cpu_s, "seconds": seconds, "layer": len(layer),
                }  # fmt: skip
    finally:
        for session, _ in sessions:
            session.close()
