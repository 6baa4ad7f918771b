"""On a terminal: colour, width, one progress line that goes away, and no control characters."""
from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.terminal import PATIENCE_S, ROOT, Terminal
from tests.unit.cli.fake import FakeSupervisor, instance, transition

CALM = {"NO_COLOR": "1"}


def busy(fake: FakeSupervisor) -> None:
    now = time.time_ns()
    fake.instances = [
        instance("db", pid=412, memory_bytes=12_900_000, cpu_ns=1_250_000_000,
                 status_text="12 clients\x1b[2J, 3 of them with a very long story to tell us"),
        instance("a-unit-with-quite-a-long-name/12", "backoff", last_exit="exit 1", restarts=4,
                 recent_restarts=4, restart_limit=10, next_try_ns=now + 12 * 10**9),
        instance("web", "failed", reason="exit 1"),
    ]


def test_the_table_fits_eighty_columns_and_is_coloured(fake: FakeSupervisor) -> None:
    busy(fake)
    terminal = Terminal(["status"])
    assert terminal.end() == 0
    lines = terminal.lines
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].startswith("db")
    assert lines[1].endswith("…")
    assert "a-unit-with-quite-…" in lines[2] or "a-unit-with-" in lines[2]
    assert lines[4] == "1 running, 1 backoff, 1 failed"
    assert "\x1b[32mrunning" in terminal.raw
    assert "\x1b[31;1mfailed" in terminal.raw
    assert "\x1b[2J" not in terminal.raw


def test_a_wide_terminal_shows_the_next_try_and_the_limit(fake: FakeSupervisor) -> None:
    busy(fake)
    terminal = Terminal(["status"], CALM, columns=140)
    terminal.end()
    assert "exit 1; next try in 12 s (4/10)" in terminal.screen()
    assert "\\x1b[2J" in terminal.screen()
    assert "\x1b[" not in terminal.raw


def test_raw_shows_what_the_service_sent_to_who_asks_for_it(fake: FakeSupervisor) -> None:
    fake.instances = [instance("db", status_text="\x1b[1mbold")]
    terminal = Terminal(["status", "--raw"], CALM)
    terminal.end()
    assert "\x1b[1mbold" in terminal.raw


def test_a_host_without_a_usable_cgroup_is_told_below_the_table(fake: FakeSupervisor) -> None:
    fake.instances = [instance("db")]
    fake.supervisor["tracking"] = "session"
    terminal = Terminal(["status"], CALM)
    terminal.end()
    assert "note: no cgroup is usable here" in terminal.screen()


def progress(seconds: int, **fields: Any) -> dict[str, Any]:
    return {"key": "db", "state": "starting", "phase": "starting", "waiting_for": [],
            "deadline_ns": time.time_ns() + seconds * 10**9, "reason": "", **fields}


def test_waiting_names_what_for_counts_down_and_leaves_only_the_result(
    fake: FakeSupervisor,
) -> None:
    counted = threading.Event()

    def start(_: object) -> Iterator[dict[str, Any]]:
        yield {"progress": [progress(48), progress(9, key="web", state="waiting",
                                                   waiting_for=["db"])]}
        counted.wait(PATIENCE_S)
        yield {"results": [{"key": "db", "ok": True, "message": "running", "code": 0}]}

    fake.answers["Start"] = start
    terminal = Terminal(["start", "db"], CALM)
    first = terminal.found(r"db: waiting for ready, (\d+) s left; web: waiting for db")[1]
    later = terminal.found(rf"db: waiting for ready, (?!{first} s)(\d+) s left")[1]
    assert 48 - 2 * PATIENCE_S <= int(later) < int(first) <= 48
    counted.set()
    assert terminal.end() == 0
    assert terminal.lines == ["db: running", ""]


def test_ctrl_c_ends_the_waiting_without_a_traceback(fake: FakeSupervisor) -> None:
    def start(_: object) -> Iterator[dict[str, Any]]:
        yield {"progress": [progress(48)]}
        time.sleep(30)

    fake.answers["Start"] = start
    terminal = Terminal(["start", "db"], CALM)
    terminal.found(r"\d+ s left")
    terminal.interrupt()
    assert terminal.end() == 130
    assert "Traceback" not in terminal.raw
    assert terminal.lines[-2:] == [
        "stopped waiting; the supervisor goes on, `unboxed status db` shows how far it is", ""]


def test_a_dumb_terminal_gets_no_escape_sequences(fake: FakeSupervisor) -> None:
    busy(fake)
    fake.answers["Start"] = lambda _: iter([
        {"progress": [progress(48)]},
        {"results": [{"key": "db", "ok": True, "message": "running", "code": 0}]}])
    for words in (["status"], ["start", "db"]):
        terminal = Terminal(words, {"TERM": "dumb"})
        terminal.end()
        assert "\x1b" not in terminal.raw


def test_logs_are_prefixed_coloured_and_escaped(runtime: Path) -> None:
    log = runtime / "logs" / "web@1"
    log.mkdir(parents=True)
    (log / f"{0:016x}.log").write_bytes(b"hello \x1b[2J\n")
    own = runtime / "logs" / "unboxed"
    own.mkdir()
    (own / f"{0:016x}.log").write_bytes(
        b'{"time_ns":1,"unit":"web/1","id":3,"from":"starting","to":"up","cause":"ready"}\n'
        b'{"time_ns":1,"message":"cannot use x; going on"}\n')
    terminal = Terminal(["logs"])
    assert terminal.end() == 0
    assert "web/1" in terminal.screen()
    assert "| hello \\x1b[2J" in terminal.screen()
    assert "| web/1: starting -> up (ready)" in terminal.screen()
    assert "| cannot use x; going on" in terminal.screen()
    raw = Terminal(["logs", "--raw", "web"], CALM)
    with pytest.raises(AssertionError, match="unexpected escape"):
        raw.until("never")
    raw.end()


def test_a_reader_that_leaves_early_is_no_failure(runtime: Path) -> None:
    log = runtime / "logs" / "web"
    log.mkdir(parents=True)
    (log / f"{0:016x}.log").write_bytes(b"line\n" * 200_000)
    script = f"{sys.executable} -m supervisor.cli logs | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines()[1:] == ["0"]


def test_ctrl_c_while_following_ends_quietly(fake: FakeSupervisor, runtime: Path) -> None:
    def events(_: object) -> Iterator[dict[str, Any]]:
        yield {"ready": True}
        yield {"event": transition(1, "web", "starting", "up", "ready")}
        time.sleep(30)

    fake.answers["Events"] = events
    (runtime / "logs" / "web").mkdir(parents=True)
    (runtime / "logs" / "web" / f"{0:016x}.log").write_bytes(b"hello\n")
    for words, shown in ((["events"], "starting -> up"), (["logs", "-f"], "hello")):
        terminal = Terminal(words, CALM)
        terminal.until(shown)
        terminal.interrupt()
        assert terminal.end(again="\x03") == 130
        assert "Traceback" not in terminal.raw


def test_closed_standard_descriptors_are_no_reason_to_fail(fake: FakeSupervisor) -> None:
    fake.instances = [instance("db")]
    for closing in (">&-", "2>&-", ">&- 2>&- <&-"):
        script = f"{sys.executable} -m supervisor.cli status {closing}"
        done = subprocess.run(
            ["sh", "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
        assert (done.returncode, done.stderr) == (0, ""), closing
