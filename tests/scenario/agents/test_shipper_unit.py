"""The shipper as its unit file has it: at level app, as a user of its own, with a token."""
from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from tests.places import let_in
from tests.scenario.agents.shipping import Receiver, status
from tests.stack import ROOT, Stack

SHIPPED = (ROOT / "units/agents/shipper.toml").read_text()

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="level app gives it a user of its own")


def unit(settings: Path, port: int, token: Path) -> str:
    """With the program of this tree, the test's settings (as a secret: it has a /tmp of its own),
    and its port in place of Loki's."""
    words = [sys.executable, "-m", "supervisor.cli", "agent", "shipper"]
    text = SHIPPED.replace('"unboxed agent shipper"', json.dumps(words))
    secrets = f'secrets = {{loki-token = "{token}", "shipper.toml" = "{settings}"}}'
    text, found = re.subn("^# secrets = .*", secrets, text, flags=re.MULTILINE)
    assert found == 1
    text = text.replace('"tcp:3100"', f'"tcp:{port}"')
    assert f"tcp:{port}" in text
    return text + f'\n[env]\nPYTHONPATH = "{ROOT}"\nPYTHONDONTWRITEBYTECODE = "1"\n'


def test_status_says_what_is_wrong_and_when_it_is_not_any_more(tmp_path: Path) -> None:
    let_in(tmp_path)
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    with Receiver(*[status(503)] * 2) as receiver:
        settings = tmp_path / "shipper.toml"
        settings.write_text(
            f'to = "loki"\nurl = "http://127.0.0.1:{receiver.port}"\nbatch_seconds = 0.05\n')
        units = {
            "web": 'command = ["/bin/sh", "-c", "echo hello; exec sleep 1000"]\n',
            "shipper": unit(settings, receiver.port, token),
        }
        with Stack(tmp_path, units) as stack:

            def said() -> str:
                return str(stack.row("shipper")["status_text"])

            wrong = "cannot deliver: it answers 503 Service Unavailable"
            stack.until(lambda: said() == wrong, wrong)
            stack.until(lambda: said() == "delivers", "delivery")


@pytest.mark.parametrize("to, scheme", [("loki", "http"), ("syslog", "tcp")])
def test_a_port_that_its_network_does_not_allow_is_blamed_on_that(
    to: str, scheme: str, tmp_path: Path
) -> None:
    let_in(tmp_path)
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    settings = tmp_path / "shipper.toml"
    settings.write_text(
        f'to = "{to}"\nurl = "{scheme}://127.0.0.1:9"\nbatch_seconds = 0.05\nend_seconds = 0.1\n')
    units = {
        "web": 'command = ["/bin/sh", "-c", "echo hello; exec sleep 1000"]\n',
        "shipper": unit(settings, 3100, token) + "[stop]\ndrain = 0\n",
    }
    with Stack(tmp_path, units) as stack:
        wrong = ": is its port in [network] connect of this unit?"
        stack.until(lambda: str(stack.row("shipper")["status_text"]).endswith(wrong), wrong)


def test_what_units_print_arrives_with_the_token_of_the_shipper(tmp_path: Path) -> None:
    let_in(tmp_path)
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    token.chmod(0o600)
    with Receiver() as receiver:
        settings = tmp_path / "shipper.toml"
        settings.write_text(
            f'to = "loki"\nurl = "http://127.0.0.1:{receiver.port}"\nbatch_seconds = 0.05\n'
            'auth = {bearer = "loki-token"}\n')
        settings.chmod(0o600)
        units = {
            "web": 'command = ["/bin/sh", "-c", "trap \'echo bye; exit\' TERM; echo hello;'
                   ' while :; do sleep 0.05; done"]\nstop.scope = "main"\n',
            "shipper": unit(settings, receiver.port, token),
        }
        with Stack(tmp_path, units) as stack:
            stack.until(lambda: "hello" in receiver.loki_lines(), "the first line")
            row = stack.wait("shipper", "running")
            assert row["restarts"] == 0
            ids = Path(f"/proc/{row['pid']}/status").read_text().split("Uid:")[1].split()[0]
            assert int(ids) != 0
        assert "bye" in receiver.loki_lines()  # the agent ends after those it is attached to
        assert {request.headers["authorization"] for request in receiver.requests} == {
            "Bearer s3cret"}
        streams = [stream["stream"]["unit"] for request in receiver.requests
                   for stream in request.body["streams"]]
        assert set(streams) == {"web", "unboxed"}  # the supervisor's own events too
