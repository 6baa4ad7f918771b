"""What is over and has no definition is forgotten, by manager and keeper; its log stays."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from supervisor.manager.transient import MOST
from tests.stack import Refused, Stack, alive

SLEEP = 'command = ["/bin/sleep", "1000"]\n'
CRASH = 'command = ["/bin/false"]\n[restart]\nwhen = "always"\ndelay = "1h"\nmax_delay = "1h"\n'
TRIES = 300


def streams(stack: Stack) -> int:
    """Pipes that the keeper holds: one for each log stream."""
    folder = f"/proc/{stack.keeper}/fd"
    return sum(os.readlink(f"{folder}/{fd}").startswith("pipe:") for fd in os.listdir(folder))


def try_(stack: Stack, *command: str, **keys: Any) -> str:
    return str(stack.call("Try", command=list(command), keys=keys)["unit"])


def test_hundreds_of_tries_leave_nothing_in_the_keeper(tmp_path: Path) -> None:
    with Stack(tmp_path, {"one": SLEEP}) as stack:
        stack.wait("one", "running")
        before = streams(stack)
        names = []
        for number in range(TRIES):
            name = try_(stack, "/bin/sh", "-c", f"echo {number}; exit {number % 2}")
            names.append(name)
            stack.call("Start", units=[name], wait=True)  # as the command does
        assert len(set(names)) == TRIES, "no name twice: the log of each is its own"
        stack.until(lambda: len(stack.rows()) <= MOST + 1, "all but the last to be forgotten")
        stack.until(lambda: streams(stack) <= before + MOST, "their streams to be closed")
        assert len(list((stack.runtime / "units").iterdir())) <= MOST
        with pytest.raises(Refused):
            stack.call("Why", unit=names[0])
        for number in (0, TRIES - 1):
            log = stack.log / names[number]
            stack.until(lambda log=log: list(log.glob("*.log")), "the log")  # type: ignore[misc]
            said = b"".join(path.read_bytes() for path in log.glob("*.log"))
            assert said == f"{number}\n".encode(), "each ran once"


def test_tries_that_nobody_waits_for_stay_a_while_but_not_all(tmp_path: Path) -> None:
    with Stack(tmp_path, {"one": SLEEP}) as stack:
        names = [try_(stack, "/bin/true") for _ in range(MOST + 20)]
        stack.until(
            lambda: all(row["state"] in ("running", "finished") for row in stack.rows().values())
            and len(stack.rows()) == MOST + 1,
            "the oldest to be forgotten",
        )
        last = set(names[40:])  # they do not end exactly in the order in which they began
        assert last < set(stack.rows())
        os.kill(stack.manager, signal.SIGKILL)
        stack.until(stack.answers, "another manager")
        assert last < set(stack.rows())
        (result,) = stack.call("Start", units=[names[-1]])["results"]
        assert (result["ok"], result["message"]) == (True, "finished"), "it does not run again"
        stack.until(lambda: names[-1] not in stack.rows(), "it to be forgotten, as that was told")
        assert try_(stack, "/bin/true") == f"try-{MOST + 21}"


@pytest.mark.parametrize("command, ok", [("exit 3", False), ("sleep 0.05; exit 3", False),
                                         ("sleep 0.05", True)])
def test_what_ends_at_once_is_told_as_its_end(tmp_path: Path, command: str, ok: bool) -> None:
    with Stack(tmp_path, {}) as stack:
        for _ in range(5):
            name = try_(stack, "/bin/sh", "-c", command)
            (result,) = stack.call("Start", units=[name], wait=True)["results"]
            assert result["ok"] is ok
            assert result["message"] == ("finished" if ok else (
                f"cannot try {name}: exit 3; its log stays, the unit is forgotten"))


def test_what_runs_on_is_told_as_running(tmp_path: Path) -> None:
    with Stack(tmp_path, {}) as stack:
        name = try_(stack, "/bin/sleep", "1000")
        (result,) = stack.call("Start", units=[name], wait=True)["results"]
        assert result["message"] == "running"


def test_the_next_supervisor_knows_nothing_of_what_was_tried(tmp_path: Path) -> None:
    stack = Stack(tmp_path, {"one": SLEEP}).begin()
    name = try_(stack, "/bin/sleep", "1000")
    pids = [stack.wait(key, "running")["pid"] for key in (name, "one")]
    manager = stack.manager
    assert stack.process is not None
    stack.process.kill()
    stack.process.wait()
    stack.until(lambda: not alive(manager), "the manager to find that out")
    for pid in pids:  # where there is no cgroup to find them by
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with stack:
        stack.wait("one", "running")
        assert set(stack.rows()) == {"one"}


def test_a_tried_service_is_forgotten_when_it_was_stopped(tmp_path: Path) -> None:
    with Stack(tmp_path, {"one": SLEEP}) as stack:
        name = try_(stack, "/bin/sleep", "1000", restart={"when": "always"})
        stack.wait(name, "running")
        stack.call("Stop", units=[name])
        stack.until(lambda: name not in stack.rows(), "it to be forgotten")


def test_a_name_whose_log_is_there_is_not_given_again(tmp_path: Path) -> None:
    (tmp_path / "log" / "try-41").mkdir(parents=True)
    (tmp_path / "log" / "try-no").mkdir()
    with Stack(tmp_path, {}) as stack:
        assert try_(stack, "/bin/true") == "try-42"


def test_a_unit_whose_file_is_gone_is_forgotten_with_its_stream(tmp_path: Path) -> None:
    units = {"stays": SLEEP, "down": SLEEP, "crashes": CRASH, "runs": SLEEP}
    with Stack(tmp_path, units) as stack:
        for name in ("stays", "down", "runs"):
            stack.wait(name, "running")
        stack.wait("crashes", "backoff")
        stack.call("Stop", units=["down"])
        assert streams(stack) > 4
        for name in ("down", "crashes", "runs"):
            (stack.units / f"{name}.toml").unlink()
        answer = stack.call("ReloadUnits")
        assert answer["removed"] == ["crashes", "down", "runs"]
        stack.until(lambda: set(stack.rows()) == {"stays", "runs"}, "them to be forgotten")
        os.kill(stack.row("runs")["pid"], signal.SIGKILL)
        stack.until(lambda: set(stack.rows()) == {"stays"}, "it not to be started again")
        left = {"stays", "unboxed"}
        stack.until(lambda: streams(stack) == len(left), f"only the streams of {left}")
        os.kill(stack.manager, signal.SIGKILL)
        stack.until(stack.answers, "another manager")
        assert set(stack.rows()) == {"stays"}


def test_what_waits_goes_on_when_its_unit_file_changes(tmp_path: Path) -> None:
    task = 'kind = "task"\ncommand = ["/bin/sleep", "1000"]\n'
    needy = SLEEP + '[needs]\nafter = [{unit = "slow", until = "finished"}]\n'
    late = SLEEP + "autostart = false"
    with Stack(tmp_path, {"slow": task, "one": needy, "late": late}) as stack:
        stack.wait("one", "waiting")
        stack.write("one", SLEEP + '[needs]\nrequires = ["late"]\n')
        assert stack.call("ReloadUnits")["changed"] == ["one"]
        stack.wait("one", "running")
        assert stack.row("late")["state"] == "running", "what it needs now was started"


def test_an_exit_names_the_operator(tmp_path: Path) -> None:
    never = '[restart]\nwhen = "never"\n'
    with Stack(tmp_path, {"one": SLEEP + never}) as stack:
        stack.wait("one", "running")
        stack.call("Kill", units=["one"], signal=int(signal.SIGKILL))
        row = stack.wait("one", "failed")
        words = f"killed by SIGKILL, sent by uid {os.geteuid()} with `unboxed kill`"
        assert (row["reason"], row["last_exit"]) == (words, words)


def test_a_reload_that_nobody_would_hear_is_an_error(tmp_path: Path) -> None:
    daemon = (
        'command = ["/bin/sh", "-c", "trap : HUP; sleep 1000 & exit 0"]\n'
        "[start]\nready = {exit = 0}\n"
    )
    slow = SLEEP + '[start]\nready = "notify"\n'
    with Stack(tmp_path, {"one": daemon, "two": slow}) as stack:
        stack.wait("one", "running", test=lambda row: row["pid"] == 0)
        (result,) = stack.call("Reload", units=["one"])["results"]
        assert (result["ok"], result["code"]) == (False, 1)
        assert "its main process is not known" in result["message"]
        stack.wait("two", "starting")
        (result,) = stack.call("Reload", units=["two"])["results"]
        assert result["message"] == "cannot reload two: it is starting; nothing was changed"


def test_a_waiting_client_is_told_of_progress_only_when_there_is_any(tmp_path: Path) -> None:
    slow = SLEEP + '[start]\nready = "notify"\n'
    with Stack(tmp_path, {"one": slow + "timeout = 0\n", "two": SLEEP}) as stack:
        stack.wait("one", "starting", test=lambda row: row["phase"] == "starting")
        ask = {"method": "io.unboxed.Supervisor.Start", "more": True,
               "parameters": {"units": ["one"]}}
        with stack.connect() as sock:
            sock.sendall(json.dumps(ask).encode() + b"\0")
            first = json.loads(sock.recv(1 << 16).rstrip(b"\0"))
            assert [row["state"] for row in first["parameters"]["progress"]] == ["starting"]
            for _ in range(5):  # each is many turns of the manager's loop
                stack.call("Restart", units=["two"])
            stack.call("Stop", units=["one"])
            data = b""
            while b"results" not in data:
                data += sock.recv(1 << 16)
        replies = [json.loads(text) for text in data.split(b"\0")[:-1]]
        states = [row["state"] for r in replies for row in r["parameters"].get("progress") or ()]
        assert states == ["stopping"], "nothing changed until it was stopped"
