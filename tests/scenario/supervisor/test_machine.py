"""A machine's manager on an ordinary keeper: what boots first, what stops last, how it ends.

Such a keeper does nothing to the machine that it runs on: it exits with the action as its status.
"""
from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.stack import PATIENCE, Stack

ACTIONS = {"poweroff": 0, "reboot": 1, "halt": 2, "kexec": 3}
BOOT = """
kind = "group"
needs.requires = ["fs"]
"""
TASK = """
kind = "task"
command = ["/bin/sh", "-c", "{script}"]
start.ready = {{ exit = 0 }}
restart.when = "never"
"""
DEAF = """
command = ["/bin/sh", "-c", "trap : TERM; echo >&3; while :; do sleep 0.02; done"]
start.ready = "fd:3"
stop.ladder = ["TERM", "1m"]
"""


class Machine(Stack):
    def argv(self) -> list[str]:
        words = super().argv()
        words.insert(words.index("--", words.index("--") + 1), "--machine")
        return words

    def end(self, timeout: float = PATIENCE) -> None:
        self.ask("poweroff")

    def ask(self, action: str, timeout: float = PATIENCE, **more: int) -> None:
        """The end of it, in order."""
        if self.process is not None:
            self.call("End", action=action, **more)
            self.ends(action, timeout)

    def ends(self, action: str, timeout: float = PATIENCE) -> None:
        assert self.process is not None
        assert self.process.wait(timeout) == ACTIONS[action], self.errors.read_text()
        self.process = None


def noting(notes: Path, name: str) -> str:
    """A service that notes when it stops, ready once it would."""
    script = f"trap 'echo {name} >> {notes}; exit' TERM; echo >&3; while :; do sleep 0.02; done"
    return f'command = ["/bin/sh", "-c", "{script}"]\nstart.ready = "fd:3"\n'


@pytest.mark.parametrize("number, action", [(signal.SIGINT, "reboot"), (signal.SIGPWR, "poweroff")])
def test_boot_goes_first_and_stops_last(tmp_path: Path, number: int, action: str) -> None:
    notes = tmp_path / "notes"
    units = {
        "boot": BOOT.replace('["fs"]', '["fs", "udev"]'),
        "fs": TASK.format(script=f"sleep 0.3; echo mounted >> {notes}"),
        "udev": noting(notes, "udev"), "web": noting(notes, "web"),
        "app": noting(notes, "app") + 'needs.requires = ["web"]\n',
    }
    with Machine(tmp_path, units) as machine:
        assert machine.row("app")["state"] in ("waiting", "running")
        machine.wait("web", "running")
        assert notes.read_text() == "mounted\n"
        machine.wait("app", "running")
        keys = [(one["key"], one["cause"]) for one in machine.call("Why", unit="web")["chain"]]
        assert ("web", "boot is ready") in keys
        assert ("boot", "fs is ready") in keys
        for name, value in (("web", '["boot"]'), ("app", '["web", "boot"]'), ("udev", "[]")):
            told = machine.call("Explain", unit=name)["keys"]
            assert [one["value"] for one in told if one["key"] == "needs.requires"] == [value]
        os.kill(machine.keeper, number)
        machine.ends(action)
    assert notes.read_text() == "mounted\napp\nweb\nudev\n"
    said = machine.errors.read_text()
    assert "stopping everything in order, within 1m30s" in said
    assert "everything is stopped; " in said


def test_a_manager_that_is_killed_in_a_shutdown_changes_nothing(tmp_path: Path) -> None:
    units = {"boot": BOOT, "fs": TASK.format(script="true"), "deaf": DEAF}
    with Machine(tmp_path, units) as machine:
        machine.wait("deaf", "running")
        began = time.monotonic()
        machine.call("End", action="kexec", timeout_ns=2 * 10**9)
        for _ in range(2):
            old = machine.manager
            os.kill(old, signal.SIGKILL)
            machine.until(lambda old=old: machine.manager not in (0, old), "another manager")  # type: ignore[misc]
            machine.until(machine.answers, "control to answer")
        assert machine.call("Status")["supervisor"]["ending"] == "kexec"
        machine.ends("kexec")
        assert 1.9 < time.monotonic() - began < 10


def test_what_is_asked_for_last_counts_and_force_waits_for_nobody(tmp_path: Path) -> None:
    with Machine(tmp_path, {"deaf": DEAF}) as machine:
        machine.wait("deaf", "running")
        first = machine.call("End", action="reboot")["deadline_ns"]
        assert machine.call("End", action="halt", timeout_ns=600 * 10**9)["deadline_ns"] <= first
        began = time.monotonic()
        machine.ask("halt", now=True)
        assert time.monotonic() - began < 5


def test_a_boot_that_fails_is_repaired_in_rescue(tmp_path: Path) -> None:
    disk, ready = tmp_path / "disk", tmp_path / "repaired"
    units = {
        "boot": BOOT, "fs": TASK.format(script=f"test -e {disk}"),
        "rescue": TASK.format(script=f"until test -e {ready}; do sleep 0.02; done")
        + "autostart = false\n",
        "web": 'command = "/bin/sleep 1000"\n',
    }
    with Machine(tmp_path, units) as machine:
        machine.wait("rescue", "starting")
        assert machine.row("boot")["state"] == "failed"
        web = machine.row("web")
        assert (web["state"], web["waiting_for"]) == ("waiting", ["boot to be ready"])
        old = machine.manager
        os.kill(old, signal.SIGKILL)  # the next one waits for the same rescue
        machine.until(lambda: machine.manager not in (0, old), "another manager")
        disk.touch()
        ready.touch()
        machine.wait("web", "running")  # within the pace of rescues, as this one was a short one
        assert machine.row("rescue")["state"] == "finished"


def test_a_boot_whose_file_is_broken_is_one_that_failed(tmp_path: Path) -> None:
    units = {
        "boot": "kind = 5\n", "rescue": TASK.format(script="sleep 1000") + "autostart = false\n",
        "web": 'command = "/bin/sleep 1000"\n',
    }
    with Machine(tmp_path, units) as machine:
        machine.wait("rescue", "starting")
        assert machine.row("web")["state"] == "waiting"
        assert "boot.toml:1: kind: cannot" in machine.errors.read_text()


def test_sigterm_renews_it_in_place(tmp_path: Path) -> None:
    with Machine(tmp_path, {"web": 'command = "/bin/sleep 1000"\n'}) as machine:
        pid = machine.wait("web", "running")["pid"]
        old = machine.manager
        os.kill(machine.keeper, signal.SIGTERM)
        machine.until(lambda: machine.manager not in (0, old), "another manager")
        assert machine.wait("web", "running")["pid"] == pid
