"""The small init: one command, as tini and dumb-init run it, by the name it is called."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.keeper.keeperclient import keeper_binary, parent_of, wait_for_end, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

FOREVER = "while :; do sleep 0.01; done"  # in a shell that handles signals


@pytest.fixture(scope="module")
def names() -> Iterator[Path]:
    """A directory in which the program is called tini and dumb-init."""
    with tempfile.TemporaryDirectory() as directory:
        for name in ("tini", "tini-static", "dumb-init", "unboxed-init"):
            (Path(directory) / name).symlink_to(keeper_binary())
        yield Path(directory)


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def start(*command: str | Path, **environment: str) -> subprocess.Popen[str]:
    """A command that says `ready` when it is."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    assert process.stdout
    with process:
        output = process.stdout.read()
    return process.returncode, output


def test_exit_status_is_the_command_s(names: Path) -> None:
    for name in ("tini", "tini-static", "dumb-init", "unboxed-init"):
        init = names / name
        for status in (0, 1, 42, 255):
            assert run(init, "--", "/bin/sh", "-c", f"exit {status}").returncode == status
            assert run(init, "/bin/sh", "-c", f"exit {status}").returncode == status
        assert run(init, "--", "/bin/sh", "-c", "kill -TERM $$").returncode == 128 + 15


def test_command_that_cannot_be_executed(names: Path) -> None:
    for name, missing, forbidden in (
        ("tini", 127, 126),
        ("unboxed-init", 127, 126),
        ("dumb-init", 2, 2),
    ):
        result = run(names / name, "--", "/nonexistent")
        assert result.returncode == missing
        assert "cannot execute /nonexistent: No such file or directory" in result.stderr
        assert run(names / name, "--", "/etc/passwd").returncode == forbidden


def test_usage_and_version(names: Path) -> None:
    for name, options in (
        ("tini", ["-h", "--version", "-l"]),
        ("dumb-init", ["-h", "--help", "-V", "--version"]),
    ):
        for option in options:
            assert run(names / name, option).returncode == 0
        for wrong in (
            [],
            ["-x", "true"],
            ["-e"],
            ["-e", "256", "true"],
            ["-p", "SIGX", "true"],
            ["-r", "1"],
            ["-r", "32:1", "true"],
            ["--nonsense", "true"],
        ):
            result = run(names / name, *wrong)
            assert result.returncode == 1
            assert "usage: " in result.stderr


def test_status_is_remapped_to_zero(names: Path) -> None:
    command = ("/bin/sh", "-c", "kill -TERM $$")
    assert run(names / "tini", "-e", "143", "--", *command).returncode == 0
    assert run(names / "tini", "-e143", "-e", "5", *command).returncode == 0
    assert run(names / "tini", "-e", "1", *command).returncode == 143


def test_signal_goes_to_the_command_or_its_group(names: Path) -> None:
    """The shell outlives what it waits for only if the group was not meant."""
    script = (
        "trap 'echo shell; exit 3' USR1; sleep 1000 & trap 'kill $!' EXIT; echo ready; wait; wait"
    )
    inner = f"trap 'echo child; exit 0' USR1; echo ready; {FOREVER}"
    both = f"trap 'wait; echo shell; exit 3' USR1; sh -c \"{inner}\" & wait; wait"
    init = names / "tini"
    single = start(init, "-s", "--", "/bin/sh", "-c", script)
    single.send_signal(signal.SIGUSR1)
    assert finish(single) == (3, "shell\n")
    for command in ([init, "-s", "-g", "--"], [names / "dumb-init"], [init, "-sg"]):
        group = start(*command, "/bin/sh", "-c", both)
        group.send_signal(signal.SIGUSR1)
        assert finish(group) == (3, "child\nshell\n")
    group = start(init, "-s", "/bin/sh", "-c", both, TINI_KILL_PROCESS_GROUP="")
    group.send_signal(signal.SIGUSR1)
    assert finish(group) == (3, "child\nshell\n")
    for options, environment in (
        (["-c"], {}),
        (["--single-child"], {}),
        ([], {"DUMB_INIT_SETSID": "0"}),
    ):
        single = start(names / "dumb-init", *options, "/bin/sh", "-c", script, **environment)
        single.send_signal(signal.SIGUSR1)
        assert finish(single) == (3, "shell\n")


def test_dumb_init_rewrites_and_drops_signals(names: Path) -> None:
    script = f"trap 'echo int' INT; trap 'echo usr2; exit 0' USR2; echo ready; {FOREVER}"
    for options in (
        ["-r", "15:2", "-r", "1:0", "-r10:12"],
        ["--rewrite", "15:2", "--rewrite=1:0", "--rewrite", "10:12"],
    ):
        init = start(names / "dumb-init", *options, "/bin/sh", "-c", script)
        assert init.stdout
        init.send_signal(signal.SIGHUP)  # dropped: it would have ended the shell
        init.send_signal(signal.SIGTERM)
        assert init.stdout.readline() == "int\n"
        init.send_signal(signal.SIGUSR1)
        assert finish(init) == (0, "usr2\n")


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_dumb_init_suspends_with_its_command(names: Path) -> None:
    init = start(names / "dumb-init", "/bin/sh", "-c", "echo ready; exec sleep 1000")
    child = int(Path(f"/proc/{init.pid}/task/{init.pid}/children").read_text())
    init.send_signal(signal.SIGTSTP)
    wait_until(lambda: (state_of(init.pid), state_of(child)) == ("T", "T"))
    init.send_signal(signal.SIGCONT)
    wait_until(lambda: "T" not in (state_of(init.pid), state_of(child)))
    init.send_signal(signal.SIGTERM)
    assert finish(init) == (128 + 15, "")


def test_orphans_are_reaped(names: Path) -> None:
    script = "(sleep 0.05 & echo $!) ; echo ready; exec sleep 1000"
    tini: list[str | Path] = [names / "tini", "-s"]
    for command in (tini, [*tini, "-w"]):
        init = subprocess.Popen(
            [*command, "--", "/bin/sh", "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert init.stdout
        assert init.stderr
        orphan = int(init.stdout.readline())
        assert init.stdout.readline() == "ready\n"
        if "-w" in command:
            assert init.stderr.readline() == f"unboxed-init: reaped process {orphan}\n"
        wait_until(partial(gone, orphan))
        init.terminate()
        with init:
            assert init.stderr.read() == ""
        assert init.returncode == 128 + 15


def test_warning_where_orphans_are_lost(names: Path) -> None:
    assert "orphans will not be reaped" in run(names / "tini", "true").stderr
    assert run(names / "tini", "-s", "true").stderr == ""
    assert run(names / "tini", "true", TINI_SUBREAPER="").stderr == ""
    assert run(names / "tini", "true", TINI_VERBOSITY="0").stderr == ""
    assert run(names / "dumb-init", "true").stderr == ""


def test_more_words_on_demand(names: Path) -> None:
    assert "started true as process" in run(names / "tini", "-s", "-v", "true").stderr
    assert "ended with status 0" in run(names / "dumb-init", "-v", "true").stderr
    assert "ended with status 0" in run(names / "dumb-init", "true", DUMB_INIT_DEBUG="1").stderr


def test_parent_s_death_is_a_signal(names: Path) -> None:
    parent = subprocess.Popen(
        [
            "/bin/sh",
            "-c",
            f"'{names}/tini' -s -p SIGTERM -- /bin/sh -c 'echo $PPID; exec sleep 1000' & wait",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout
    init = int(parent.stdout.readline())
    assert parent_of(init) == parent.pid
    with parent:
        parent.kill()
    wait_for_end(init)


def test_command_has_the_terminal(names: Path) -> None:
    """tini makes its group the foreground one, dumb-init gives it a session of its own."""
    script = "import os; print(os.tcgetpgrp(0) == os.getpgrp(), os.getsid(0) == os.getpid())"
    for name, session in (("tini", "False"), ("dumb-init", "True")):
        options = ["-s"] if name == "tini" else []
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(names / name, [name, *options, "--", "python3", "-I", "-S", "-c", script])
        said = b""
        while b"\n" not in said:
            said += os.read(terminal, 1000)
        assert said.decode().split()[-2:] == ["True", session]
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        os.close(terminal)
