"""unboxed-watchdog, with a fifo in the place of the device: what it feeds, and how it leaves it."""
from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.keeper.keeperclient import build
from tests.stack import ROOT

PATIENCE_S = 30.0
TIMEOUT = "2"  # of the device; it is fed four times in it
FOOD, MAGIC_CLOSE = b"\0", b"V"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    source = ROOT / "supervisor" / "programs" / "watchdog.c"
    return build(tmp_path_factory.mktemp("watchdog"), sources=[source], name="unboxed-watchdog")


class Dog:
    """A device that is watched, and a manager of whom `answer` is known. None: it hangs."""

    def __init__(self, home: Path, program: str) -> None:
        self.device, self.status = home / "device", home / "status"
        self.command = [program, str(self.device), TIMEOUT, str(self.status)]
        os.mkfifo(self.device)
        self.fd = os.open(self.device, os.O_RDONLY | os.O_NONBLOCK)
        self.answer: bytes | None = b"{}"
        self.process: subprocess.Popen[str] | None = None
        self._server: socket.socket | None = None

    def manager(self, answer: bytes | None) -> None:
        self.answer = answer
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self.status))
        self._server.listen()
        threading.Thread(target=self._serve, args=(self._server,), daemon=True).start()

    def _serve(self, server: socket.socket) -> None:
        kept = []
        with suppress(OSError):  # the test is over
            while True:
                client, _ = server.accept()
                if self.answer is None:
                    kept.append(client)
                    continue
                with client:
                    client.recv(4096)
                    client.sendall(self.answer + b"\0")

    def start(self, *prefix: str) -> None:
        self.process = subprocess.Popen([*prefix, *self.command], stdout=subprocess.PIPE, text=True)
        assert self.said().startswith("READY ")

    def said(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def fed(self) -> bytes:
        """What is written to the device next."""
        assert select.select([self.fd], [], [], PATIENCE_S)[0], "nothing"
        return os.read(self.fd, 1)

    def rest(self) -> bytes:
        """All that was written, when it has ended by SIGTERM."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(PATIENCE_S)
        return os.read(self.fd, 4096)

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
        if self._server is not None:
            self._server.close()
        os.close(self.fd)


@pytest.fixture
def dog(tmp_path: Path, program: str) -> Iterator[Dog]:
    dog = Dog(tmp_path, program)
    yield dog
    dog.close()


def test_it_is_fed_while_the_manager_answers_and_disarmed_by_an_operator(dog: Dog) -> None:
    dog.manager(b'{"parameters":{"supervisor":{"ending":null}}}')
    dog.start()
    assert [dog.fed(), dog.fed(), dog.fed()] == [FOOD] * 3
    assert dog.rest().lstrip(FOOD) == MAGIC_CLOSE


@pytest.mark.parametrize("power", ["poweroff", "reboot", "kexec"])
def test_it_stays_armed_while_the_machine_goes_down(dog: Dog, power: str) -> None:
    dog.manager(f'{{"parameters":{{"supervisor":{{"ending":"{power}"}}}}}}'.encode())
    dog.start()
    assert dog.fed() == FOOD
    assert set(dog.rest()) == set(FOOD)  # once more, with time for the shutdown


def test_a_halt_is_to_last(dog: Dog) -> None:
    dog.manager(b'{"parameters":{"supervisor":{"ending":"halt"}}}')
    dog.start()
    assert dog.rest().lstrip(FOOD) == MAGIC_CLOSE


def test_a_manager_that_hangs_is_not_in_order_until_it_answers_again(dog: Dog) -> None:
    dog.manager(None)
    dog.start()
    assert "manager does not answer" in dog.said()
    assert not select.select([dog.fd], [], [], 0)[0]
    dog.answer = b"{}"
    assert "in order again" in dog.said()
    assert dog.fed() == FOOD


def test_a_manager_that_is_not_there_hangs_nobody(dog: Dog) -> None:
    dog.start()
    assert [dog.fed(), dog.fed()] == [FOOD] * 2


def test_a_first_process_that_reaps_nobody_is_not_in_order(dog: Dog) -> None:
    dog.manager(b"{}")
    first = ("import os, sys, time\nif os.fork() == 0: os.execv(sys.argv[1], sys.argv[1:])\n"
             "time.sleep(1000)")
    try:
        subprocess.run(["unshare", "-Urpf", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no user namespaces here")
    dog.start("unshare", "-Urpf", "--kill-child", sys.executable, "-IS", "-c", first)
    assert "PID 1 reaps nobody" in dog.said()
    assert not select.select([dog.fd], [], [], 0)[0]


def test_a_device_that_cannot_be_opened_is_told(program: str, tmp_path: Path) -> None:
    done = subprocess.run([program, str(tmp_path / "none")], capture_output=True, check=False,
                          text=True)  # fmt: skip
    assert done.returncode == 1
    assert "cannot open" in done.stderr
    assert "the machine goes on without" in done.stderr
