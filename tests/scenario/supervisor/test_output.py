"""[logs] to and stderr: where the output of a service, its hooks and a command among it goes."""

from __future__ import annotations

import json
import os
import select
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from supervisor.kernel import log_figures
from supervisor.logger.form import ENTRY, ERROR, LOSS, OUTPUT
from supervisor.logger.read import records
from tests.stack import Stack

SAYS = """command = ["/bin/sh", "-c", "echo out; echo err >&2; exec sleep 1000"]
start.before = [["/bin/sh", "-c", "echo hook; echo hook-err >&2"]]
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes a mount, or another user")


def stored(stack: Stack, key: str) -> bytes:
    return b"".join(path.read_bytes() for path in sorted((stack.log / key).glob("*.log")))


def targets(stack: Stack, key: str) -> list[str]:
    pid = stack.wait(key, "running")["pid"]
    return [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (1, 2)]


def test_null_stores_nothing(tmp_path: Path) -> None:
    with Stack(tmp_path, {"web": f'{SAYS}logs.to = "null"\n', "db": SAYS}) as stack:
        assert targets(stack, "web") == ["/dev/null", "/dev/null"]
        stack.wait("db", "running")
        stack.until(lambda: len(stored(stack, "db")) == 22, "what the other one said")
    assert not (tmp_path / "log" / "web").exists()


def test_inherit_is_the_supervisors_own_output(tmp_path: Path) -> None:
    with Stack(tmp_path, {"web": f'{SAYS}logs.to = "inherit"\n'}) as stack:
        assert targets(stack, "web") == [str(stack.errors)] * 2
        said = ["hook", "hook-err", "out", "err"]

        def heard() -> list[str]:
            return [line for line in stack.errors.read_text().splitlines() if line in said]

        stack.until(lambda: len(heard()) == len(said), "all four lines")
        assert heard() == said


@pytest.mark.parametrize("more", ["", 'sandbox.level = "app"\n'])
@needs_root
def test_the_console_is_opened_before_anything_is_given_up(tmp_path: Path, more: str) -> None:
    """A FIFO stands for it, in a mount namespace of this supervisor's own."""
    if not Path("/dev/console").exists():
        pytest.skip("there is no /dev/console to stand in for")
    console = tmp_path / "console"
    os.mkfifo(console, 0o600)
    end = os.open(console, os.O_RDWR | os.O_NONBLOCK)
    script = f'mount --bind {console} /dev/console && exec "$@"'
    prefix = ["unshare", "-m", "sh", "-c", script, "sh"]
    unit = f'user = "nobody"\n{SAYS}logs.to = "console"\n{more}'
    with Stack(tmp_path, {"web": unit}, prefix=prefix) as stack:
        stack.wait("web", "running")
        said = b""
        while len(said) < 22 and select.select([end], [], [], 10)[0]:
            said += os.read(end, 100)
        assert said == b"hook\nhook-err\nout\nerr\n"
    os.close(end)


@needs_root
def test_a_console_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    script = 'mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && exec "$@"'
    prefix = ["unshare", "-m", "sh", "-c", script, "sh"]
    with Stack(tmp_path, {"web": f'{SAYS}logs.to = "console"\n'}, prefix=prefix) as stack:
        reason = stack.wait("web", "backoff")["reason"]
        assert "cannot open /dev/console: No such file or directory (step OPEN" in reason


def test_errors_apart_are_one_log_of_two_kinds(tmp_path: Path) -> None:
    with Stack(tmp_path, {"web": f'{SAYS}logs.stderr = "separate"\n'}) as stack:
        out, err = targets(stack, "web")
        assert out != err
        assert out.startswith("pipe:")
        stack.until(lambda: len(stored(stack, "web")) == 22, "all four lines")
        data = stored(stack, "web")
        kinds: dict[int, bytes] = {}
        (index,) = (stack.log / "web").glob("*.idx")
        for _, begin, length, kind, _ in ENTRY.iter_unpack(index.read_bytes()):
            kinds[kind] = kinds.get(kind, b"") + data[begin : begin + length]
        assert kinds == {OUTPUT: b"hook\nout\n", ERROR: b"hook-err\nerr\n"}
        assert {path.name for path in stack.log.iterdir() if path.name[0] != "."} <= {
            "web", "unboxed",
        }


def test_streams_of_what_is_forgotten_are_dropped(tmp_path: Path) -> None:
    with Stack(tmp_path, {"web": f'{SAYS}logs.stderr = "separate"\n', "db": SAYS}) as stack:
        stack.wait("web", "running")
        pipes = set(targets(stack, "web"))
        keeper = Path(f"/proc/{stack.keeper}/fd")

        def held() -> set[str]:
            found = set()
            for path in keeper.iterdir():
                with suppress(FileNotFoundError):  # of a launch that has just ended
                    found.add(os.readlink(path))
            return pipes & found

        assert held() == pipes
        # What waits for the logger is let go of at the keeper's next turn after it was taken.
        stack.until(lambda: len(stored(stack, "web")) == 22, "all that it said to be stored")
        (stack.units / "web.toml").unlink()
        stack.call("ReloadUnits")
        stack.call("Stop", units=["web"], wait=True)
        stack.until(lambda: not held(), "both pipes to be closed")


def test_both_streams_outlive_the_manager_and_the_logger_after_it(tmp_path: Path) -> None:
    """Nobody but the keeper has a pipe while there is no logger: a write would kill the service."""
    says = "while :; do echo out; echo err >&2; sleep 0.05; done"
    unit = f'command = ["/bin/sh", "-c", "{says}"]\nlogs.stderr = "separate"\n'
    with Stack(tmp_path, {"web": unit}) as stack:
        before = stack.wait("web", "running")["pid"]
        stack.until(lambda: b"err" in stored(stack, "web"), "the first lines")
        manager = stack.manager
        os.kill(manager, signal.SIGKILL)
        stack.until(lambda: stack.answers() and stack.manager != manager, "the next manager")
        logger = stack.logger
        os.kill(logger, signal.SIGKILL)
        stack.until(lambda: stack.logger not in (0, logger), "the next logger")
        lines = stored(stack, "web").count(b"err")
        stack.until(lambda: stored(stack, "web").count(b"err") > lines + 2, "what it says now")
        row = stack.row("web")
        assert (row["pid"], row["restarts"]) == (before, 0)


def test_a_line_on_standard_error_apart_makes_it_ready(tmp_path: Path) -> None:
    unit = """command = ["/bin/sh", "-c", "echo starting; echo listening >&2; exec sleep 1000"]
start.ready = {log = "^listening$"}
logs.stderr = "separate"
"""
    with Stack(tmp_path, {"web": unit}) as stack:
        assert stack.wait("web", "running")["ready"]


def test_beyond_its_rate_what_a_unit_writes_is_stored_or_declared(tmp_path: Path) -> None:
    script = "for i in $(seq 1 30000); do echo $i; done; exec sleep 1000"
    unit = f'command = ["/bin/sh", "-c", "{script}"]\nlogs = {{rate = "50kB/s"}}\n'
    written = sum(len(str(number)) + 1 for number in range(1, 30001))
    with Stack(tmp_path, {"web": unit}) as stack:

        def counted() -> tuple[int, int, int]:
            return log_figures.read(f"{stack.runtime}/{log_figures.NAME}").get(
                "web", (0, 0, 0, 0))[:3]

        stack.until(lambda: sum(counted()[:2]) == written, "all of it to be taken")
        stack.until(lambda: not os.listdir(stack.runtime / "logger"), "losses to be declared")
        stored, lost, losses = counted()
        declared = [
            json.loads(line) for _, _, kind, line, *_ in records(str(stack.log), ["web"])
            if kind == LOSS
        ]
        assert sum(one["bytes"] for one in declared) == lost == written - stored
        assert len(declared) == losses >= 1
        assert {one["reason"] for one in declared} == {"rate"}
