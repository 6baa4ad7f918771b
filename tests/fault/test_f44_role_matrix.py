"""Fault 44: role x operation. Each refusal comes before the body is parsed.

The body that is sent would be refused by every method, if anybody looked at it: so who is refused
for the body had the right to have it read, and everybody else is refused for the lack of it.
"""
from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from supervisor.control import dispatch
from supervisor.control.access import (
    ADMIN,
    NONE,
    OBSERVE,
    OPERATE,
    ROLE_NAMES,
    Access,
    Peer,
    Role,
    Rule,
)
from supervisor.control.dispatch import Dispatcher
from supervisor.control.methods import METHODS
from supervisor.control.wire import MAX_MESSAGE, read_call, read_parameters
from supervisor.model.report import Problem
from tests.control_kit import INTERFACE, Desk, Loop, as_user

# What each method needs. Those that need none answer everybody, with what is private left out.
NEEDS: dict[str, Role] = {
    "Status": NONE, "Figures": NONE, "Describe": NONE, "Events": NONE, "Why": NONE,
    "Explain": OBSERVE, "Audit": OBSERVE, "Ports": OBSERVE,
    "Relations": NONE, "BootReport": OBSERVE, "Rights": NONE,
    "Start": OPERATE, "Stop": OPERATE, "Restart": OPERATE, "Reload": OPERATE, "Kill": OPERATE,
    "Freeze": OPERATE, "Thaw": OPERATE, "ResetFailed": OPERATE,
    "ReloadUnits": ADMIN, "Set": ADMIN, "Exec": ADMIN, "Try": ADMIN, "Learn": ADMIN,
    "Shutdown": ADMIN, "ShutdownNow": ADMIN, "End": ADMIN, "Upgrade": ADMIN,
}  # fmt: skip
UIDS = {NONE: 2000, OBSERVE: 2001, OPERATE: 2002, ADMIN: 2003}
ACCESS = Access(900, None, tuple(
    Rule(uid, None, role) for role, uid in UIDS.items() if role != NONE
))
UNREADABLE = b'{"units":"\xff","unit":[1],"nobody":{"knows":"this"}}'
PEERS = {
    **{ROLE_NAMES[role]: (Peer(uid, frozenset({uid}), "control"), role, ACCESS)
       for role, uid in UIDS.items()},
    "root": (Peer(0, frozenset({0}), "control"), ADMIN, ACCESS),
    "ourselves": (Peer(900, frozenset({900}), "control"), ADMIN, ACCESS),
    "admin on status": (Peer(2003, frozenset({2003}), "status"), NONE, ACCESS),
    "root on status": (Peer(0, frozenset({0}), "status"), NONE, ACCESS),
    "admin of a broken file": (
        Peer(2003, frozenset({2003}), "control"), NONE,
        Access(900, None, ACCESS.rules, (Problem("access.toml", 3, "role", "cannot"),)),
    ),
}  # fmt: skip


def envelope(method: str, body: bytes = UNREADABLE) -> bytes:
    return b'{"method":"%s.%s","more":true,"parameters":%s}' % (
        INTERFACE.encode(), method.encode(), body)


def answer(dispatcher: Dispatcher, peer: Peer, message: bytes) -> dict[str, Any]:
    call = dispatcher.prepare(read_call(message), peer, lambda _data, _last: None)
    assert isinstance(call, bytes), "a call with such a body must not get anywhere"
    return dict(json.loads(call[:-1]))


def test_the_matrix_is_complete() -> None:
    assert list(NEEDS) == list(METHODS)


@pytest.mark.parametrize("who", PEERS)
@pytest.mark.parametrize("method", METHODS)
def test_a_refusal_comes_before_the_body_is_parsed(
    who: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, role, access = PEERS[who]
    desk = Desk()
    dispatcher = Dispatcher(desk, access, "0")
    parsed: list[bytes] = []
    parse = read_parameters

    def watched(raw: msgspec.Raw, decoder: Any) -> Any:
        parsed.append(bytes(raw))
        return parse(raw, decoder)

    monkeypatch.setattr(dispatch, "read_parameters", watched)
    reply = answer(dispatcher, peer, envelope(method))
    if role >= NEEDS[method]:
        assert reply["error"] == "org.varlink.service.InvalidParameter"
        assert parsed == [UNREADABLE]
    else:
        assert reply["error"] == f"{INTERFACE}.NotPermitted"
        assert reply["parameters"]["message"].startswith(f"cannot {METHODS[method].words}: ")
        assert parsed == []
    assert desk.calls == []


def test_the_largest_body_costs_who_may_not_send_it_next_to_nothing() -> None:
    """What is skipped is scanned once, and nothing is made of it."""
    room = MAX_MESSAGE - len(envelope("Stop", b""))
    body = b'{"units":[' + b",".join([b'"a"'] * ((room - 20) // 4)) + b"]}"
    message = envelope("Stop", body)
    assert MAX_MESSAGE - 50 < len(message) <= MAX_MESSAGE
    dispatcher = Dispatcher(Desk(), ACCESS, "0")
    peer = PEERS["none"][0]
    times = []
    for _ in range(20):
        started = time.thread_time()
        assert answer(dispatcher, peer, message)["error"].endswith("NotPermitted")
        times.append(time.thread_time() - started)
    assert min(times) < 0.002


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    loop = Loop(tmp_path, access=ACCESS)
    with loop.thread():
        yield loop
    loop.close()


def _try_all(kind: str) -> dict[str, str]:
    """The error that each method answers."""
    errors = {}
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(kind)
        for method in METHODS:
            sock.sendall(envelope(method) + b"\0")
            reply = b""
            while not reply.endswith(b"\0"):
                reply += sock.recv(1 << 16)
            errors[method] = json.loads(reply[:-1])["error"].rpartition(".")[2]
    return errors


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to be each of these users")
@pytest.mark.parametrize("kind", ["control", "status"])
@pytest.mark.parametrize("who", [*ROLE_NAMES, "root"])
def test_the_matrix_holds_for_real_users_on_real_sockets(loop: Loop, who: str, kind: str) -> None:
    peer, has, _ = PEERS[who]
    uid = peer.uid
    if kind == "status":
        has = NONE
    errors = as_user(uid, [uid], loop.directory, lambda: _try_all(kind))
    assert errors == {
        method: "InvalidParameter" if has >= needs else "NotPermitted"
        for method, needs in NEEDS.items()
    }
    assert loop.desk.calls == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to be another user")
@pytest.mark.parametrize("kind", ["control", "status"])
def test_nobody_reaches_a_unit_that_no_rule_gives(loop: Loop, kind: str) -> None:
    loop.server.access = Access(900, None, (Rule(2002, None, OPERATE, ("web*",)),))

    def explain() -> list[str]:
        told = []
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(kind)
            for unit in ("web", "web2/1", "db"):
                sock.sendall(envelope("Explain", b'{"unit":"%s"}' % unit.encode()) + b"\0")
                told.append(sock.recv(1 << 16).decode().partition('"error":"')[2])
        return [name.strip('"}\0').rpartition(".")[2] for name in told]

    expected = ["", "", "NotPermitted"] if kind == "control" else ["NotPermitted"] * 3
    assert as_user(2002, [], loop.directory, explain) == expected
