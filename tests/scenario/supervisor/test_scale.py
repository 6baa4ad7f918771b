"""`instances` changed and unit files read again: the unit has so many processes then."""

from __future__ import annotations

import errno
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.stack import Refused, Stack

SLEEP = 'command = ["/bin/sleep", "1000"]\n'


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def running(stack: Stack) -> list[str]:
    return sorted(key for key, row in stack.rows().items() if row["state"] == "running")


def scale(stack: Stack, text: str, count: int) -> None:
    """Returns when the unit has so many instances, all running, and no others."""
    stack.write("web", f"instances = {count}\n{text}")
    stack.call("ReloadUnits")
    keys = ["web"] if count == 1 else [f"web/{number}" for number in range(count)]
    stack.until(lambda: running(stack) == sorted(stack.rows()) == keys, f"{keys}")


@pytest.mark.parametrize("own", ["false", "true"])
def test_the_address_answers_whatever_the_number(tmp_path: Path, own: str) -> None:
    port = free_port()
    text = f'{SLEEP}[[listen]]\nname = "http"\naddress = "tcp:127.0.0.1:{port}"\nreuse_port = {own}'

    def look() -> None:
        with socket.create_connection(("127.0.0.1", port), 5):
            pass

    with Stack(tmp_path, {"web": f"instances = 2\n{text}"}) as stack:
        stack.wait("web/1", "running")
        pid = stack.wait("web/0", "running")["pid"]
        scale(stack, text, 3)
        assert (stack.row("web/0")["pid"], stack.row("web/0")["stale"]) == (pid, False)
        for count in (1, 2, 1):
            scale(stack, text, count)
            look()
        os.kill(stack.manager, signal.SIGKILL)
        stack.until(stack.answers, "another manager")
        scale(stack, text, 2)
        look()
        stack.call("Stop", units=["web"], wait=True)

        def refused() -> bool:
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED

        stack.until(refused, "the keeper to have closed it too")


def test_a_verb_names_all_that_lives_of_a_unit(tmp_path: Path) -> None:
    def tell(verb: str) -> list[tuple[str, bool, str]]:
        results: list[dict[str, Any]] = stack.call(verb, units=["web"], wait=True)["results"]
        return sorted((one["key"], one["ok"], one["message"]) for one in results)

    slow = 'command = ["/bin/sh", "-c", "trap : TERM; while :; do sleep 0.01; done"]\n'
    with Stack(tmp_path, {"web": slow + "instances = 3\n"}) as stack:
        stack.wait("web/2", "running")
        stack.write("web", slow + "instances = 2\n[stop]\nladder = ['TERM', '1h']\n")
        stack.call("ReloadUnits")
        row = stack.wait("web/2", "stopping")
        assert row["reason"] == "web now has 2 instances"
        keys = [one["key"] for one in stack.call("Status", units=["web"])["instances"]]
        assert keys == ["web/0", "web/1", "web/2"]
        (refused,) = stack.call("Start", units=["web/2"])["results"]
        assert refused["message"] == (
            "cannot start web/2: web now has 2 instances; nothing was changed")
        assert [one[0] for one in tell("Start")] == ["web/0", "web/1"]
        stack.call("Kill", units=["web/2"], signal=9)
        stack.until(lambda: "web/2" not in stack.rows(), "it to be forgotten")
        with pytest.raises(Refused):
            stack.call("Status", units=["web/2"])
        stack.write("web", slow + "instances = 2\n[stop]\nladder = ['KILL']\n")
        stack.call("ReloadUnits")
        stack.write("web", slow + "instances = 1\n[stop]\nladder = ['KILL']\n")
        stack.call("ReloadUnits")
        stack.until(lambda: running(stack) == ["web"], "the one instance")
