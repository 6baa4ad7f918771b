"""Units come up, go down, restart and depend on one another: the real three processes."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.stack import PATIENCE, Refused, Stack, alive, children

SLEEP = 'command = ["/bin/sleep", "1000"]\n'


def test_a_unit_runs_and_is_stopped_with_the_supervisor(tmp_path: Path) -> None:
    with Stack(tmp_path, {"one": SLEEP}) as stack:
        pid = stack.wait("one", "running")["pid"]
        assert alive(pid)
    assert not alive(pid)


def test_what_a_unit_needs_is_up_before_it_and_down_after_it(tmp_path: Path) -> None:
    units = {"db": SLEEP, "web": SLEEP + '[needs]\nrequires = ["db"]\n'}
    with Stack(tmp_path, units) as stack:
        stack.wait("web", "running")
        stack.call("Stop", units=["db"])
        rows = stack.rows()
        assert rows["web"]["state"] == rows["db"]["state"] == "stopped"
        history = {
            (t["key"], t["to"]): t["id"]
            for key in ("db", "web")
            for t in stack.call("Describe", unit=key)["history"]
        }
        assert history["db", "up"] < history["web", "launching"]
        assert history["web", "down"] < history["db", "stopping"]


def test_a_killed_service_is_started_again_under_another_pid(tmp_path: Path) -> None:
    with Stack(tmp_path, {"one": SLEEP + "[restart]\ndelay = 0\n"}) as stack:
        first = stack.wait("one", "running")["pid"]
        os.kill(first, signal.SIGKILL)
        row = stack.wait("one", "running", test=lambda r: r["pid"] not in (0, first))
        assert row["restarts"] == 1
        assert row["last_exit"] == "killed by SIGKILL"


def test_a_task_runs_once_and_its_end_starts_what_waits_for_it(tmp_path: Path) -> None:
    units = {
        "prepare": 'kind = "task"\ncommand = ["/bin/true"]\n',
        "web": SLEEP + '[needs]\nrequires = [{unit = "prepare", until = "finished"}]\n',
    }
    with Stack(tmp_path, units) as stack:
        stack.wait("web", "running")
        assert stack.row("prepare")["state"] == "finished"


def test_a_start_that_fails_says_which_step_and_why(tmp_path: Path) -> None:
    unit = 'command = ["/no/such/program"]\n[restart]\nwhen = "never"\n'
    with Stack(tmp_path, {"one": unit}) as stack:
        row = stack.wait("one", "failed")
        assert "cannot execute it: No such file or directory: " in row["reason"]


def test_an_unknown_user_refuses_to_start(tmp_path: Path) -> None:
    unit = SLEEP + 'user = "nobody-of-that-name"\n[restart]\nwhen = "never"\n'
    with Stack(tmp_path, {"one": unit}) as stack:
        row = stack.wait("one", "failed")
        assert "no user nobody-of-that-name in /etc/passwd" in row["reason"]
        assert row["pid"] == 0


def test_instances_share_a_listener_and_have_their_own_index(tmp_path: Path) -> None:
    script = 'echo "$INSTANCE $LISTEN_FDS $LISTEN_PID=$$" >> OUT; exec sleep 1000'
    out = tmp_path / "out"
    unit = (
        f"command = ['/bin/sh', '-c', '''{script.replace('OUT', str(out))}''']\n"
        f'instances = 2\n[[listen]]\nname = "main"\naddress = "unix:{tmp_path}/s"\n'
    )
    with Stack(tmp_path, {"web": unit}) as stack:
        stack.wait("web/0", "running")
        stack.wait("web/1", "running")
        stack.until(lambda: out.exists() and len(out.read_text().splitlines()) == 2, "both lines")
        for line in out.read_text().splitlines():
            index, count, pids = line.split()
            assert index in "01"
            assert count == "1"
            assert len(set(pids.split("="))) == 1


def test_a_listener_outlives_its_service(tmp_path: Path) -> None:
    unit = f'{SLEEP}[[listen]]\nname = "main"\naddress = "unix:{tmp_path}/s"\n'
    with Stack(tmp_path, {"web": unit}) as stack:
        stack.wait("web", "running")
        inode = (tmp_path / "s").stat().st_ino
        stack.call("Restart", units=["web"])
        assert (tmp_path / "s").stat().st_ino == inode
        stack.call("Stop", units=["web"])
        assert not (tmp_path / "s").exists()


def test_the_ladder_ends_what_ignores_it(tmp_path: Path) -> None:
    unit = (
        "command = ['/bin/sh', '-c', \"trap '' TERM; while :; do sleep 1; done\"]\n"
        '[stop]\nladder = ["TERM", "200ms", "KILL"]\n'
    )
    with Stack(tmp_path, {"one": unit}) as stack:
        pid = stack.wait("one", "running")["pid"]
        stack.until(lambda: children(pid), "the trap to be set")
        result = stack.call("Stop", units=["one"])["results"][0]
        assert result["ok"], result
        assert stack.row("one")["last_exit"] == "killed by SIGKILL"


def test_unknown_units_are_refused_by_name(tmp_path: Path) -> None:
    with Stack(tmp_path, {"one": SLEEP}) as stack:
        with pytest.raises(Refused) as refused:
            stack.call("Start", units=["two"])
        assert refused.value.name == "NoSuchUnit"
        assert refused.value.parameters["unit"] == "two"


def test_a_second_supervisor_on_one_runtime_directory_is_refused(tmp_path: Path) -> None:
    with Stack(tmp_path, {"one": SLEEP}) as stack:
        pid = stack.wait("one", "running")["pid"]
        second = subprocess.run(
            stack.argv(), capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        assert second.returncode == 1
        assert "another supervisor is running there" in second.stderr
        assert stack.row("one")["pid"] == pid


def test_the_manager_may_be_killed_and_everything_goes_on(tmp_path: Path) -> None:
    with Stack(tmp_path, {"one": SLEEP, "two": SLEEP}) as stack:
        stack.wait("one", "running")
        stack.wait("two", "running")
        before = {key: row["pid"] for key, row in stack.rows().items()}
        manager = stack.manager
        os.kill(manager, signal.SIGKILL)
        stack.until(lambda: stack.manager not in (0, manager), "another manager")
        stack.until(stack.answers, "it to answer")
        assert {key: row["pid"] for key, row in stack.rows().items()} == before


def test_a_double_forking_daemon_does_not_escape(tmp_path: Path) -> None:
    unit = (
        "command = ['/bin/sh', '-c', 'setsid sleep 4321 & exit 0']\n"
        "[start]\nready = {exit = 0}\n"
    )
    with Stack(tmp_path, {"one": unit}) as stack:
        stack.wait("one", "running")

        def daemon() -> int:
            tree = stack.call("Describe", unit="one")["tree"]
            return next((p["pid"] for p in tree if p["command"] == "sleep 4321"), 0)

        pid = int(str(stack.until(daemon, "the daemon")))
        stack.call("Stop", units=["one"])
        assert not alive(pid)


def test_a_log_line_makes_ready(tmp_path: Path) -> None:
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    unit = (
        f"command = ['/bin/sh', '-c', 'echo begin; read x < {fifo}; echo now at your service; "
        "exec sleep 1000']\n[start]\nready = {log = \"at your s.rvice\"}\n"
    )
    with Stack(tmp_path, {"one": unit}) as stack:
        stack.wait("one", "starting")
        assert stack.row("one")["ready"] is False
        fifo.write_text("go\n")
        assert stack.wait("one", "running")["ready"] is True


def test_a_pipe_makes_ready(tmp_path: Path) -> None:
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    unit = (
        f"command = ['/bin/sh', '-c', 'read x < {fifo}; echo >&5; exec 5>&-; exec sleep 1000']\n"
        '[start]\nready = "fd:5"\n'
    )
    with Stack(tmp_path, {"one": unit}) as stack:
        stack.wait("one", "starting")
        fifo.write_text("go\n")
        stack.wait("one", "running")
