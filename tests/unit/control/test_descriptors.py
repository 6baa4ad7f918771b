"""Descriptors that come with a call: whoever takes them has them, and nobody keeps the rest."""
from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.model.report import Executed
from supervisor.model.request import Call
from tests.control_kit import Loop, message

EXEC = {"unit": "web", "command": ["/bin/true"]}


class Pipe:
    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)

    def closed(self) -> bool:
        """Whether nobody has its write end."""
        try:
            return os.read(self.reader, 1) == b""
        except BlockingIOError:
            return False

    def give(self) -> None:
        os.close(self.writer)
        self.writer = -1

    def close(self) -> None:
        for fd in (self.reader, self.writer):
            if fd >= 0:
                os.close(fd)


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    loop = Loop(tmp_path)
    yield loop
    loop.close()


@pytest.fixture
def pipes() -> Iterator[list[Pipe]]:
    made = [Pipe() for _ in range(8)]
    yield made
    for pipe in made:
        pipe.close()


def send(sock: socket.socket, pipes: list[Pipe], data: bytes) -> None:
    """With the write ends of the pipes, which are given away."""
    socket.send_fds(sock, [data], [pipe.writer for pipe in pipes])
    for pipe in pipes:
        pipe.give()


def call(more: bool = True) -> bytes:
    return message("Exec", EXEC).replace(b"{", b'{"more":true,', 1) if more else message("Status")


def test_who_takes_them_has_them_and_the_client_leaving_closes_none(
    loop: Loop, tmp_path: Path, pipes: list[Pipe]
) -> None:
    taken: list[int] = []

    def take(asked: Call) -> None:
        taken.extend(asked.fds)
        asked.fds = ()

    loop.desk.scripts["Exec"] = take
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(f"{tmp_path}/control")
        send(sock, pipes[:3], call())
        loop.settle()
    loop.settle()
    assert len(taken) == 3
    assert not any(os.get_inheritable(fd) for fd in taken)
    assert not any(pipe.closed() for pipe in pipes[:3])
    for fd in taken:
        os.close(fd)
    assert all(pipe.closed() for pipe in pipes[:3])


@pytest.mark.parametrize("exec_", [True, False])
def test_what_nobody_takes_is_closed_with_the_call(
    loop: Loop, tmp_path: Path, pipes: list[Pipe], exec_: bool
) -> None:
    seen: list[int] = []

    def look(asked: Call) -> None:
        seen.append(len(asked.fds))
        asked.reply(Executed(code=0))

    loop.desk.scripts["Exec"] = look
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(f"{tmp_path}/control")
        send(sock, pipes[:3], call(exec_))
        loop.settle()
        assert all(pipe.closed() for pipe in pipes[:3])
        assert seen == ([3] if exec_ else [])
        sock.sendall(call())
        loop.settle()
        assert seen[-1] == 0


def test_one_client_never_holds_more_than_three(
    loop: Loop, tmp_path: Path, pipes: list[Pipe]
) -> None:
    first, second = pipes[:4], pipes[4:]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(f"{tmp_path}/control")
        send(sock, first[:4], b" ")
        loop.settle()
        assert [pipe.closed() for pipe in first] == [False, False, False, True]
        send(sock, second[:2], b" ")
        loop.settle()
        assert all(pipe.closed() for pipe in first)
        assert not any(pipe.closed() for pipe in second[:2])
    loop.settle()
    assert all(pipe.closed() for pipe in second[:2])


def test_the_status_socket_takes_none(
    loop: Loop, tmp_path: Path, pipes: list[Pipe]
) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(f"{tmp_path}/status")
        send(sock, pipes[:3], message("Status")[:-1])
        loop.settle()
        assert all(pipe.closed() for pipe in pipes[:3])
