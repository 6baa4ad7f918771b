"""The metrics agent beside a real supervisor: what a real promtool and Prometheus say of it."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.scenario.agents.metrics_kit import agent, fetch, free_port, program, prometheus, until
from tests.stack import Stack

SLEEP = 'command = ["/bin/sleep", "1000"]\n'
# Serves its own metrics from the socket that it is passed.
SITE = """
import http.server, socket
class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"site_requests_total 7\\n")
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Site, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(fileno=3)
server.serve_forever()
"""


def site(port: int) -> str:
    command = json.dumps([sys.executable, "-I", "-S", "-c", SITE])
    return f'command = {command}\n[[listen]]\nname = "metrics"\naddress = "tcp:127.0.0.1:{port}"\n'


def samples(url: str) -> dict[tuple[str, str], Any]:
    """Value by name and unit (of the labels, the one that these tests ask for)."""
    found: dict[tuple[str, str], Any] = {}
    for family in text_string_to_metric_families(fetch(f"{url}/metrics")):
        for sample in family.samples:
            label = sample.labels.get("reason") or sample.labels.get("state") or ""
            found[f"{sample.name}{label and ':'}{label}", sample.labels.get("unit", "")] = (
                sample.value)
    return found


def test_starts_and_ends_of_units_are_counted(tmp_path: Path) -> None:
    units = {
        "web": SLEEP,
        "fails": 'kind = "task"\ncommand = ["/bin/sh", "-c", "exit 3"]\n'
                 '[restart]\nwhen = "never"\n',
        "gone": 'command = ["/no/such/program"]\n[restart]\nwhen = "never"\n',
    }  # fmt: skip
    with Stack(tmp_path, units) as stack, agent(stack) as url:
        stack.wait("web", "running")
        stack.wait("fails", "failed")
        stack.wait("gone", "failed")
        os.kill(stack.row("web")["pid"], signal.SIGKILL)
        stack.wait("web", "running", test=lambda row: row["restarts"] == 1)
        told = samples(url)
    assert told["unboxed_up", ""] == 1
    assert told["unboxed_unit_state:running", "web"] == 1
    assert told["unboxed_unit_state:failed", "fails"] == 1
    assert told["unboxed_unit_state:running", "fails"] == 0
    assert told["unboxed_unit_starts_total", "web"] == 2
    assert told["unboxed_unit_restarts_total", "web"] == 1
    assert told["unboxed_unit_exits_total:signal", "web"] == 1
    assert told["unboxed_unit_exits_total:failure", "fails"] == 1
    assert told["unboxed_unit_exits_total:launch", "gone"] == 1
    assert told["unboxed_unit_start_latency_seconds_count", "web"] == 2
    assert 0 < told["unboxed_unit_start_latency_seconds_sum", "web"] < 40
    assert told["unboxed_unit_memory_bytes", "web"] > 1000


def test_what_is_stored_and_lost_of_logs_is_counted(tmp_path: Path) -> None:
    """A rate of 1,000 bytes a second, and 101,000 at once."""
    words = ["/bin/sh", "-c", "yes 123456789 | head -n 10100; exec sleep 1000"]
    units = {
        "talks": 'command = ["/bin/sh", "-c", "echo 12345678; exec sleep 1000"]\n',
        "floods": f'command = {json.dumps(words)}\n[logs]\nrate = "1000B/s"\n',
    }
    with Stack(tmp_path, units) as stack, agent(stack) as url:

        def told() -> bool:
            found = samples(url)
            stored, lost, losses = (
                found.get((f"unboxed_unit_log_{name}_total", "floods"), 0)
                for name in ("stored_bytes", "lost_bytes", "losses")
            )
            return (
                found.get(("unboxed_unit_log_stored_bytes_total", "talks")) == 9
                and stored + lost == 101_000 and lost > 50_000 and losses >= 1
            )

        stack.until(told, "the bytes of both")


def test_promtool_has_nothing_to_say_of_it(tmp_path: Path) -> None:
    promtool = program("promtool")
    limited = f'{SLEEP}[limits]\nmemory = "64MiB"\ntasks = 10\n' if os.geteuid() == 0 else SLEEP
    with Stack(tmp_path, {"web": limited, "db": SLEEP}) as stack, agent(stack) as url:
        stack.wait("web", "running")
        text = fetch(f"{url}/metrics")
    told = subprocess.run(
        [promtool, "check", "metrics"], input=text.encode(), capture_output=True, check=False)
    assert (told.returncode, told.stdout, told.stderr) == (0, b"", b"")


def test_it_answers_while_the_manager_is_replaced_and_after_the_supervisors_end(
    tmp_path: Path,
) -> None:
    stack = Stack(tmp_path, {"web": SLEEP})
    with stack, agent(stack) as url:
        stack.wait("web", "running")
        os.kill(stack.manager, signal.SIGKILL)
        told = samples(url)
        assert told["unboxed_up", ""] == 1
        assert told["unboxed_unit_state:running", "web"] == 1
        assert told["unboxed_manager_starts_total", ""] == 2
        stack.end()
        assert samples(url) == {("unboxed_up", ""): 0}


def targets(sd: Path) -> set[str]:
    if not sd.exists():
        return set()
    return {address for group in json.loads(sd.read_text()) for address in group["targets"]}


def test_the_list_of_targets_follows_what_runs(tmp_path: Path) -> None:
    ports = free_port(), free_port()
    first, second = (f"127.0.0.1:{port}" for port in ports)
    sd = tmp_path / "sd" / "unboxed.json"
    units = {"site": site(ports[0]), "other": site(ports[1]), "web": SLEEP}
    with (
        Stack(tmp_path, units, start=["site", "web"]) as stack, agent(stack, "--sd-file", str(sd)),
    ):
        until(lambda: targets(sd) == {first}, "list of targets")
        assert sd.stat().st_mode & 0o777 == 0o644
        stack.call("Start", units=["other"])
        until(lambda: targets(sd) == {first, second}, "target more")
        os.kill(stack.row("site")["pid"], signal.SIGKILL)
        stack.wait("site", "running", test=lambda row: row["restarts"] == 1)
        assert targets(sd) == {first, second}
        before = sd.stat().st_ino
        os.kill(stack.manager, signal.SIGKILL)
        stack.until(stack.answers, "another manager")
        stack.call("Stop", units=["site"])
        until(lambda: targets(sd) == {second}, "target less")
        assert sd.stat().st_ino != before
        assert os.listdir(sd.parent) == [sd.name]


def test_a_prometheus_finds_us_and_the_listeners_of_units(tmp_path: Path) -> None:
    """It looks at the list a few seconds after that has changed, so there is one change only."""
    program("prometheus")
    ports = free_port(), free_port()
    first, second = (f"127.0.0.1:{port}" for port in ports)
    sd = tmp_path / "sd" / "unboxed.json"
    units = {"site": site(ports[0]), "other": site(ports[1]), "web": SLEEP}
    with (
        Stack(tmp_path, units, start=["site", "web"]) as stack,
        agent(stack, "--sd-file", str(sd)) as url,
    ):
        until(lambda: targets(sd) == {first}, "list of targets")
        ours = url.removeprefix("http://")
        with prometheus(tmp_path, url, sd) as server:
            until(lambda: server.targets("unboxed") == {ours: "up"}, "scrape of ours")
            until(lambda: server.targets() == {first: "up"}, "scrape of the target in the file")
            until(lambda: server.targets("again") == {first: "up"}, "the same without a file")
            until(lambda: server.query('unboxed_unit_state{state="running",unit="web"} == 1'),
                  "state of web")
            (row,) = server.query('site_requests_total{job="units",unit="site",replica="0"}')
            assert row["value"] == 7
            stack.call("Start", units=["other"])
            stack.call("Stop", units=["site"])
            until(lambda: server.targets() == {second: "up"}, "the other target")
            jobs = 'up{job=~"unboxed|units"}'
            until(lambda: {row["metric"]["instance"]: row["value"] for row in server.query(jobs)}
                  == {ours: 1, second: 1}, "up == 1 of both")
