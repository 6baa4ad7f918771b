"""What a definition opened is closed when the next one has it no more."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.stack import Stack

SLEEP = 'command = ["/bin/sleep", "1000"]\n'


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def listener(name: str, port: int) -> str:
    return f'[[listen]]\naddress = "tcp:127.0.0.1:{port}"\nname = "{name}"\n'


def refused(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0


def test_listeners_without_definition_are_closed_at_the_stop(tmp_path: Path) -> None:
    one, two = free_port(), free_port()
    units = {"one": SLEEP + listener("web", one), "two": SLEEP + listener("web", two)}
    with Stack(tmp_path, units) as stack:
        for name in units:
            stack.wait(name, "running")
        (stack.units / "one.toml").unlink()
        stack.write("two", SLEEP)
        stack.call("ReloadUnits")
        assert not refused(one)  # what runs goes on as it was started
        rows = stack.rows()
        assert (rows["one"]["removed"], rows["two"]["removed"]) == (True, False)
        stack.call("Stop", units=["one", "two"], wait=True)
        stack.until(lambda: refused(one), "the removed unit's port to be closed")
        stack.until(lambda: refused(two), "the port of the removed listener to be closed")


def test_a_listener_that_is_renamed_gets_its_address_at_a_restart(tmp_path: Path) -> None:
    port = free_port()
    never = '[restart]\nwhen = "never"\n'
    with Stack(tmp_path, {"one": SLEEP + never + listener("old", port)}) as stack:
        stack.wait("one", "running")
        stack.write("one", SLEEP + never + listener("new", port))
        stack.call("ReloadUnits")
        results = stack.call("Restart", units=["one"], wait=True)["results"]
        assert results[0]["ok"], results


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run units as others")
def test_the_notify_socket_belongs_to_the_user_of_the_new_definition(tmp_path: Path) -> None:
    text = SLEEP + 'user = "{}"\n[start]\nready = "notify"\n'
    with Stack(tmp_path, {"one": text.format("root")}) as stack:
        stack.until(lambda: stack.row("one")["pid"], "the first process")
        old = stack.row("one")["pid"]
        path = stack.runtime / "notify" / "one"
        assert path.owner() == "root"
        stack.write("one", text.format("nobody"))
        stack.call("ReloadUnits")
        stack.call("Restart", units=["one"], wait=False)
        stack.until(lambda: stack.row("one")["pid"] not in (0, old), "the new process")
        assert path.owner() == "nobody"
