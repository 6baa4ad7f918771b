"""run: what it starts, what it refuses, and how it behaves on a terminal."""
from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from supervisor.cli.call import Call, Failure
from supervisor.cli.run import command_line
from supervisor.model.paths import paths
from tests.terminal import PATIENCE_S, ROOT, Terminal
from tests.unit.cli.fake import Cli, FakeSupervisor

CALM = {"NO_COLOR": "1"}


@pytest.fixture
def units(tmp_path: Path) -> Path:
    directory = tmp_path / "units"
    directory.mkdir()
    (directory / "web.toml").write_text('command = "/bin/web"')
    (directory / "worker.toml").write_text('command = "/bin/worker"')
    return directory


@pytest.fixture
def keeper(tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the keeper's stand-in leaves its notes."""
    notes = tmp_path / "notes"
    notes.mkdir()
    script = tmp_path / "keeper"
    script.write_text(f"#!{sys.executable}\nimport runpy\n"
                      f"runpy.run_path({str(Path(__file__).parent / 'fake_keeper.py')!r},"
                      " run_name='__main__')\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("UNBOXED_INIT", str(script))
    monkeypatch.setenv("FAKE_KEEPER", str(notes))
    return notes


def wait_for(path: Path) -> str:
    end = time.monotonic() + 20
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.01)
    return path.read_text()


def test_without_a_terminal_it_becomes_the_keeper_with_manager_and_logger(
    keeper: Path, units: Path, runtime: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "supervisor.cli", "run", "--units", str(units), "web"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT) as process:
        pid, *argv = json.loads(wait_for(keeper / "argv"))
        process.terminate()
        said, _ = process.communicate(timeout=20)
    assert (process.returncode, said) == (0, b"")
    assert pid == process.pid
    first, second = (argv.index("--"), len(argv) - 1 - argv[::-1].index("--"))
    assert argv[:first] == ["--supervise"]
    manager, logger = argv[first + 1 : second], argv[second + 1 :]
    assert manager[:4] == [
        sys.executable, "-I", "-S", str(ROOT / "supervisor/manager/__main__.py")]
    assert manager[4] == "--site"
    assert all(Path(site).is_dir() for site in manager[5].split(":"))
    assert manager[6:] == [
        "--units", str(units), "--runtime-dir", str(runtime),
        "--state-dir", manager[manager.index("--state-dir") + 1], "--log-dir", f"{runtime}/logs",
        "--start", "web"]
    assert logger == [sys.executable, "-I", "-S", str(ROOT / "supervisor/logger/__main__.py"),
                      "--log-dir", f"{runtime}/logs", "--runtime-dir", str(runtime),
                      "--site", logger[-1]]
    assert Path(logger[-1], "zstandard").is_dir()


def test_on_a_terminal_it_shows_states_and_a_line_that_sums_up_and_stops_in_order(
    keeper: Path, units: Path
) -> None:
    terminal = Terminal(["run", "--units", str(units)], CALM)
    terminal.until("1 up, 1 starting (db: waiting for ready, 4")
    terminal.until("Ctrl-C stops everything in order")
    assert "--quiet" in json.loads((keeper / "argv").read_text())
    terminal.interrupt()
    terminal.until("Ctrl-C again kills what is left")
    assert terminal.end() == 0
    assert terminal.lines[-2:] == ["unboxed > everything has stopped", ""]
    assert terminal.screen().count("web     > up: ready") + terminal.screen().count(
        "web > up: ready") == 1
    drawn = terminal.raw.split("\r\x1b[K")
    assert all(len(line) < terminal.columns for line in drawn if not line.endswith("\n"))


def test_a_second_ctrl_c_kills_and_until_then_it_says_what_it_waits_for_and_until_when(
    keeper: Path, units: Path
) -> None:
    (keeper / "mode").write_text("deaf")
    terminal = Terminal(["run", "--units", str(units)], CALM)
    terminal.until("> ready")
    terminal.interrupt()
    found = terminal.found(r"stopping, 1 left \(db: ending its processes, (\d+) s left\)")
    assert 48 - PATIENCE_S <= int(found[1]) <= 48
    terminal.interrupt()
    terminal.until("killing what is left")
    assert terminal.end() == 0


def test_log_lines_are_interleaved_with_their_unit_and_harmless(
    keeper: Path, units: Path, runtime: Path
) -> None:
    (keeper / "mode").write_text("deaf")
    terminal = Terminal(["run", "--units", str(units)])
    terminal.until("> ready")
    log = runtime / "logs" / "web"
    log.mkdir(parents=True)
    with (log / f"{0:016x}.log").open("ab", buffering=0) as out:
        out.write(b"GET / 200\n\x1b[2Jno\n")
        terminal.until("| GET / 200")
        terminal.until("| \\x1b[2Jno")
    terminal.interrupt()
    terminal.until("stopping everything")
    terminal.interrupt()
    terminal.until("everything has stopped")
    assert "munboxed\x1b[0m" in terminal.raw
    assert terminal.end() == 0


def test_a_supervisor_that_cannot_begin_is_a_failure_with_its_own_words(
    keeper: Path, units: Path
) -> None:
    (keeper / "mode").write_text("fail")
    terminal = Terminal(["run", "--units", str(units)], CALM, columns=200)
    assert terminal.end() == 1
    assert "it is haunted; nothing was started" in terminal.screen()
    assert "cannot run the supervisor: it ended with 1 before it was ready; nothing runs" in (
        terminal.screen())


def test_a_supervisor_that_dies_unasked_is_told_and_is_a_failure(
    keeper: Path, units: Path
) -> None:
    (keeper / "mode").write_text("crash")
    terminal = Terminal(["run", "--units", str(units)], CALM, columns=200)
    assert terminal.end() == 1
    assert "cannot supervise any longer: the supervisor was killed by SIGKILL, though nobody" in (
        terminal.screen())


def test_if_the_terminals_process_is_killed_the_supervisor_is_asked_to_stop(
    keeper: Path, units: Path
) -> None:
    terminal = Terminal(["run", "--units", str(units)], CALM)
    terminal.until("> ready")
    terminal.kill()
    assert wait_for(keeper / "signals") == "15"
    assert terminal.end() == -9


def test_if_the_window_is_closed_the_supervisor_is_asked_to_stop(
    keeper: Path, units: Path
) -> None:
    terminal = Terminal(["run", "--units", str(units)], CALM)
    terminal.until("> ready")
    terminal.hang_up()
    assert wait_for(keeper / "signals") == "15"


def test_plain_means_no_live_view(keeper: Path, units: Path) -> None:
    terminal = Terminal(["run", "--plain", "--units", str(units)], CALM)
    assert "--quiet" not in json.loads(wait_for(keeper / "argv"))
    terminal.process.terminate()
    assert terminal.end() == 0
    assert terminal.raw == ""


def test_a_second_supervisor_is_refused_before_anything_is_started(
    fake: FakeSupervisor, cli: Cli, units: Path, keeper: Path, runtime: Path
) -> None:
    code, _, err = cli("run", "--units", str(units))
    assert code == 1
    assert err.startswith(f"cannot use {runtime} as runtime directory: another supervisor does; ")
    assert not (keeper / "argv").exists()


def test_a_directory_without_units_is_named(
    cli: Cli, tmp_path: Path, keeper: Path, runtime: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    code, _, err = cli("run", "--units", str(empty))
    assert code == 1
    assert err.startswith(
        f"cannot run a supervisor: no unit files (*.toml) in {empty}, {runtime}/units; ")
    code, _, err = cli("run", "--units", str(tmp_path / "gone"))
    assert code == 2
    assert "gone: no such directory; " in err
    (tmp_path / "web.toml").write_text("")
    code, _, err = cli("run", "--units", str(tmp_path / "web.toml"))
    assert code == 2
    assert "it is a file, and --units takes the directory it is in" in err
    assert not (keeper / "argv").exists()


def test_an_unknown_unit_is_named_with_its_nearest(cli: Cli, units: Path, keeper: Path) -> None:
    code, _, err = cli("run", "--units", str(units), "web", "wroker")
    assert code == 3
    assert err.startswith(f"cannot run wroker: no such unit in {units}, ")
    assert err.endswith("did you mean worker?\n")


def test_a_path_that_no_socket_can_have_is_refused(
    cli: Cli, units: Path, tmp_path: Path, keeper: Path
) -> None:
    code, _, err = cli("run", "--units", str(units), "--runtime-dir", str(tmp_path / ("x" * 120)))
    assert code == 2
    assert "is too long for the sockets in it" in err


@pytest.mark.parametrize("init, text", [
    ("/nonexistent/init", "/nonexistent/init: UNBOXED_INIT names it, and it is no program"),
    (None, "unboxed-init: it is not installed beside this command or in PATH"),
])  # fmt: skip
def test_a_missing_keeper_is_named(
    cli: Cli, units: Path, monkeypatch: pytest.MonkeyPatch, init: str | None, text: str
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(sys, "argv", ["/nonexistent/unboxed"])
    monkeypatch.setattr("sysconfig.get_path", lambda _: "/nonexistent")
    if init:
        monkeypatch.setenv("UNBOXED_INIT", init)
    else:
        monkeypatch.delenv("UNBOXED_INIT", raising=False)
    code, _, err = cli("run", "--units", str(units))
    assert code == 1
    assert err.startswith(f"cannot run {text}")


def test_the_keeper_beside_the_command_is_found_without_any_variable(
    cli: Cli, units: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from supervisor.cli.run import KEEPER, _keeper

    monkeypatch.delenv("UNBOXED_INIT", raising=False)
    (tmp_path / KEEPER).write_text("")
    (tmp_path / KEEPER).chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "unboxed")])
    assert _keeper() == os.fspath(tmp_path / KEEPER)


@pytest.mark.parametrize(
    "given, expected", [("0", "0"), ("2GiB", str(2 << 30)), ("2000000", "2000000"),
                        ("1MiB", str(1 << 20)), ("0B", "0")]
)
def test_the_budget_of_all_logs_is_the_loggers(
    keeper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, expected: str
) -> None:
    where = paths({}, 0, str(tmp_path / "run"))
    told = command_line(Call("run", options={"log-budget": given}), where, quiet=False)
    assert told[told.index("--budget") + 1] == expected
    monkeypatch.setenv("UNBOXED_LOG_BUDGET", given)
    told = command_line(Call("run"), where, quiet=False)
    assert told[told.index("--budget") + 1] == expected
    monkeypatch.delenv("UNBOXED_LOG_BUDGET")
    assert "--budget" not in command_line(Call("run"), where, quiet=False)


@pytest.mark.parametrize("bad", ["much", "-1", "1.5", "2GiB more", "1KiB", "1000000"])
def test_a_budget_that_is_no_size_is_refused(
    keeper: Path, tmp_path: Path, bad: str
) -> None:
    where = paths({}, 0, str(tmp_path))
    with pytest.raises(Failure, match="--log-budget") as told:
        command_line(Call("run", options={"log-budget": bad}), where, quiet=False)
    assert told.value.code == 2
