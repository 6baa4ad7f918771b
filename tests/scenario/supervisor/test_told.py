"""What status, why and the supervisor's own words tell is of the run that they are about."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.scenario.supervisor.test_scale import free_port
from tests.stack import Stack

SLEEP = 'command = ["/bin/sleep", "1000"]\n'


def test_listeners_are_those_of_the_process_that_runs(tmp_path: Path) -> None:
    one, two = free_port(), free_port()
    text = f'{SLEEP}instances = 2\n[[listen]]\nname = "web"\naddress = "tcp:127.0.0.1:{{}}"\n'

    def ports() -> list[str]:
        keys = ("web/0", "web/1")
        rows = [stack.call("Describe", unit=key)["listeners"] for key in keys]
        return [row[0]["address"].rpartition(":")[2] for row in rows]

    with Stack(tmp_path, {"web": text.format(one)}) as stack:
        stack.wait("web/1", "running")
        stack.write("web", text.format(two))
        stack.call("ReloadUnits")
        assert ports() == [str(one), str(one)]
        stack.call("Restart", units=["web/0"], wait=True)
        assert ports() == [str(two), str(one)]
        os.kill(stack.manager, signal.SIGKILL)
        stack.until(stack.answers, "another manager")
        assert ports() == [str(two), str(one)]
        stack.call("Stop", units=["web"], wait=True)
        assert ports() == [str(two), str(two)], "those of its next run"


def test_a_freeze_is_told_with_who_asked_for_it(tmp_path: Path) -> None:
    who = f"uid {os.geteuid()}"
    with Stack(tmp_path, {"one": SLEEP}) as stack:
        before = stack.wait("one", "running")["since_ns"]
        stack.call("Freeze", units=["one"])
        row = stack.row("one")
        assert (row["state"], row["reason"]) == ("frozen", f"frozen by {who}")
        assert row["since_ns"] > before
        stack.call("Thaw", units=["one"])
        answer = stack.call("Why", unit="one")
        assert [moved["cause"] for moved in answer["chain"]][:3] == [
            f"thawed by {who}", f"frozen by {who}", "started"]
        assert (answer["status"]["state"], answer["status"]["reason"]) == (
            "running", f"thawed by {who}")
    assert f"one: frozen by {who}\none: thawed by {who}\n" in stack.errors.read_text()


def test_a_start_is_not_called_running_before_that_is_known(tmp_path: Path) -> None:
    late = f"{SLEEP}autostart = false\n"
    with Stack(tmp_path, {"one": SLEEP, "late": late}) as stack:
        began = time.time_ns()
        (result,) = stack.call("Start", units=["late"], wait=True)["results"]
        assert result["message"] == "started" or time.time_ns() - began > 200_000_000
        stack.until(lambda: time.time_ns() > stack.row("late")["since_ns"] + 250_000_000, "a while")
        (result,) = stack.call("Start", units=["late"], wait=True)["results"]
        assert result["message"] == "running"


def test_what_a_reload_added_is_no_older_than_that(tmp_path: Path) -> None:
    with Stack(tmp_path, {"one": SLEEP}) as stack:
        stack.wait("one", "running")
        stack.write("two", SLEEP)
        before = time.time_ns()
        stack.call("ReloadUnits")
        since = stack.row("two")["since_ns"]
        assert before - 1_000_000 <= since <= time.time_ns()
        os.kill(stack.manager, signal.SIGKILL)
        stack.until(stack.answers, "another manager")
        assert abs(stack.row("two")["since_ns"] - since) < 1_000_000_000


def test_every_end_is_printed_also_if_it_starts_again_at_once(tmp_path: Path) -> None:
    unit = f'{SLEEP}[restart]\nwhen = "always"\ndelay = 0\n'
    with Stack(tmp_path, {"one": unit}) as stack:
        pid = stack.wait("one", "running")["pid"]
        os.kill(pid, signal.SIGKILL)
        stack.wait("one", "running", test=lambda row: row["pid"] not in (0, pid))
    lines = stack.errors.read_text().splitlines()
    assert lines[:3] == [
        "one: up (started)", "one: down (killed by SIGKILL), starting again", "one: up (started)"]
