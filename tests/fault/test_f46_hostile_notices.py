"""Fault 46: messages that sd_notify(3) never sends: empty, of 1 MB, from strangers, from the dead,
with 253 descriptors (CVE-2016-7796). They are ignored, and the descriptors that they bring closed.

Root may say in its credentials that it is any process, so the test speaks as whomever it likes.
"""

from __future__ import annotations

import array
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.witness import at_rest, starts, witness
from tests.stack import Stack, alive

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to speak as other processes")
SCM_MAX_FD = 253
PARKED = 64  # descriptors that one instance may park
MEMORY_KB = 4096


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    child = f"sleep 999 & echo $! > {tmp_path}/child; exec sleep 1000"
    late = '[start]\nready = "notify"\ntimeout = "1h"\n'
    units = {
        "one": witness(tmp_path, "one", after=child) + late,
        "two": witness(tmp_path, "two") + late,
    }
    with Stack(tmp_path, units) as stack:
        stack.wait("one", "starting")
        stack.wait("two", "starting")
        stack.until(lambda: (tmp_path / "child").exists() and starts(tmp_path, "two"), "both")
        yield stack


def say(
    stack: Stack, data: bytes, *, pid: int = 0, fds: int = 0, key: str = "one", uid: int = 0
) -> None:
    """One datagram to the socket of `key` as process `pid` (0: this one), with that many
    descriptors. Waits while the socket is full."""
    control: list[tuple[int, int, bytes | array.array[int]]] = []
    credentials = struct.pack("3i", pid or os.getpid(), uid, uid)
    control.append((socket.SOL_SOCKET, socket.SCM_CREDENTIALS, credentials))
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(fds)]
    if fds:
        control.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", opened)))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, 32, 4 << 20)  # SO_SNDBUFFORCE
        sock.sendmsg([data], control, 0, str(stack.runtime / "notify" / key))
    for fd in opened:
        os.close(fd)


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def settle(stack: Stack, wanted: dict[int, int]) -> None:
    """Wait until each process has that many (that of a call is closed only after it)."""
    found: dict[int, int] = {}

    def same() -> bool:
        found.update({pid: descriptors(pid) for pid in wanted})
        return found == wanted

    try:
        stack.until(same, "descriptors to be closed", 5)
    except AssertionError:
        raise AssertionError(f"wanted {wanted}, there are {found}") from None


def memory_kb(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("RssAnon:")[2].split()[0])


def heard(stack: Stack) -> None:
    """Wait until all that was said so far has been dealt with: one more word is, too."""
    words = f"heard {os.urandom(4).hex()}"
    for key in ("one", "two"):
        say(stack, f"STATUS={words}".encode(), pid=stack.row(key)["pid"], key=key)
        stack.until(
            lambda key=key: stack.row(key)["status_text"] == words,  # type: ignore[misc]
            f"{key} to be heard",
        )  # fmt: skip


def dead_process() -> int:
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    return process.pid


LAST_WORDS = """
import array, os, socket, sys
with open(sys.argv[1] + "/names", "a") as names:
    names.write(os.environ.get("LISTEN_FDNAMES", "none") + "\\n")
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
rights = []
if "LISTEN_FDNAMES" not in os.environ:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [os.memfd_create("last")]))]
words = b"FDSTORE=1\\nFDNAME=last" if rights else b"STATUS=going"
sock.sendmsg([words], rights, 0, os.environ["NOTIFY_SOCKET"])
os._exit(0)
"""
READY = b"READY=1\nMAINPID=1\nSTATUS=believed"


def test_f46_what_is_no_message_is_ignored(stack: Stack) -> None:
    pid = stack.row("one")["pid"]
    heard(stack)
    manager = stack.manager
    before, memory = at_rest(stack, lambda: descriptors(manager)), memory_kb(manager)
    for data in (
        b"", b"\0", b"\n", b"\n\n\n", b"=", b"READY", b"READY=1\0\nSTATUS=x", b"=1", b"\xff\xfe=1",
        b"READY=1\n" + b"X" * (1 << 20), b"STATUS=" + b"y" * 5000 + b"\nREADY=1",
        b"READY=1\nSTATUS=\x1b[31m", b"A B=1\nREADY=1", b"READY=1\r\n", os.urandom(4000),
    ):  # fmt: skip
        say(stack, data, pid=pid)
        say(stack, data, pid=pid, fds=3)
    heard(stack)
    assert stack.row("one")["state"] == "starting"
    assert stack.manager == manager
    settle(stack, {manager: before})
    assert memory_kb(manager) - memory < MEMORY_KB


def test_f46_nobody_else_is_believed(stack: Stack) -> None:
    two = stack.row("two")["pid"]
    heard(stack)
    manager = stack.manager
    before = at_rest(stack, lambda: descriptors(manager))
    for pid in (0, 1, two, manager, stack.logger, stack.keeper):
        say(stack, READY, pid=pid)
        say(stack, b"FDSTORE=1\nFDNAME=evil\n" + READY, pid=pid, fds=SCM_MAX_FD)
    for _ in range(2000):
        say(stack, READY)
    heard(stack)
    row = stack.row("one")
    assert row["state"] == "starting"
    assert row["status_text"].startswith("heard")
    settle(stack, {manager: before})
    stack.call("Restart", units=["one"], wait=False)
    stack.until(lambda: len(starts(stack.home, "one")) == 2, "the second start")
    environ = Path(f"/proc/{stack.row('one')['pid']}/environ").read_bytes()
    assert b"LISTEN_FDS" not in environ, "what a stranger sent was parked"


def test_f46_the_dead_are_not_believed(stack: Stack) -> None:
    """A sender that is gone by the time its message is read may have been anybody. (The credentials
    of a dead process cannot be made up: it dies after it has spoken, before it is heard.)"""
    manager = stack.manager
    os.kill(manager, signal.SIGSTOP)
    try:
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                say(stack, READY, fds=3)
            os._exit(0)
        os.waitpid(child, 0)
    finally:
        os.kill(manager, signal.SIGCONT)
    heard(stack)
    assert stack.row("one")["state"] == "starting"
    assert stack.row("one")["status_text"] != "believed"


def test_f46_what_a_service_says_last_is_heard_before_its_end(tmp_path: Path) -> None:
    """Its descriptors are parked, although it is gone by the time that anybody looks."""
    script = tmp_path / "last.py"
    script.write_text(LAST_WORDS)
    unit = (
        witness(tmp_path, "brief", after=f"exec {sys.executable} -I -S {script} {tmp_path}")
        + '[start]\nready = "notify"\n'
        '[restart]\nwhen = "always"\ndelay = 0\nlimit = {count = 20, within = "1h"}\n'
    )
    with Stack(tmp_path, {"brief": unit}) as stack:
        stack.wait("brief", "failed")
        assert starts(tmp_path, "brief")[20:]
        names = (tmp_path / "names").read_text().split()
        assert names == ["none", *["last"] * 20]


def test_f46_253_descriptors_are_parked_up_to_the_limit_and_the_rest_is_closed(
    stack: Stack,
) -> None:
    pid = stack.row("one")["pid"]
    heard(stack)
    manager, keeper = stack.manager, stack.keeper
    before, kept = at_rest(stack, lambda: (descriptors(manager), descriptors(keeper)))
    say(stack, b"BARRIER=1", pid=pid, fds=SCM_MAX_FD)
    say(stack, b"STATUS=many", pid=pid, fds=SCM_MAX_FD)
    heard(stack)
    settle(stack, {manager: before, keeper: kept})
    for _ in range(3):
        say(stack, b"FDSTORE=1\nFDNAME=a:b\xc3\xa9" + b"c" * 300, pid=pid, fds=SCM_MAX_FD)
    heard(stack)
    settle(stack, {manager: before, keeper: kept + PARKED})
    say(stack, b"READY=1", pid=pid)
    stack.wait("one", "running")
    stack.call("Stop", units=["one"])
    stack.until(lambda: descriptors(keeper) <= kept, "what was parked to be forgotten")


def test_f46_only_an_own_process_becomes_the_main_one(stack: Stack) -> None:
    one, two = (stack.row(key)["pid"] for key in ("one", "two"))
    child = int((stack.home / "child").read_text())
    strangers = ("1", str(os.getpid()), str(two), str(stack.keeper), str(dead_process()))
    for text in (*strangers, "0", "-1", "99999999999", "4294967297", " 1", "1e3", "\u0661", ""):
        say(stack, f"MAINPID={text}".encode(), pid=one)
    heard(stack)
    assert stack.row("one")["pid"] == one
    say(stack, f"READY=1\nMAINPID={child}".encode(), pid=one)
    assert stack.wait("one", "running", test=lambda row: row["pid"] == child)
    os.kill(one, signal.SIGKILL)
    stack.until(lambda: not alive(one), "the first process to end")
    heard_by_child = b"STATUS=from the new one"
    say(stack, heard_by_child, pid=child)
    stack.until(lambda: stack.row("one")["status_text"] == "from the new one", "it to be heard")
    stack.call("Stop", units=["one"])
    assert not alive(child)
