"""The shipped units of units/system, with programs that send as programs do."""
from __future__ import annotations

import ctypes.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.places import let_in
from tests.stack import PATIENCE, ROOT, Stack

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace needs root")
needs_logger = pytest.mark.skipif(not shutil.which("logger"), reason="there is no logger(1)")
SENDER = """
command = ["/usr/bin/logger", "-u", "{socket}", "-t", "me", "-p", "user.crit", "I am of a unit"]
kind = "task"
autostart = false
"""


class Machine:
    """A supervisor with the three units, their sockets elsewhere."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.syslog, self.journal = home / "dev-log", home / "journal"
        let_in(home)
        units = {name: self._unit(name) for name in ("syslog", "journal", "kernel")}
        units["sender"] = SENDER.format(socket=self.syslog)
        self.stack = Stack(home, units)

    def _unit(self, name: str) -> str:
        text = (ROOT / "units" / "system" / f"{name}.toml").read_text()
        command = json.dumps([sys.executable, "-m", "supervisor.cli", "agent", "receive", name])
        for old, new in (
            (f'command = "unboxed agent receive {name}"',
             f"command = {command}\ndirectory = {json.dumps(str(ROOT))}"),
            ("unix-datagram:/dev/log", f"unix-datagram:{self.syslog}"),
            ("unix-datagram:/run/systemd/journal/socket", f"unix-datagram:{self.journal}"),
            ("!/run/systemd/system", f"!{self.home}/another"),
            ("!/usr/sbin/rsyslogd", f"!{self.home}/rsyslogd"),
            ("unboxed-kernel-log", f"{self.home.name}-test"),
        ):
            text = text.replace(old, new)
        return text

    def entries(self, name: str) -> list[dict[str, Any]]:
        stored = b"".join(
            path.read_bytes() for path in sorted((self.stack.log / name).glob("*.log")))
        *whole, _being_written = stored.split(b"\n")
        return [json.loads(line) for line in whole]

    def until(self, name: str, seen: Callable[[dict[str, Any]], bool], count: int = 1) -> list[
            dict[str, Any]]:
        end = time.monotonic() + PATIENCE
        while len(found := [one for one in self.entries(name) if seen(one)]) < count:
            assert time.monotonic() < end, self.entries(name)[-5:]
            time.sleep(0.02)
        return found

    def privately(self, script: str) -> None:
        """Python, where /dev/log and the journal's socket are those of this machine."""
        mounts = (
            "mount -t tmpfs none /run; mkdir -p /run/systemd/journal;"
            f" ln -s {self.journal} /run/systemd/journal/socket;"
            f" mount -t tmpfs none /dev; ln -s {self.syslog} /dev/log;"
        )
        subprocess.run(
            ["unshare", "--mount", "sh", "-ec", f'{mounts} exec "$@"', "sh", sys.executable, "-c",
             script], check=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)


@pytest.fixture
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="ub-") as directory:
        made = Machine(Path(directory))
        with made.stack:
            for name in ("syslog", "journal", "kernel"):
                made.stack.wait(name, "running", "skipped")
            yield made
        for top in (Path("/var/lib"), Path("/var/lib/private")):  # what a stop leaves: its state
            path = top / f"{made.home.name}-test"
            if path.is_symlink():
                path.unlink()
            shutil.rmtree(path, ignore_errors=True)


def logger(machine: Machine, *words: str) -> None:
    subprocess.run(["logger", "-u", str(machine.syslog), *words], check=True, timeout=PATIENCE)


def shown(machine: Machine, *words: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "supervisor.cli", "logs", *words], cwd=ROOT, capture_output=True,
        text=True, check=True, timeout=60, stdin=subprocess.DEVNULL,
        env={**os.environ, "UNBOXED_LOG_DIR": str(machine.stack.log)})
    return done.stdout.splitlines()


@needs_logger
def test_syslog_is_a_log_with_priorities_names_and_the_unit_of_who_sent(machine: Machine) -> None:
    logger(machine, "-t", "sshd", "-p", "auth.err", "no such user")
    machine.stack.call("Reload", units=["syslog"], wait=True)
    logger(machine, "-t", "sshd", "-p", "auth.info", "session opened")
    logger(machine, "--rfc5424", "-t", "app", "-p", "local0.notice", "in the new form")
    machine.stack.call("Start", units=["sender"], wait=True)
    machine.until("syslog", lambda one: one["message"] == "I am of a unit")
    found = {one["message"]: one for one in machine.entries("syslog")}
    assert machine.stack.row("syslog")["restarts"] == 0
    assert found["no such user"]["facility"] == "auth"
    assert found["no such user"]["uid"] == os.getuid()
    assert found["in the new form"]["ident"] == "app"
    assert found["session opened"].get("unit") is None
    assert found["I am of a unit"].get("unit") in {"sender", None}, "it may have ended by then"
    lines = shown(machine, "--priority", "err", "--field", "ident=sshd", "syslog")
    assert len(lines) == 1
    assert "no such user" in lines[0]


@needs_root
def test_the_c_library_and_libsystemd_are_understood(machine: Machine) -> None:
    machine.privately(
        "import syslog; syslog.openlog('pylib', syslog.LOG_PID, syslog.LOG_MAIL);"
        "syslog.syslog(syslog.LOG_WARNING, 'two\\nlines')")
    found = machine.until("syslog", lambda one: one.get("ident") == "pylib")[0]
    assert (found["message"], found["priority"], found["facility"]) == ("two\nlines", 4, "mail")
    assert "said_pid" not in found, "it said its own"

    library = ctypes.util.find_library("systemd")
    if not library:
        pytest.skip("there is no libsystemd; the C library's syslog was understood")
    machine.privately(
        f"import ctypes; s = ctypes.CDLL({library!r});"
        "assert s.sd_journal_send(b'MESSAGE=small', b'PRIORITY=%i', 3, b'ORDER=%s', b'n7', None)"
        " == 0; assert s.sd_journal_send(b'MESSAGE=%s', b'x' * 2000000, b'ORDER=big', None) == 0")
    found = machine.until("journal", lambda one: one["message"] == "small")[0]
    assert (found["priority"], found["ORDER"], found["uid"]) == (3, "n7", 0)
    large = machine.until("journal", lambda one: one.get("ORDER") == "big")[0]
    assert large["cut"] == 2_000_000
    assert set(large["message"]) == {"x"}


@needs_logger
def test_nothing_that_is_sent_while_the_receiver_restarts_is_lost(machine: Machine) -> None:
    for number in range(6):
        if number == 2:
            os.kill(machine.stack.row("syslog")["pid"], signal.SIGKILL)
        if number == 4:
            machine.stack.wait("syslog", "running", test=lambda row: row["restarts"] == 1)
        logger(machine, "-t", "n", str(number))
    found = machine.until("syslog", lambda one: one.get("ident") == "n", 6)
    assert [one["message"] for one in found] == [str(number) for number in range(6)]


@needs_logger
def test_a_flood_is_taken_whole_and_makes_nobody_wait_for_long(machine: Machine) -> None:
    count = 20_000
    text = machine.home / "lines"
    text.write_text("".join(f"line {number}\n" for number in range(count)))
    began = time.monotonic()
    logger(machine, "-t", "flood", "-f", str(text))
    assert time.monotonic() - began < 15
    found = machine.until("syslog", lambda one: one.get("ident") == "flood", count)
    assert [one["message"] for one in found] == [f"line {number}" for number in range(count)]


def test_the_kernels_log_is_told_once_over_a_restart(machine: Machine) -> None:
    if machine.stack.row("kernel")["state"] == "skipped":
        pytest.skip("there is no /dev/kmsg")
    word = f"unboxed-test-{uuid.uuid4().hex}"
    try:
        with open("/dev/kmsg", "wb", buffering=0) as kmsg:
            kmsg.write(f"<12>{word} one\n".encode())  # without it nobody sees it before the next
    except OSError as error:
        pytest.skip(f"nothing may be written to /dev/kmsg: {error.strerror}")
    machine.until("kernel", lambda one: word in one["message"])
    machine.stack.call("Restart", units=["kernel"], wait=True)
    with open("/dev/kmsg", "wb", buffering=0) as kmsg:
        kmsg.write(f"<11>{word} two\n".encode())
    found = machine.until("kernel", lambda one: word in one["message"], 2)
    assert [(one["message"], one["priority"], one["facility"]) for one in found] == [
        (f"{word} one", 4, "user"), (f"{word} two", 3, "user")]
    numbers = [one["seq"] for one in machine.entries("kernel") if "seq" in one]
    assert len(numbers) == len(set(numbers))
    assert abs(time.time() - _seconds(found[1]["time"])) < 60


def _seconds(stamp: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(stamp).timestamp()


def test_where_another_init_takes_them_the_units_are_skipped() -> None:
    with tempfile.TemporaryDirectory(prefix="ub-") as directory:
        (Path(directory) / "another").touch()
        with Machine(Path(directory)).stack as stack:
            for name in ("syslog", "journal", "kernel"):
                stack.wait(name, "skipped")
