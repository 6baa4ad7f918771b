"""The commands against a real supervisor: what people type, and what they then see."""
from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stack import Stack, alive, keeper_binary
from tests.terminal import ROOT, Terminal

UNITS = {
    "web": """
        command = ["/bin/sh", "-c", "echo serving $INSTANCE; exec sleep 1000"]
        instances = 2
        needs.requires = ["db"]
    """,
    "db": """
        command = ["/bin/sh", "-c", "echo db is up; exec sleep 1000"]
        restart.delay = 0
        reload.signal = "USR1"
    """,
    "broken": """
        command = ["/bin/sh", "-c", "exit 3"]
        autostart = false
        restart.delay = "1h"
    """,
    "never": """
        command = ["/bin/sleep", "1000"]
        autostart = false
        start.ready = "notify"
        start.timeout = "300ms"
        restart.when = "never"
    """,
    "job": 'command = "/bin/true"\nkind = "task"',
}


class Shell:
    """Types `unboxed ...` for a supervisor."""

    def __init__(self, home: Path, runtime: Path, log: Path) -> None:
        self.env = {"UNBOXED_RUNTIME_DIR": str(runtime), "UNBOXED_LOG_DIR": str(log),
                    "UNBOXED_STATE_DIR": str(home / "state"), "UNBOXED_INIT": keeper_binary()}

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "supervisor.cli", *words], capture_output=True, text=True,
            cwd=ROOT, env={**os.environ, **self.env}, check=False, timeout=60)

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json").stdout)

    def states(self) -> dict[str, str]:
        return {one["key"]: one["state"] for one in self.json("status")["instances"]}


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ub-") as directory:
        yield Path(directory)


@pytest.fixture
def stack(home: Path) -> Iterator[Stack]:
    with Stack(home, UNITS) as running:
        for key, state in (("web/0", "running"), ("web/1", "running"), ("job", "finished")):
            running.wait(key, state)
        yield running


@pytest.fixture
def unboxed(stack: Stack) -> Shell:
    return Shell(stack.home, stack.runtime, stack.log)


def test_status_shows_each_instance_with_its_real_pid(stack: Stack, unboxed: Shell) -> None:
    done = unboxed("status")
    assert (done.returncode, done.stderr) == (0, "")
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines()[1:]}
    assert set(rows) == {"web/0", "web/1", "db", "broken", "never", "job"}
    assert rows["db"][1] == "running"
    assert alive(int(rows["db"][3]))
    assert unboxed("status", "db", "web").returncode == 0
    assert unboxed("status", "broken").returncode == 3


def test_one_unit_is_shown_with_its_processes_its_causes_and_its_last_words(
    stack: Stack, unboxed: Shell
) -> None:
    text = unboxed("status", "web/1").stdout
    assert text.startswith("web/1")
    assert "sleep 1000" in text
    assert "serving 1" in text
    assert "Causes" in text


def test_stopping_takes_dependents_along_and_starting_brings_back_what_is_needed(
    stack: Stack, unboxed: Shell
) -> None:
    assert unboxed("stop", "db").returncode == 0
    states = unboxed.states()
    assert {states[key] for key in ("db", "web/0", "web/1")} == {"stopped"}
    assert unboxed("stop", "db").returncode == 0  # it already is
    done = unboxed("start", "web*")
    assert done.returncode == 0
    assert {line.partition(":")[0] for line in done.stdout.splitlines()} == {"web/0", "web/1"}
    states = unboxed.states()
    assert {states[key] for key in ("db", "web/0", "web/1")} == {"running"}


def test_restart_gives_a_new_process_and_freeze_and_thaw_do_not(
    stack: Stack, unboxed: Shell
) -> None:
    before = stack.row("db")["pid"]
    if stack.row("db")["tracking"] == "cgroup":
        assert unboxed("freeze", "db").returncode == 0
        assert unboxed.states()["db"] == "frozen"
        assert unboxed("thaw", "db").returncode == 0
        assert stack.row("db")["pid"] == before
    assert unboxed("restart", "db").returncode == 0
    assert stack.row("db")["pid"] != before


def test_kill_is_answered_by_the_restart_policy_and_why_tells_the_story(
    stack: Stack, unboxed: Shell
) -> None:
    before = stack.row("db")["pid"]
    assert unboxed("kill", "--signal", "KILL", "db").returncode == 0
    stack.wait("db", "running", test=lambda row: row["pid"] != before)
    assert "killed by SIGKILL" in unboxed("why", "db").stdout
    assert stack.row("db")["restarts"] == 1
    assert unboxed("reset-failed", "db").returncode == 0


def test_a_service_that_fails_and_one_that_is_never_ready_have_their_exit_codes(
    stack: Stack, unboxed: Shell
) -> None:
    done = unboxed("start", "never")
    assert done.returncode in {1, 5}
    assert done.stderr.startswith("cannot start never: ")
    assert unboxed("start", "--no-wait", "broken").returncode == 0
    stack.wait("broken", "backoff")
    assert "exit 3; next try in " in unboxed("status").stdout
    done = unboxed("start", "nosuch")
    assert done.returncode == 3
    assert "nosuch" in done.stderr
    done = unboxed("status", "nosuch*")
    assert done.returncode == 3
    assert "no unit matches 'nosuch*'" in done.stderr


def test_logs_are_merged_and_bounded_and_follow(stack: Stack, unboxed: Shell) -> None:
    stack.until(lambda: "serving 1" in unboxed("logs", "web").stdout, "the log of web/1")
    lines = [line.split(" ", 2) for line in unboxed("logs", "db", "web").stdout.splitlines()]
    assert {(key, text) for _, key, text in lines} == {
        ("db", "db is up"), ("web/0", "serving 0"), ("web/1", "serving 1")}
    assert [time for time, _, _ in lines] == sorted(time for time, _, _ in lines)
    with subprocess.Popen(
        [sys.executable, "-m", "supervisor.cli", "logs", "-f", "db"], text=True,
        stdout=subprocess.PIPE, cwd=ROOT, env={**os.environ, **unboxed.env},
    ) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline().endswith(" db db is up\n")  # so it has begun to follow
        unboxed("restart", "db")
        assert follower.stdout.readline().endswith(" db db is up\n")
        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) == 130


def test_events_come_as_they_happen(stack: Stack, unboxed: Shell) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "supervisor.cli", "events", "--json"], text=True,
        stdout=subprocess.PIPE, cwd=ROOT, env={**os.environ, **unboxed.env},
    ) as follower:
        assert follower.stdout is not None
        while not select.select([follower.stdout], [], [], 0.1)[0]:  # until it has begun
            unboxed("restart", "db")
        seen = json.loads(follower.stdout.readline())
        follower.terminate()
    assert set(seen) == {"id", "key", "time_ns", "from", "to", "cause", "cause_id"}


def test_explain_names_the_steps_and_the_mechanisms(stack: Stack, unboxed: Shell) -> None:
    answer = unboxed.json("explain", "db")
    assert answer["steps"][-1]["step"].upper() == "EXEC"
    assert any(key["key"] == "umask" for key in answer["keys"])


def test_reload_takes_all_files_or_none(stack: Stack, unboxed: Shell) -> None:
    assert unboxed("reload").stdout == "unit files are unchanged\n"
    stack.write("extra", 'command = "/bin/sleep 1000"')
    bad = stack.write("worse", 'comand = "/bin/true"')
    done = unboxed("reload")
    assert done.returncode == 1
    assert f"{bad}:1: comand: " in done.stderr
    assert "extra" not in unboxed.states()
    bad.unlink()
    assert "added: extra" in unboxed("reload").stdout
    assert "extra" in unboxed.states()


def test_reload_spares_what_does_not_handle_its_signal(stack: Stack, unboxed: Shell) -> None:
    assert unboxed("reload", "job").returncode == 3
    before = stack.row("db")["pid"]
    answer = unboxed("reload", "db")
    assert answer.returncode == 1
    assert "it does not handle SIGUSR1, which would end it" in answer.stdout + answer.stderr
    assert stack.row("db")["pid"] == before


def test_try_makes_a_transient_unit_with_keys_of_a_unit_file(stack: Stack, unboxed: Shell) -> None:
    done = unboxed("try", "--json", "--env.GREETING=hello", "--restart.when=never", "--",
                   "/bin/sh", "-c", "echo $GREETING; exec sleep 1000")
    assert (done.returncode, done.stderr) == (0, "")
    name = json.loads(done.stdout)["unit"]
    assert unboxed.states()[name] == "running"
    stack.until(lambda: " hello\n" in unboxed("logs", name).stdout, "its output")
    assert unboxed("stop", name).returncode == 0
    done = unboxed("try", "--umask=999", "--", "/bin/true")
    assert done.returncode == 1
    assert "umask" in done.stderr


def test_upgrade_touches_no_service(stack: Stack, unboxed: Shell) -> None:
    pids = {key: row["pid"] for key, row in stack.rows().items()}
    done = unboxed("upgrade")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("upgraded: ")
    assert {key: row["pid"] for key, row in stack.rows().items()} == pids


def test_run_without_a_terminal_is_the_supervisor_itself(home: Path) -> None:
    (home / "units").mkdir()
    (home / "units" / "web.toml").write_text('command = "/bin/sleep 1000"')
    unboxed = Shell(home, home / "rt", home / "log")
    with subprocess.Popen(
        [sys.executable, "-m", "supervisor.cli", "run", "--units", str(home / "units")],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
        env={**os.environ, **unboxed.env},
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "web: up (started)\n"
            while unboxed("status", "web").returncode != 0:
                assert process.poll() is None
            second = unboxed("run", "--units", str(home / "units"))
            assert second.returncode == 1
            assert "another supervisor does" in second.stderr
            pid = unboxed.json("status")["instances"][0]["pid"]
        finally:
            process.terminate()
        assert process.wait(20) == 0
    assert not alive(pid)
    assert unboxed("status").returncode == 3


def test_run_on_a_terminal_shows_states_and_logs_and_ctrl_c_leaves_nothing(home: Path) -> None:
    (home / "units").mkdir()
    (home / "units" / "web.toml").write_text(
        'command = ["/bin/sh", "-c", "echo hello; exec sleep 1000"]')
    (home / "units" / "stubborn.toml").write_text(
        """command = ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]"""
        '\nstop.ladder = ["TERM", "1h"]')
    unboxed = Shell(home, home / "rt", home / "log")
    terminal = Terminal(["run", "--units", str(home / "units")],
                        {**unboxed.env, "NO_COLOR": "1"}, columns=120)
    terminal.until("| hello")
    terminal.until("2 up")
    pids = [one["pid"] for one in unboxed.json("status")["instances"]]
    terminal.interrupt()
    terminal.until("stubborn: ending its processes, ")
    terminal.interrupt()
    assert terminal.end() == 0
    assert terminal.lines[-2].endswith("> everything has stopped")
    assert not any(map(alive, pids))
    assert not (home / "rt" / "control").exists()


def test_run_on_a_terminal_outlives_the_death_of_its_manager(home: Path) -> None:
    (home / "units").mkdir()
    (home / "units" / "web.toml").write_text('command = "/bin/sleep 1000"')
    unboxed = Shell(home, home / "rt", home / "log")
    terminal = Terminal(["run", "--units", str(home / "units")],
                        {**unboxed.env, "NO_COLOR": "1"}, columns=120)
    terminal.until("1 up")
    os.kill(unboxed.json("status")["supervisor"]["pid"], signal.SIGKILL)
    terminal.until("the manager was replaced, no service was touched")
    terminal.until("1 up")
    terminal.interrupt()
    assert terminal.end() == 0
