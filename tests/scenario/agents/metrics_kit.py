"""The metrics agent as a process of its own beside a supervisor, and a real Prometheus."""
from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.stack import ROOT, Stack

PATIENCE_S = 20.0


def program(name: str) -> str:
    """Where it is installed; without it the test is skipped."""
    found = shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/bin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def until(test: Callable[[], Any], what: str) -> Any:
    """What `test` finds, as soon as that is something. OSError: not yet."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            found = test()
        except OSError:
            found = None
        if found:
            return found
        assert time.monotonic() < end, f"no {what} within {PATIENCE_S:.0f} s"
        time.sleep(0.02)


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:  # noqa: S310 - http:, as made
        text: str = answer.read().decode()
        return text


@contextmanager
def running(words: list[str], home: Path, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process until the end of the block; what it says is shown if the block fails."""
    said = home / f"{name}.said"
    with said.open("ab") as file:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=ROOT)
    try:
        yield process
    except BaseException:
        print(f"{name}:\n{said.read_text()}")
        raise
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def agent(stack: Stack, *options: str) -> Iterator[str]:
    """The metrics agent; where it answers."""
    port = free_port()
    words = [
        sys.executable, "-m", "supervisor.cli", "--runtime-dir", str(stack.runtime), "agent",
        "metrics", "--listen", f"127.0.0.1:{port}", *options,
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with running(words, stack.home, "metrics"):
        until(lambda: fetch(url), "answer of the agent")
        yield url


class Prometheus:
    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, text: str) -> list[dict[str, Any]]:
        """The samples that it finds, as {"metric": labels, "value": number}."""
        told = fetch(f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': text})}")
        rows = json.loads(told)["data"]["result"]
        return [{"metric": row["metric"], "value": float(row["value"][1])} for row in rows]

    def targets(self, job: str = "units") -> dict[str, str]:
        """Health ("up", "down", "unknown") of each target of a job by its address."""
        told = json.loads(fetch(f"{self.url}/api/v1/targets?state=active"))["data"]
        return {one["discoveredLabels"]["__address__"]: one["health"]
                for one in told["activeTargets"] if one["discoveredLabels"]["job"] == job}


CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: unboxed
    static_configs: [{{targets: ["{agent}"]}}]
  - job_name: units
    file_sd_configs: [{{files: ["{sd}"]}}]
  - job_name: again
    http_sd_configs: [{{url: "{url}/targets"}}]
"""


@contextmanager
def prometheus(home: Path, agent_url: str, sd: Path) -> Iterator[Prometheus]:
    binary = program("prometheus")
    config = home / "prometheus.yml"
    config.write_text(CONFIG.format(agent=agent_url.removeprefix("http://"), sd=sd, url=agent_url))
    port = free_port()
    words = [
        binary, f"--config.file={config}", f"--storage.tsdb.path={home / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
    ]  # fmt: skip
    with running(words, home, "prometheus"):
        made = Prometheus(f"http://127.0.0.1:{port}")
        until(lambda: fetch(f"{made.url}/-/ready"), "answer of prometheus")
        yield made
