"""Fault 46, another way: sockets that linger (SO_LINGER) come with messages. Whoever closes such a
one last waits for its peer, who never reads: the supervisor must not be that one, wherever anybody
or a service may send it descriptors.
"""
from __future__ import annotations

import array
import contextlib
import os
import platform
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import Stack

LINGER_S = 15
SLEEP = 'command = ["/bin/sleep", "1000"]\n'
LINUX = tuple(int(part) for part in platform.release().split(".")[:2])


class Lingering:
    """A socket with more to send than its peer takes."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.sock = socket.create_connection(server.getsockname())
            self.peer, _ = server.accept()
        self.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.sock.send(bytes(65536))
        linger = struct.pack("ii", 1, LINGER_S)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def send(self, over: socket.socket, data: bytes, pid: int = 0) -> None:
        """As process `pid`. Nobody but the receiver has a descriptor of it then."""
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [self.sock.fileno()]))
        who = (socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("3i", pid, 0, 0))
        over.sendmsg([data], [rights, who] if pid else [rights])
        self.sock.close()


@pytest.fixture
def one() -> Iterator[Lingering]:
    made = Lingering()
    yield made
    if made.sock.fileno() >= 0:  # nobody took it, and this process is not to wait either
        made.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes(8))
    made.sock.close()
    made.peer.close()


def answers_at_once(stack: Stack) -> None:
    began = time.monotonic()
    stack.rows()
    assert time.monotonic() - began < LINGER_S / 2


def test_the_socket_in_the_test_lingers(one: Lingering) -> None:
    """Or all the others prove nothing."""
    began = time.monotonic()
    one.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 1))
    one.sock.close()
    assert time.monotonic() - began > 0.5


@pytest.mark.parametrize("name", ["status", "control", "nudge"])
def test_sent_by_a_client(tmp_path: Path, one: Lingering, name: str) -> None:
    if name != "control" and LINUX < (6, 16):
        pytest.skip("the kernel has no SO_PASSRIGHTS")
    with Stack(tmp_path, {"web": SLEEP}) as stack:
        kind = socket.SOCK_DGRAM if name == "nudge" else socket.SOCK_STREAM
        with socket.socket(socket.AF_UNIX, kind) as client:
            client.connect(str(stack.runtime / name))
            if name == "control":
                one.send(client, b'{"method":"io.unboxed.Supervisor.Status"}\0')
                client.settimeout(LINGER_S / 2)
                assert client.recv(100)
            else:
                with pytest.raises(PermissionError):
                    one.send(client, b"x")
        answers_at_once(stack)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to speak as the service")
@pytest.mark.parametrize("text", ["STATUS=x", "FDSTORE=1"])
def test_sent_by_a_service(tmp_path: Path, one: Lingering, text: str) -> None:
    """To be closed at once; and to be kept, which the keeper does until the unit is gone."""
    unit = SLEEP + '[start]\nready = "notify"\ntimeout = "1h"\n'
    with Stack(tmp_path, {"web": unit}) as stack:
        pid = stack.wait("web", "starting", test=lambda row: row["pid"])["pid"]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
            service.connect(str(stack.runtime / "notify" / "web"))
            one.send(service, f"READY=1\n{text}".encode(), pid)
        stack.wait("web", "running")
        answers_at_once(stack)
        began = time.monotonic()
        stack.call("Stop", units=["web"])
        stack.call("Start", units=["web"], wait=False)
        stack.wait("web", "starting")  # by the keeper
        assert time.monotonic() - began < LINGER_S / 2
