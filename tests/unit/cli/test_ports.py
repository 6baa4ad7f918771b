"""`unboxed ports`: sockets of this very process, as if a unit had them."""
from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from supervisor.cli import ports
from supervisor.cli.sockets import owners, sockets
from tests.unit.cli.fake import Cli, FakeSupervisor

Pair = tuple[socket.socket, socket.socket, socket.socket]


def instance(key: str, pid: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "key": key, "unit": key.partition("/")[0], "pid": pid, "network": "host", "listeners": [],
        "listen": None, "connect": None, "pids": [pid] if pid else [], **more,
    }  # fmt: skip


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A listener, a connection to it, and its other end."""
    host = "127.0.0.1" if request.param == socket.AF_INET else "::1"
    with socket.socket(request.param) as listener, socket.socket(request.param) as client:
        listener.bind((host, 0))
        listener.listen()
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
        with accepted:
            yield listener, client, accepted


def asked(fake: FakeSupervisor, *instances: dict[str, Any]) -> None:
    fake.answers["Ports"] = lambda ask: {
        "instances": [
            one for one in instances if not ask.get("units") or one["key"] in ask["units"]
        ]
    }


def test_a_unit_is_named_by_what_its_processes_have_open(
    fake: FakeSupervisor, cli: Cli, pair: Pair
) -> None:
    listener, client, _ = pair
    address, port = listener.getsockname()[:2]
    asked(fake, instance("web", os.getpid()), instance("db"))
    found = json.loads(cli("ports", "--json", "web").out)
    mine = [row for row in found["listening"] if row["port"] == port]
    assert len(mine) == 1
    assert (mine[0]["address"], mine[0]["unit"], mine[0]["pid"]) == (address, "web", os.getpid())
    ends = {row["port"] for row in found["connected"] if row["unit"] == "web"}
    assert {port, client.getsockname()[1]} <= ends
    assert [rule["unit"] for rule in found["rules"]] == ["web"]


def test_what_is_no_units_is_shown_by_process_and_not_among_a_units_own(
    fake: FakeSupervisor, cli: Cli, pair: Pair
) -> None:
    address, port = pair[0].getsockname()[:2]
    asked(fake, instance("db"))
    row = next(
        row for row in json.loads(cli("ports", "--json").out)["listening"] if row["port"] == port
    )
    assert (row["unit"], row["pid"]) == (None, os.getpid())
    shown = f"[{address}]" if ":" in address else address
    line = next(line for line in cli("ports").out.splitlines() if f"{shown}:{port}" in line)
    assert line.split()[1:3] == ["-", str(os.getpid())]
    assert not [
        row
        for row in json.loads(cli("ports", "--json", "db").out)["listening"]
        if row["port"] == port
    ]


def test_a_listener_that_nobody_serves_yet_is_its_units(
    fake: FakeSupervisor, cli: Cli, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, port = pair[0].getsockname()[:2]
    where = f"tcp6:[{address}]:{port}" if ":" in address else f"tcp:{address}:{port}"
    asked(fake, instance("web", listeners=[{"name": "http", "address": where, "queue": None}]))

    def owner() -> Any:
        found = json.loads(cli("ports", "--json").out)["listening"]
        return next(row["unit"] for row in found if row["port"] == port)

    assert owner() is None  # a stranger has the address that the unit waits for
    monkeypatch.setattr(ports, "command", lambda _pid: "unboxed-init")
    assert owner() == "web"


def test_a_socket_in_a_network_of_its_own_says_so(
    fake: FakeSupervisor, cli: Cli, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = pair[0].getsockname()[1]
    asked(fake, instance("web", os.getpid()))

    def shown() -> str:
        lines = cli("ports").out.splitlines()
        return next(one for one in lines if f":{port} " in one and " - " not in one)

    assert "own network" not in shown()
    monkeypatch.setattr(ports, "network", lambda: "net:[1]")
    assert "web, in its own network" in shown()
    found = json.loads(cli("ports", "--json").out)["listening"]
    assert {row["network"] for row in found if row["port"] == port} == {"own"}


def test_what_rules_allow_is_told_of_every_unit(fake: FakeSupervisor, cli: Cli) -> None:
    asked(
        fake, instance("db", listen=["tcp:5432"], connect=[]), instance("web", network="private")
    )
    lines = [line.split() for line in cli("ports").out.splitlines()]
    assert ["db", "host", "tcp:5432", "nothing"] in lines
    assert ["web", "private", "anything", "anything"] in lines


def test_udp_counts_as_listening_until_it_is_connected() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        inode = os.fstat(one.fileno()).st_ino

        def mine() -> list[tuple[str, str]]:
            return [(s.protocol, s.remote) for s in sockets(()) if s.inode == inode]

        assert mine() == [("udp", "")]
        assert os.getpid() in owners({inode})[inode]
        one.connect(("127.0.0.1", 9))
        assert mine() == [("udp", "127.0.0.1:9")]
