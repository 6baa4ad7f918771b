"""What a scrape of the metrics agent takes with N units that run, as a Prometheus asks for it.

The time is that from the connection to the last byte; CPU is counted apart for the agent and for
the manager, who reads the figures of all groups for it.
"""
from __future__ import annotations

import http.client
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.bench import harness
from tests.bench.harness import Bench
from tests.bench.ours import UNBOXED, Unboxed, call
from tests.bench.session import Session

SCRAPES = 20
_PORT = 19464
_LIMIT_S = 30.0
_ASKED = {
    "Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
    "Accept-Encoding": "gzip",
}


def measure(bench: Bench, n: int) -> dict[str, Any]:
    """Medians of SCRAPES, after two that warm up; milliseconds, and bytes of one answer."""
    session = Session(bench, Unboxed(), n)
    runtime = session.root / "rt"
    words: list[str | Path] = [
        UNBOXED, "--runtime-dir", runtime, "agent", "metrics", "--listen", f"127.0.0.1:{_PORT}",
    ]  # fmt: skip
    try:
        if session.started != n:
            raise RuntimeError(f"{session.started} of {n} units started")
        manager = int(call(runtime / "status", "Status", units=["s0"])[1]["supervisor"]["pid"])
        with subprocess.Popen(words) as agent:
            try:
                _first(agent)
                return _scrapes(agent.pid, manager)
            finally:
                agent.terminate()
    finally:
        session.close()


def _scrapes(agent: int, manager: int) -> dict[str, Any]:
    for _ in range(2):
        _scrape(_ASKED)
    before = _cpu_ms(agent), _cpu_ms(manager)
    packed = [_scrape(_ASKED) for _ in range(SCRAPES)]
    after = _cpu_ms(agent), _cpu_ms(manager)
    plain = _scrape({})
    return {
        "ms": statistics.median(ms for ms, _ in packed), "most_ms": max(ms for ms, _ in packed),
        "agent_ms": (after[0] - before[0]) / SCRAPES,
        "manager_ms": (after[1] - before[1]) / SCRAPES,
        "packed_bytes": packed[-1][1], "bytes": plain[1], "agent_pss_kb": harness.pss_kb([agent]),
    }  # fmt: skip


def _scrape(headers: dict[str, str]) -> tuple[float, int]:
    """Milliseconds, and the bytes that came."""
    begin = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", _PORT, timeout=_LIMIT_S)
    try:
        connection.request("GET", "/metrics", headers=headers)
        answer = connection.getresponse()
        size = len(answer.read())
        if answer.status != 200:
            raise RuntimeError(f"the scrape was answered {answer.status}")
    finally:
        connection.close()
    return (time.monotonic() - begin) * 1e3, size


def _first(agent: subprocess.Popen[bytes]) -> None:
    """Wait until it answers."""
    end = time.monotonic() + _LIMIT_S
    while True:
        try:
            _scrape({})
        except ConnectionRefusedError:
            if agent.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


def _cpu_ms(pid: int) -> float:
    """Of all its threads."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6
