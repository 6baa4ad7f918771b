"""`unboxed ports` and `unboxed audit` of a supervisor that runs."""
from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.scenario.sandbox.kit import written
from tests.stack import ROOT, Stack

SLEEP = 'command = ["/bin/sleep", "1000"]\n'
CODE = (
    "import socket, time; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen();"
    " print('on', s.getsockname()[1], flush=True); time.sleep(1000)"
)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def told(stack: Stack, *words: str) -> dict[str, Any]:
    out = subprocess.run(
        [sys.executable, "-m", "supervisor.cli", "--runtime-dir", str(stack.runtime), *words],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True,
    ).stdout  # fmt: skip
    return dict(json.loads(out))


def test_listeners_are_their_units_whoever_opened_them(tmp_path: Path) -> None:
    given, code = free_port(), json.dumps(CODE)
    units = {
        "given": f'{SLEEP}[[listen]]\nname = "http"\naddress = "tcp:127.0.0.1:{given}"\n',
        "opens": f'command = ["{sys.executable}", "-I", "-S", "-c", {code}]\n',
    }
    with Stack(tmp_path, units) as stack, socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        own.listen()
        stack.wait("given", "running")
        opened = int(written(stack, "opens", "\n").split()[1])
        found = told(stack, "ports", "--json")
        owners = {row["port"]: (row["unit"], row["pid"]) for row in found["listening"]}
        assert owners[given] == ("given", stack.row("given")["pid"])
        assert owners[opened] == ("opens", stack.row("opens")["pid"])
        assert owners[own.getsockname()[1]] == (None, os.getpid())
        with socket.create_connection(("127.0.0.1", given), 5):
            rows = told(stack, "ports", "--json", "opens")["listening"]
        assert [row["port"] for row in rows] == [opened]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_network_of_its_own_is_looked_into(tmp_path: Path) -> None:
    code = json.dumps(CODE)
    text = f'command = ["/usr/bin/python3", "-I", "-S", "-c", {code}]\n[network]\nmode = "none"\n'
    with Stack(tmp_path, {"web": text}) as stack:
        stack.wait("web", "running")
        port = int(written(stack, "web", "\n").split()[1])
        found = told(stack, "ports", "--json", "web")
        assert [(row["port"], row["unit"]) for row in found["listening"]] == [(port, "web")]
        assert found["rules"][0]["network"] == "none"


def test_the_exposure_of_units_is_that_of_their_definitions(tmp_path: Path) -> None:
    units = {"plain": "autostart = false\n" + SLEEP,
             "app": "autostart = false\n" + SLEEP + '[sandbox]\nlevel = "app"\n'}
    with Stack(tmp_path, units) as stack:
        found = {one["unit"]: one for one in told(stack, "audit", "--json")["audits"]}
        assert found["app"]["exposure"] < found["plain"]["exposure"] < 10
        cheapest = found["plain"]["cheapest"]
        assert (cheapest["key"], cheapest["value"]) == ("sandbox.level", '"app"')
        assert cheapest["exposure"] == found["app"]["exposure"]
        (one,) = told(stack, "audit", "--json", "app")["audits"]
        assert {check["name"] for check in one["checks"]} >= {"PrivateTmp=", "ProtectSystem="}
