"""Agents of units/agents as they are shipped, with real programs under the real sandbox."""
from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.scenario.agents.metrics_kit import fetch, free_port, program, until
from tests.scenario.sandbox import real
from tests.stack import ROOT, Stack

AGENTS = ROOT / "units" / "agents"
PYTHON = os.path.realpath(sys.executable)
# Answers its pid; it takes no connection that it does not answer.
SITE = """
import os, signal, socket, time
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
sock = socket.socket(fileno=3)
sock.settimeout(0.02)
while not stop:
    try:
        peer, _ = sock.accept()
    except TimeoutError:
        continue
    peer.settimeout(5)
    while b"\\r\\n\\r\\n" not in peer.recv(65536):
        pass
    body = str(os.getpid()).encode()
    peer.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body))
    peer.close()
time.sleep(0.3)  # so long nobody accepts
"""
pytestmark = real.needs_root
place = pytest.fixture(real.place)


def site(port: int) -> str:
    command = json.dumps([PYTHON, "-I", "-S", "-c", SITE])
    return f'command = {command}\n[[listen]]\naddress = "tcp:127.0.0.1:{port}"\n'


def library(place: Path) -> Path:
    """What the agent imports, where every user gets to it."""
    made = place / "lib"
    for name in ("supervisor", "prometheus_client", "msgspec"):
        found = importlib.util.find_spec(name)
        assert found is not None
        assert found.origin is not None
        skipped = shutil.ignore_patterns("__pycache__", "keeper")
        shutil.copytree(Path(found.origin).parent, made / name, ignore=skipped)
    subprocess.run(["chmod", "-R", "go+rX", str(place)], check=True)
    return made


def names(url: str) -> dict[str, dict[str, Any]]:
    """Name of each metric -> the samples' values by unit."""
    return {
        sample.name: {s.labels.get("unit", ""): s.value for s in family.samples}
        for family in text_string_to_metric_families(fetch(url)) for sample in family.samples
    }


def test_the_metrics_agent_in_its_sandbox_tells_of_all_units(tmp_path: Path, place: Path) -> None:
    port, other = free_port(), free_port()
    own = f"{real.PREFIX}metrics"
    command = json.dumps([PYTHON, "-m", "supervisor.cli", "agent", "metrics", "--sd-file",
                          "targets.json"])
    text = (AGENTS / "metrics.toml").read_text()
    text = text.replace('"unboxed agent metrics --sd-file targets.json"', command)
    text = text.replace(":9464", f":{port}").replace("unboxed-metrics", own)
    text += f'\n[env]\nPYTHONPATH = "{library(place)}"\n'
    web = site(other).replace("address", 'name = "metrics"\naddress')
    with Stack(tmp_path, {"metrics": text, "web": web}) as stack:
        pid = stack.wait("metrics", "running")["pid"]
        stack.wait("web", "running")
        real.confined(pid)
        told = names(f"http://127.0.0.1:{port}/metrics")
        assert told["unboxed_up"] == {"": 1}
        assert told["unboxed_unit_starts_total"] == {"metrics": 1, "web": 1}
        assert told["unboxed_unit_memory_bytes"]["web"] > 4096
        found = Path("/run") / own / "targets.json"
        until(lambda: found.exists() and json.loads(found.read_text()), "list of targets")
        listed = json.loads(found.read_text())
        assert [group["targets"] for group in listed] == [[f"127.0.0.1:{other}"]]
        assert json.loads(fetch(f"http://127.0.0.1:{port}/targets")) == listed


def test_node_exporter_is_there_before_all_units_and_tells_of_the_host(tmp_path: Path) -> None:
    program("prometheus-node-exporter")
    port = free_port()
    text = (AGENTS / "examples" / "node-exporter.toml").read_text().replace(":9100", f":{port}")
    with Stack(tmp_path, {"a": 'command = ["/bin/sleep", "99"]\n', "node": text}) as stack:
        stack.wait("a", "running")
        pid = stack.wait("node", "running")["pid"]
        real.confined(pid)
        told = names(f"http://127.0.0.1:{port}/metrics")
        assert told["node_memory_MemTotal_bytes"][""] > 1 << 20
        assert "node_cpu_seconds_total" in told
        assert told["node_load1"][""] >= 0
        first = {key: stack.call("Describe", unit=key)["history"][0] for key in ("a", "node")}
        assert first["node"]["id"] < first["a"]["id"]


def test_a_proxy_refuses_nobody_while_what_is_behind_it_restarts(
    tmp_path: Path, place: Path
) -> None:
    program("nginx")
    front, back = free_port(), free_port()
    name = f"{real.PREFIX}proxy"
    config = place / "proxy.conf"
    text = (AGENTS / "examples" / "proxy.conf").read_text()
    text = text.replace("/var/cache/proxy", f"/var/cache/{name}")
    config.write_text(text.replace(":8080", f":{front}").replace(":8001", f":{back}"))
    config.chmod(0o644)
    unit = (AGENTS / "examples" / "proxy.toml").read_text()
    unit = unit.replace("/etc/unboxed/proxy.conf", str(config)).replace(":8080", f":{front}")
    url = f"http://127.0.0.1:{front}/"
    answered: list[str] = []
    failed: list[OSError] = []
    over = threading.Event()

    def visit() -> None:
        while not over.is_set():
            try:
                answered.append(fetch(url))
            except OSError as error:
                failed.append(error)

    def seen(pid: str, after: int) -> bool:
        return pid in answered[after:]

    with Stack(tmp_path, {"web": site(back), name: unit}) as stack:
        stack.wait("web", "running")
        stack.wait(name, "running")
        first = {key: stack.call("Describe", unit=key)["history"][0]["id"] for key in ("web", name)}
        assert first[name] < first["web"]
        visitor = threading.Thread(target=visit)
        visitor.start()
        try:
            for _ in range(3):
                count = len(answered)
                stack.call("Restart", units=["web"], wait=True)
                pid = str(stack.row("web")["pid"])
                until(partial(seen, pid, count), "answer of the next")
        finally:
            over.set()
            visitor.join()
        assert failed == []
        assert len(set(answered)) == 4
        proxy = stack.row(name)["pid"]
        real.confined(proxy)
        with urllib.request.urlopen(url, timeout=5) as answer:
            assert answer.headers["Server"].startswith("nginx")
