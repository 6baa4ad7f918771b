"""`unboxed exec`: a command among a unit's processes, from pipes and from a terminal."""
from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.stack import PATIENCE, ROOT, Stack, alive

SLEEP = 'command = ["/bin/sleep", "1000"]\n'
BOXED = SLEEP + (
    '[sandbox]\nprocesses = "own"\nhostname = "boxed"\n'
    'promises = ["stdio", "rpath", "exec", "proc", "tty"]\n'
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def argv(stack: Stack, *words: str) -> list[str]:
    where = ["--runtime-dir", str(stack.runtime)]
    return [sys.executable, "-m", "supervisor.cli", *where, "exec", *words]


def start(stack: Stack, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        argv(stack, *words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def run(stack: Stack, *words: str, given: str = "") -> tuple[int, str, str]:
    with start(stack, *words) as process:
        out, err = process.communicate(given, PATIENCE)
    return process.returncode, out, err


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_it_has_the_units_group_environment_and_directory(tmp_path: Path) -> None:
    text = f'directory = "/usr"\n{SLEEP}[env]\nCOLOUR = "red"\n'
    with Stack(tmp_path, {"web": text}) as stack:
        main = stack.wait("web", "running")["pid"]
        code = "echo $COLOUR; pwd; tail -1 /proc/self/cgroup; cat; echo no >&2; exit 7"
        status, out, err = run(stack, "web", "--", "/bin/sh", "-c", code, given="hello")
        group = Path(f"/proc/{main}/cgroup").read_text().splitlines()[-1]
        assert (status, err) == (7, "no\n")
        assert out == f"red\n/usr\n{group}\nhello"
        assert stack.row("web")["pid"] == main


@needs_root
def test_it_is_in_the_units_namespaces_and_under_its_filter(tmp_path: Path) -> None:
    with Stack(tmp_path, {"web": 'user = "nobody"\n' + BOXED}) as stack:
        main = stack.wait("web", "running")["pid"]
        code = (
            "hostname; id -u; grep -E 'NSpid|CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status;"
            " readlink /proc/self/ns/uts; readlink /proc/self/ns/pid;"
            " ls /proc/self/fd | tr '\\n' ' '"
        )
        status, out, _ = run(stack, "web", "--", "/bin/sh", "-c", code)
        lines = [line.split() for line in out.splitlines()]
        known = {words[0]: words[1:] for words in lines if words[0].endswith(":")}
        assert status == 0
        assert (lines[0], lines[1]) == (["boxed"], ["65534"])
        assert int(known["NSpid:"][-1]) < 100
        assert int(known["CapEff:"][0], 16) == int(known["CapBnd:"][0], 16) == 0
        assert (known["NoNewPrivs:"], known["Seccomp:"]) == (["1"], ["2"])
        for name in ("uts", "pid"):
            assert [os.readlink(f"/proc/{main}/ns/{name}")] in lines
        assert lines[-1] == ["0", "1", "2", "3"]
        status, _, err = run(stack, "web", "--", "/bin/mkdir", str(tmp_path / "made"))
        assert status == 1
        assert "Operation not permitted" in err


def test_a_signal_ends_it_with_the_number_that_shells_know(tmp_path: Path) -> None:
    with Stack(tmp_path, {"web": SLEEP}) as stack:
        stack.wait("web", "running")
        assert run(stack, "web", "--", "/bin/sh", "-c", "kill -KILL $$")[0] == 137


def test_what_cannot_be_executed_is_said(tmp_path: Path) -> None:
    with Stack(tmp_path, {"web": SLEEP, "off": "autostart = false\n" + SLEEP}) as stack:
        stack.wait("web", "running")
        status, _, err = run(stack, "web", "--", "/no/such/program")
        assert status == 1
        assert err.startswith("cannot execute a command in web: cannot execute it: No such file")
        status, _, err = run(stack, "off", "--", "/bin/true")
        assert (status, err) == (
            3, "cannot execute a command in off: it is not running; nothing was started\n")
        assert run(stack, "none", "--", "/bin/true")[0] == 3
        assert run(stack, "web")[0] == 2


def test_it_is_stopped_with_its_unit(tmp_path: Path) -> None:
    with Stack(tmp_path, {"web": SLEEP + '[stop]\nladder = ["TERM", "50ms", "KILL"]\n'}) as stack:
        stack.wait("web", "running")
        code = "trap '' TERM; echo $$; while :; do sleep 1; done"
        with start(stack, "web", "--", "/bin/sh", "-c", code) as process:
            pid = int(first_line(process))
            assert pid in [one["pid"] for one in stack.call("Describe", unit="web")["tree"]]
            stack.call("Stop", units=["web"], wait=True)
            assert process.wait(PATIENCE) == 137
            assert not alive(pid)


def test_who_leaves_takes_it_along(tmp_path: Path) -> None:
    with Stack(tmp_path, {"web": SLEEP}) as stack:
        stack.wait("web", "running")
        with start(stack, "web", "--", "/bin/sh", "-c", "echo $$; exec sleep 1000") as process:
            pid = int(first_line(process))
            process.kill()
        stack.until(lambda: not alive(pid), "the command to end")
        assert stack.row("web")["state"] == "running"


def test_it_ends_with_the_manager_that_would_tell_of_its_end(tmp_path: Path) -> None:
    with Stack(tmp_path, {"web": SLEEP}) as stack:
        main = stack.wait("web", "running")["pid"]
        with start(stack, "web", "--", "/bin/sh", "-c", "echo $$; exec sleep 1000") as process:
            pid = int(first_line(process))
            os.kill(stack.manager, signal.SIGKILL)
            stack.until(lambda: not alive(pid), "the command to end")
            assert process.wait(PATIENCE) == 1
        row = stack.wait("web", "running")
        assert row["pid"] == main
        assert run(stack, "web", "--", "/bin/true")[0] == 0


class Terminal:
    """The command line on a terminal of its own."""

    def __init__(self, stack: Stack, *words: str) -> None:
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.environ.update(PYTHONPATH=str(ROOT), TERM="vt100")
            os.execv(sys.executable, argv(stack, *words))
        self.text = ""

    def until(self, words: str) -> str:
        deadline = time.monotonic() + PATIENCE
        while words not in self.text:
            assert time.monotonic() < deadline, self.text
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.fd, 4096).decode()
                except OSError:
                    break
        assert words in self.text, self.text
        return self.text

    def end(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def test_on_a_terminal_it_gets_one_of_its_own_and_keys_reach_it(tmp_path: Path) -> None:
    with Stack(tmp_path, {"web": SLEEP}) as stack:
        stack.wait("web", "running")
        terminal = Terminal(stack, "--shell", "web")
        os.write(terminal.fd, b"stty -echo; echo at $TERM; tty; echo size; exit 5\n")
        text = terminal.until("size\r\n")
        assert "at vt100" in text
        shown = [line for line in text.split() if line.startswith("/dev/pts/")]
        assert shown
        assert os.ttyname(terminal.fd) not in shown[-1:] or shown[-1] != os.ttyname(terminal.fd)
        assert terminal.end() == 5


def test_ctrl_c_is_the_commands(tmp_path: Path) -> None:
    with Stack(tmp_path, {"web": SLEEP}) as stack:
        stack.wait("web", "running")
        code = "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.1; done"
        terminal = Terminal(stack, "web", "--", "/bin/sh", "-c", code)
        terminal.until("ready")
        os.write(terminal.fd, b"\x03")
        terminal.until("caught")
        assert terminal.end() == 9
