"""sd_notify(3), whole: what a service says changes its state, and nobody else can say it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.scenario.supervisor.conftest import Speaker
from tests.stack import Stack, alive

NOTIFY = '[start]\nready = "notify"\n'


def test_ready_is_when_the_service_says_so(tmp_path: Path, speaker: Speaker) -> None:
    with Stack(tmp_path, {"one": speaker.unit + NOTIFY}) as stack:
        stack.wait("one", "starting")
        speaker.tell("notify READY=1\\nSTATUS=serving 3 of 5")
        row = stack.wait("one", "running")
        assert row["status_text"] == "serving 3 of 5"


def test_a_start_that_never_gets_ready_is_ended(tmp_path: Path, speaker: Speaker) -> None:
    unit = speaker.unit + NOTIFY + 'timeout = "300ms"\n[restart]\nwhen = "never"\n'
    with Stack(tmp_path, {"one": unit}) as stack:
        row = stack.wait("one", "failed")
        assert "not ready within start.timeout (0.3 s)" in row["reason"]


def test_more_time_is_given_to_who_asks_for_it(tmp_path: Path, speaker: Speaker) -> None:
    with Stack(tmp_path, {"one": speaker.unit + NOTIFY + 'timeout = "5s"\n'}) as stack:
        first = stack.wait("one", "starting")["deadline_ns"]
        speaker.tell("notify EXTEND_TIMEOUT_USEC=30000000")
        stack.until(lambda: stack.row("one")["deadline_ns"] > first + 10**10, "a later deadline")
        speaker.tell("notify READY=1")
        stack.wait("one", "running")


def test_a_reload_is_done_when_it_says_ready_again(tmp_path: Path, speaker: Speaker) -> None:
    with Stack(tmp_path, {"one": speaker.unit + NOTIFY}) as stack:
        speaker.tell("notify READY=1")
        stack.wait("one", "running")
        speaker.tell("notify RELOADING=1\\nMONOTONIC_USEC=1")
        stack.until(lambda: stack.row("one")["state"] == "reloading", "reloading")
        speaker.tell("notify READY=1")
        stack.until(lambda: stack.row("one")["state"] == "running", "running again")


def test_parked_descriptors_come_back_after_restart_and_manager_death(
    tmp_path: Path, speaker: Speaker
) -> None:
    with Stack(tmp_path, {"one": speaker.unit + NOTIFY + "[restart]\ndelay = 0\n"}) as stack:
        speaker.facts(stack, "start")
        speaker.tell("notify READY=1", "store alpha one two", "store beta three", "barrier")
        speaker.facts(stack, "barrier")
        manager = stack.manager
        os.kill(manager, signal.SIGKILL)
        stack.until(lambda: stack.manager not in (0, manager), "another manager")
        stack.until(stack.answers, "it to answer")
        os.kill(stack.row("one")["pid"], signal.SIGKILL)
        assert speaker.facts(stack, "start", 2)["fds"] == {"alpha": "one two", "beta": "three"}
        speaker.tell("notify READY=1\\nFDSTOREREMOVE=1\\nFDNAME=alpha", "barrier")
        speaker.facts(stack, "barrier", 2)
        stack.wait("one", "running")
        stack.call("Restart", units=["one"], wait=False)
        assert speaker.facts(stack, "start", 3)["fds"] == {"beta": "three"}
        stack.call("Stop", units=["one"])
        stack.call("Start", units=["one"], wait=False)
        assert speaker.facts(stack, "start", 4)["fds"] == {}


def test_a_hung_service_is_replaced(tmp_path: Path, speaker: Speaker) -> None:
    unit = speaker.unit + NOTIFY + 'watchdog = "400ms"\n[restart]\ndelay = 0\n'
    with Stack(tmp_path, {"one": unit}) as stack:
        first = speaker.facts(stack, "start")
        assert first["env"]["WATCHDOG_USEC"] == "400000"
        assert first["env"]["WATCHDOG_PID"] == str(first["pid"])
        speaker.tell("notify READY=1")  # only then is it watched
        speaker.facts(stack, "start", 2)
        row = stack.row("one")
        assert row["last_exit"].startswith("killed by SIGABRT")
        chain = [t["cause"] for t in stack.call("Why", unit="one")["chain"]]
        assert "no watchdog ping for 400ms" in chain
        speaker.tell("notify READY=1\\nWATCHDOG=trigger")
        speaker.facts(stack, "start", 3)


def test_another_process_of_the_unit_may_become_the_main_one(
    tmp_path: Path, speaker: Speaker
) -> None:
    with Stack(tmp_path, {"one": speaker.unit + NOTIFY + "[restart]\ndelay = 0\n"}) as stack:
        first = speaker.facts(stack, "start")["pid"]
        speaker.tell("fork", "facts")
        child = speaker.facts(stack, "facts")["pid"]
        assert child != first
        speaker.tell(f"notify READY=1\\nMAINPID={child}")
        stack.wait("one", "running", test=lambda row: row["pid"] == child)
        os.kill(first, signal.SIGKILL)
        stack.until(lambda: not alive(first), "the first process to end")
        assert stack.row("one")["state"] == "running"
        os.kill(child, signal.SIGKILL)
        speaker.facts(stack, "start", 2)
        assert stack.row("one")["last_exit"] == "killed by SIGKILL"


def test_a_stranger_is_not_believed(tmp_path: Path, speaker: Speaker) -> None:
    stranger = Speaker(tmp_path, "stranger")
    units = {"one": speaker.unit + NOTIFY, "two": stranger.unit + NOTIFY}
    with Stack(tmp_path, units) as stack:
        mine = speaker.facts(stack, "start")
        other = stranger.facts(stack, "start")
        assert mine["env"]["NOTIFY_SOCKET"] != other["env"]["NOTIFY_SOCKET"]
        stranger.tell(f"notify MAINPID={mine['pid']}", "barrier")
        stranger.facts(stack, "barrier")
        assert stack.row("two")["pid"] == other["pid"]
        speaker.tell("notify READY=1")
        stack.wait("one", "running")
        assert stack.row("two")["state"] == "starting"


def test_a_parked_descriptor_that_hangs_up_is_forgotten(tmp_path: Path, speaker: Speaker) -> None:
    with Stack(tmp_path, {"one": speaker.unit + NOTIFY + "[restart]\ndelay = 0\n"}) as stack:
        first = speaker.facts(stack, "start")["pid"]
        speaker.tell("notify READY=1", "store kept text", "park gone", "barrier")
        speaker.facts(stack, "barrier")
        manager = stack.manager
        os.kill(manager, signal.SIGKILL)
        stack.until(lambda: stack.manager not in (0, manager), "another manager")
        stack.until(stack.answers, "it to answer")
        speaker.tell("unpark", "barrier")
        speaker.facts(stack, "barrier", 2)
        stack.call("Status")  # a round of the loop after the hang-up
        os.kill(first, signal.SIGKILL)
        assert speaker.facts(stack, "start", 2)["fds"] == {"kept": "text"}
