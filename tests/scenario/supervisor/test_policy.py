"""Restart policies, relations, operations and definitions, as an operator meets them."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.scenario.supervisor.conftest import Speaker
from tests.stack import Refused, Stack, alive

SLEEP = 'command = ["/bin/sleep", "1000"]\n'


def shell(script: str) -> str:
    return f"command = ['/bin/sh', '-c', '''{script}''']\n"


def test_a_clean_end_is_no_failure(tmp_path: Path) -> None:
    with Stack(tmp_path, {"one": shell("exit 0")}) as stack:
        assert stack.wait("one", "stopped", test=lambda r: r["last_exit"])["restarts"] == 0


def test_a_limit_ends_a_crash_loop_and_starts_what_it_names(tmp_path: Path) -> None:
    units = {
        "one": shell("exit 3")
        + '[restart]\ndelay = 0\nlimit = {count = 4, within = "1m", then = "rescue"}\n',
        "rescue": SLEEP + "autostart = false\n",
    }
    with Stack(tmp_path, units) as stack:
        row = stack.wait("one", "failed")
        assert row["restarts"] == 4
        assert "exit 3; 4 restarts within 1m are its limit" in row["reason"]
        stack.wait("rescue", "running")
        chain = [t["cause"] for t in stack.call("Why", unit="rescue")["chain"]]
        assert "one reached its restart limit" in chain


def test_the_delay_grows_and_is_told(tmp_path: Path) -> None:
    unit = shell("exit 3") + '[restart]\ndelay = "50ms"\nfactor = 10\njitter = 0\n'
    with Stack(tmp_path, {"one": unit}) as stack:
        row = stack.wait("one", "backoff", test=lambda r: r["restarts"] == 3)
        assert row["next_try_ns"] - row["since_ns"] == 5_000_000_000


def test_never_means_never(tmp_path: Path) -> None:
    unit = shell("exit 3") + '[restart]\nwhen = "never"\n'
    with Stack(tmp_path, {"one": unit}) as stack:
        assert stack.wait("one", "failed")["reason"] == "exit 3"
        stack.call("ResetFailed", units=["one"])
        assert stack.row("one")["state"] == "stopped"


def test_an_aged_instance_is_recycled(tmp_path: Path) -> None:
    with Stack(tmp_path, {"one": SLEEP + '[restart]\nmax_age = "200ms"\n'}) as stack:
        first = stack.wait("one", "running")["pid"]
        stack.wait("one", "running", test=lambda r: r["pid"] != first)
        causes = {t["cause"] for t in stack.call("Describe", unit="one")["history"]}
        assert "it reached restart.max_age" in causes


def test_starting_one_side_of_a_conflict_stops_the_other(tmp_path: Path) -> None:
    units = {"a": SLEEP, "b": SLEEP + 'autostart = false\n[needs]\nconflicts = ["a"]\n'}
    with Stack(tmp_path, units) as stack:
        stack.wait("a", "running")
        stack.call("Start", units=["b"])
        rows = stack.rows()
        assert rows["a"]["state"] == "stopped"
        assert rows["b"]["state"] == "running"


def test_what_is_bound_leaves_and_comes_back_with_it(tmp_path: Path) -> None:
    units = {
        "db": SLEEP + "[restart]\ndelay = 0\n",
        "web": SLEEP + '[needs]\nbinds_to = ["db"]\n',
    }
    with Stack(tmp_path, units) as stack:
        first = stack.wait("web", "running")["pid"]
        os.kill(stack.row("db")["pid"], signal.SIGKILL)
        stack.wait("web", "running", test=lambda r: r["pid"] not in (0, first))
        causes = {t["cause"] for t in stack.call("Describe", unit="web")["history"]}
        assert "it is bound to db, which left" in causes


def test_a_cycle_is_refused_with_its_path(tmp_path: Path) -> None:
    units = {
        "a": SLEEP + '[needs]\nafter = ["b"]\n',
        "b": SLEEP + '[needs]\nafter = ["c"]\n',
        "c": SLEEP + '[needs]\nafter = ["a"]\n',
        "free": SLEEP,
    }
    with Stack(tmp_path, units) as stack:
        stack.wait("free", "running")
        row = stack.wait("a", "failed")
        assert "a -> b -> c -> a" in row["reason"]
        assert row["pid"] == 0


def test_a_group_starts_and_stops_its_members(tmp_path: Path) -> None:
    units = {
        "a": SLEEP + "autostart = false\n",
        "b": SLEEP + "autostart = false\n",
        "all": 'kind = "group"\nautostart = false\n[needs]\nwants = ["a", "b"]\n',
    }
    with Stack(tmp_path, units) as stack:
        stack.call("Start", units=["all"])
        assert {r["state"] for r in stack.rows().values()} == {"running"}
        stack.call("Stop", units=["all"])
        assert {r["state"] for r in stack.rows().values()} == {"stopped"}


def test_reload_signals_or_runs_its_command(tmp_path: Path, speaker: Speaker) -> None:
    told = tmp_path / "told"
    units = {
        "one": speaker.unit + '[reload]\nsignal = "USR1"\n',
        "two": SLEEP + f"[reload]\ncommand = ['/bin/sh', '-c', 'echo $MAINPID > {told}']\n",
        "three": SLEEP + 'reload = "restart"\n',
    }
    with Stack(tmp_path, units) as stack:
        speaker.facts(stack, "start")
        rows = {key: stack.wait(key, "running") for key in units}
        stack.call("Reload", units=["one"])
        speaker.facts(stack, "usr1")
        assert stack.call("Reload", units=["two"])["results"][0]["ok"]
        assert told.read_text().strip() == str(rows["two"]["pid"])
        stack.call("Reload", units=["three"])
        stack.wait("three", "running", test=lambda r: r["pid"] != rows["three"]["pid"])


def test_freeze_and_thaw(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Stack(tmp_path, {"one": shell(f"while :; do echo x >> {out}; sleep 0.01; done")}) as stack:
        stack.wait("one", "running")
        stack.until(out.exists, "it to work")
        stack.call("Freeze", units=["one"])
        assert stack.row("one")["state"] == "frozen"

        def still() -> bool:
            size = out.stat().st_size
            return size == out.stat().st_size

        stack.until(still, "it to stand still")
        stack.call("Thaw", units=["one"])
        size = out.stat().st_size
        stack.until(lambda: out.stat().st_size > size, "it to go on")
        stack.call("Freeze", units=["one"])
        assert stack.call("Stop", units=["one"])["results"][0]["ok"]


def test_what_is_killed_while_it_is_frozen_comes_back_thawed(tmp_path: Path) -> None:
    with Stack(tmp_path, {"one": SLEEP + '[restart]\nwhen = "always"\n'}) as stack:
        pid = stack.wait("one", "running")["pid"]
        stack.call("Freeze", units=["one"])
        stack.call("Kill", units=["one"], signal=9)
        stack.wait("one", "running", test=lambda row: row["pid"] != pid)


def test_kill_sends_any_signal(tmp_path: Path, speaker: Speaker) -> None:
    with Stack(tmp_path, {"one": speaker.unit, "two": SLEEP + "autostart = false\n"}) as stack:
        speaker.facts(stack, "start")
        stack.call("Kill", units=["one"], signal=10)
        speaker.facts(stack, "usr1")
        result = stack.call("Kill", units=["two"])["results"][0]
        assert (result["ok"], result["code"]) == (False, 3)


def test_the_stop_command_comes_before_the_signals(tmp_path: Path, speaker: Speaker) -> None:
    unit = f"{speaker.unit}[stop]\ncommand = ['/bin/sh', '-c', 'echo end 0 >> {speaker.fifo}']\n"
    with Stack(tmp_path, {"one": unit}) as stack:
        speaker.facts(stack, "start")
        stack.call("Stop", units=["one"])
        assert stack.row("one")["last_exit"] == "exit 0"


def test_a_drained_instance_gets_no_new_connections(tmp_path: Path, speaker: Speaker) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    unit = (
        f'{speaker.unit}[stop]\ndrain = "1s"\n[[listen]]\nname = "web"\n'
        f'address = "tcp:127.0.0.1:{port}"\nreuse_port = true\n'
    )
    with Stack(tmp_path, {"one": unit}) as stack:
        speaker.facts(stack, "start")
        with socket.create_connection(("127.0.0.1", port), 5):
            pass
        stack.call("Stop", units=["one"], wait=False)

        def refused() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), 5).close()
            except ConnectionRefusedError:
                return True
            return False

        stack.until(refused, "new connections to be refused")
        assert stack.row("one")["state"] == "stopping"
        stack.wait("one", "stopped")
        stack.call("Start", units=["one"])
        with socket.create_connection(("127.0.0.1", port), 5):
            pass


def test_unit_files_are_read_again_all_or_none(tmp_path: Path) -> None:
    with Stack(tmp_path, {"one": SLEEP, "two": SLEEP, "three": SLEEP}) as stack:
        first = stack.wait("one", "running")
        stack.wait("two", "running")
        stack.write("one", 'command = ["/bin/sleep", "2000"]\n')
        stack.write("four", SLEEP)
        (stack.units / "two.toml").unlink()
        stack.write("three", "comand = 1\n")
        with pytest.raises(Refused) as refused:
            stack.call("ReloadUnits")
        problem = refused.value.parameters["problems"][0]
        assert (problem["file"], problem["line"]) == (str(stack.units / "three.toml"), 1)
        assert sorted(stack.rows()) == ["one", "three", "two"]
        assert stack.row("one")["stale"] is False
        stack.write("three", SLEEP)
        assert stack.call("ReloadUnits") == {
            "added": ["four"], "changed": ["one"], "removed": ["two"],
        }  # fmt: skip
        row = stack.row("one")
        assert (row["pid"], row["stale"]) == (first["pid"], True)
        assert stack.row("two")["state"] == "running"
        os.kill(stack.manager, signal.SIGKILL)
        stack.until(lambda: stack.row("one")["stale"], "the next manager to know it too")
        stack.call("Stop", units=["two"])
        assert "two" not in stack.rows()
        stack.call("Restart", units=["one"])
        row = stack.row("one")
        assert (row["pid"] != first["pid"], row["stale"]) == (True, False)


def test_try_runs_a_command_as_a_unit_and_leaves_nothing(tmp_path: Path) -> None:
    with Stack(tmp_path, {"one": SLEEP}) as stack:
        keys = {"env": {"WHO": "you"}}
        name = stack.call("Try", command=["/bin/sh", "-c", "echo hello $WHO; exit 4"], keys=keys)
        row = stack.wait(name["unit"], "failed")
        assert row["last_exit"] == "exit 4"
        log = tmp_path / "log" / name["unit"]

        def said() -> bytes:
            return b"".join(p.read_bytes() for p in log.glob("*.log"))

        stack.until(said, "its line")
        assert said() == b"hello you\n"
        with pytest.raises(Refused) as refused:
            stack.call("Try", command=["/bin/true"], keys={"sandbox": {"level": "strict"}})
        assert refused.value.name == "InvalidUnits"
    assert not (tmp_path / "rt").exists()


def test_an_upgrade_replaces_everything_but_the_services(tmp_path: Path) -> None:
    with Stack(tmp_path, {"one": SLEEP}) as stack:
        before = stack.wait("one", "running")["pid"]
        keeper, manager = stack.keeper, stack.manager
        stack.call("Upgrade")
        stack.until(lambda: stack.manager not in (0, manager), "another manager")
        stack.until(stack.answers, "it to answer")
        assert stack.keeper == keeper
        assert stack.row("one")["pid"] == before
        assert alive(before)


def test_explain_lists_the_steps_of_a_launch_in_order(tmp_path: Path) -> None:
    hooks = '[start]\nbefore = [["/bin/true", "-x"]]\nafter = [["/bin/true"]]\n'
    with Stack(tmp_path, {"one": SLEEP + 'umask = "022"\n' + hooks}) as stack:
        drop_in = stack.units / "one.toml.d" / "1.toml"
        drop_in.parent.mkdir()
        drop_in.write_text('description = "x"')
        answer = stack.call("Explain", unit="one")
        files = [step["detail"] for step in answer["steps"] if step["step"] == "FILE"]
        assert files == [str(stack.units / "one.toml"), str(drop_in)]
        found = [(n, s["detail"]) for n, s in enumerate(answer["steps"]) if s["step"] == "HOOK"]
        assert found == [
            (2, "start.before: /bin/true -x"), (len(answer["steps"]) - 1, "start.after: /bin/true")]
        names = [step["step"] for step in answer["steps"] if step["step"] != "TRACKING"]
        order = ["LOG", "SIGNALS", "SESSION", "UMASK", "DIRECTORY", "ENV", "CLOSE_FROM", "EXEC"]
        assert [n for n in names if n in order] == order
        assert {"key": "umask", "value": '"022"', "mechanism": "umask(2)"} in answer["keys"]


def test_a_stale_runtime_directory_is_no_hindrance(tmp_path: Path) -> None:
    stack = Stack(tmp_path, {"one": SLEEP})
    stack.begin()
    first = stack.wait("one", "running")["pid"]
    assert stack.process is not None
    stack.process.kill()
    stack.process.wait()
    assert (stack.runtime / "control").exists()
    with stack:
        assert stack.wait("one", "running")["pid"] != first
        if stack.row("one")["tracking"] == "cgroup":
            stack.until(lambda: not alive(first), "what was left to be killed")
    if alive(first):
        os.kill(first, signal.SIGKILL)
