"""status, why, explain, events: what a reader gets, as text for programs and as JSON."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from supervisor.cli.call import Call
from tests.unit.cli.fake import (
    MINUTE_NS,
    NOW_NS,
    Cli,
    FakeSupervisor,
    Refusal,
    instance,
    transition,
)

S = 10**9


def describe(fake: FakeSupervisor, key: str, **more: object) -> None:
    status = next(one for one in fake.instances if one["key"] == key)
    fake.answers["Describe"] = lambda _: {
        "status": status, "tree": [], "listeners": [], "definition": {}, "cgroup": "",
        "history": [], **more}
    fake.answers["Why"] = lambda _: {"chain": []}


def test_the_table_off_a_terminal_has_one_line_a_unit_without_colour_or_cutting(
    fake: FakeSupervisor, cli: Cli
) -> None:
    fake.instances = [
        instance("db", pid=412, memory_bytes=12_900_000, cpu_ns=1_250_000_000, status_text="ok"),
        instance("web/0", "backoff", restarts=4, recent_restarts=4, restart_limit=10,
                 last_exit="exit 1", next_try_ns=NOW_NS + 10**15),
        instance("web/1", "failed", reason="exit 1, 10 times in 5 min " + "x" * 200),
    ]
    for one in fake.instances:
        one["since_ns"] = 1_795_233_380 * S
    code, out, err = cli("status")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["UNIT", "STATE", "SINCE", "PID", "MEM", "CPU", "RESTARTS", "LAST",
                                "EXIT/REASON"]
    assert lines[1] == (
        "db     running  2026-11-21T03:56:20Z  412  12.3M  1.25s         0  ok")
    assert lines[2].split()[:8] == [
        "web/0", "backoff", "2026-11-21T03:56:20Z", "-", "-", "-", "4", "exit"]
    assert lines[2].endswith("(4/10)")
    assert lines[3].endswith("x" * 200)
    assert len(lines) == 4


def test_a_service_cannot_forge_a_line_of_the_table(fake: FakeSupervisor, cli: Cli) -> None:
    fake.instances = [instance("db", status_text="a\nweb running\x1b[2J")]
    out = cli("status").out
    assert len(out.splitlines()) == 2
    assert "a\\nweb running\\x1b[2J" in out


def test_status_as_json_is_one_document_with_everything(fake: FakeSupervisor, cli: Cli) -> None:
    fake.instances = [instance("db"), instance("web/0")]
    document = json.loads(cli("status", "--json").out)
    assert set(document) == {"supervisor", "instances"}
    assert [one["key"] for one in document["instances"]] == ["db", "web/0"]
    describe(fake, "db")
    document = json.loads(cli("status", "--json", "db").out)
    assert set(document) == {"supervisor", "instances", "details"}
    assert document["details"]["db"]["status"]["key"] == "db"


@pytest.mark.parametrize("state, code", [
    ("running", 0), ("reloading", 0), ("finished", 0), ("frozen", 0), ("skipped", 0),
    ("stopped", 3), ("failed", 3), ("backoff", 3), ("starting", 3), ("waiting", 3),
])  # fmt: skip
def test_the_exit_code_for_a_named_unit_tells_whether_it_is_up(
    fake: FakeSupervisor, cli: Cli, state: str, code: int
) -> None:
    fake.instances = [instance("db", state)]
    describe(fake, "db")
    assert cli("status", "db").code == code
    assert cli("status").code == 0


def test_one_unit_is_shown_with_processes_listeners_causes_and_last_lines(
    fake: FakeSupervisor, cli: Cli, runtime: Path
) -> None:
    fake.instances = [instance(
        "db", pid=412, description="the \x1bdata", reason="ready", tasks=3, stale=True,
        tracking="session")]
    describe(
        fake, "db",
        listeners=[{"name": "sql", "address": "tcp:127.0.0.1:5432", "queue": 2}],
        tree=[
            {"pid": 412, "ppid": 1, "command": "db --serve", "memory_bytes": 2**20},
            {"pid": 413, "ppid": 412, "command": "worker\x07", "memory_bytes": None},
            {"pid": 415, "ppid": 413, "command": "deep", "memory_bytes": None},
            {"pid": 414, "ppid": 412, "command": "worker 2", "memory_bytes": None},
        ])
    fake.answers["Why"] = lambda _: {"chain": [
        transition(7, "db", "starting", "up", "ready", 5),
        transition(5, "db", "waiting", "launching", "started by uid 0")]}
    directory = runtime / "logs" / "db"
    directory.mkdir(parents=True)
    (directory / f"{0:016x}.log").write_bytes(b"first\nsecond \x1b[31m\n")
    code, out, _ = cli("status", "db")
    assert code == 0
    assert out.splitlines()[0] == "db - the \\x1bdata"
    assert "unit file changed since this start" in out
    assert "tracking  by session" in out
    assert "\nListeners\n  sql  tcp:127.0.0.1:5432  2 waiting\n" in out
    assert ("\nProcesses\n  412  1.0M  db --serve\n  ├─ 413  worker\\a\n  │  └─ 415  deep\n"
            "  └─ 414  worker 2\n") in out
    causes = out.partition("\nCauses\n")[2].splitlines()
    assert causes[0].endswith("db  starting -> up: ready")
    assert causes[1].strip().startswith("because ")
    assert causes[1].endswith("db  waiting -> launching: started by uid 0")
    assert "  first\n" in out
    assert "  second \\x1b[31m\n" in out


def test_an_agent_says_whose_it_is_and_how_far_behind(fake: FakeSupervisor, cli: Cli) -> None:
    for count, words in ((3_400_000, "3.2M behind"), (10, "10B behind"), (0, ""), (None, "")):
        fake.instances = [instance("ship", behind_bytes=count, attached=["db", "web"])]
        describe(fake, "ship")
        assert cli("status").out.splitlines()[1].endswith(f" {words}".rstrip()), count
        line = "; ".join(filter(None, ("db web", words)))
        assert f" attached  {line}\n" in cli("status", "ship").out
    fake.instances = [instance("db", agents=["dash", "ship"])]
    describe(fake, "db")
    assert "   agents  dash ship\n" in cli("status", "db").out


def test_what_a_user_may_not_see_of_a_unit_is_named_instead_of_failing(
    fake: FakeSupervisor, cli: Cli
) -> None:
    fake.instances = [instance("db")]
    refused = Refusal("NotPermitted", reason="role", message="cannot describe db: you may not")

    def refuse(_: object) -> object:
        raise refused

    fake.answers["Describe"] = fake.answers["Why"] = refuse
    code, out, _ = cli("status", "db")
    assert code == 0
    assert out.startswith("db\n")
    assert "note: cannot describe db: you may not" in out


@pytest.fixture
def eyes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output goes to a terminal, of no colours."""
    monkeypatch.setattr("os.isatty", lambda _fd: True)
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.mark.usefixtures("eyes")
def test_on_a_terminal_what_was_skipped_is_only_counted(fake: FakeSupervisor, cli: Cli) -> None:
    fake.instances = [instance("db"), instance("watchdog", "skipped")]
    lines = cli("status").out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == ["UNIT", "db"]
    assert lines[-1] == "1 running, 1 skipped (`unboxed status --all` shows those too)"
    for words in (("--all",), ("-a",), ("db", "watchdog")):
        lines = cli("status", *words).out.splitlines()
        assert [line.split()[0] for line in lines[:-1]] == ["UNIT", "db", "watchdog"]
        assert lines[-1] == "1 running, 1 skipped"


def test_programs_get_what_was_skipped_too(fake: FakeSupervisor, cli: Cli) -> None:
    fake.instances = [instance("db"), instance("watchdog", "skipped")]
    assert [line.split()[0] for line in cli("status").out.splitlines()] == [
        "UNIT", "db", "watchdog"]
    document = json.loads(cli("status", "--json").out)
    assert [one["key"] for one in document["instances"]] == ["db", "watchdog"]


@pytest.mark.usefixtures("eyes")
def test_a_shutdown_that_waits_for_its_time_is_noted(fake: FakeSupervisor, cli: Cli) -> None:
    text = "Scheduled shutdown: reboot at 2027-01-01 23:30:00"
    fake.instances = [instance("try-2", description=text)]
    assert cli("status").out.splitlines()[-1] == (
        "note: reboot at 2027-01-01 23:30:00 is scheduled; `shutdown -c` cancels it")
    fake.instances = [instance("try-2", "stopped", description=text)]
    assert "shutdown" not in cli("status").out


def test_a_tree_with_a_loop_of_parents_still_ends(fake: FakeSupervisor, cli: Cli) -> None:
    fake.instances = [instance("db")]
    describe(fake, "db", tree=[{"pid": 2, "ppid": 3, "command": "a", "memory_bytes": None},
                               {"pid": 3, "ppid": 2, "command": "b", "memory_bytes": None},
                               {"pid": 9, "ppid": 1, "command": "c", "memory_bytes": None}])
    assert "9  c" in cli("status", "db").out


def test_without_a_supervisor_the_message_says_how_to_start_one(cli: Cli, runtime: Path) -> None:
    code, out, err = cli("status")
    assert (code, out) == (3, "")
    assert err.startswith(f"cannot reach the supervisor at {runtime}/control: ")
    assert "`unboxed run`" in err


def test_a_user_without_a_supervisor_is_told_of_the_systems(
    cli: Cli, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.path.exists", lambda path: path == "/run/unboxed/status")
    assert cli("status").err.endswith("; the system's own is at --runtime-dir /run/unboxed\n")


@pytest.fixture
def systems(fake: FakeSupervisor, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The supervisor is the system's; a user asks. Where that user's own would be."""
    own = runtime / "own"
    monkeypatch.delenv("UNBOXED_RUNTIME_DIR")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(
        "supervisor.model.paths._default_runtime",
        lambda _env, uid: (str(own if uid else runtime), False))
    return own


def test_before_the_boot_came_so_far_nobody_is_told_to_start_one(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("UNBOXED_RUNTIME_DIR")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(
        "supervisor.model.paths._default_runtime", lambda _env, _uid: (str(tmp_path / "no"), False))
    assert "`unboxed run`" in cli("status").err
    monkeypatch.setattr("supervisor.cli.first_process.name", lambda: "unboxed-init")
    code, _, err = cli("status")
    assert code == 3
    assert "`unboxed run`" not in err
    assert "the boot has not come so far" in err
    assert "`unboxed run`" in cli("status", "--runtime-dir", str(tmp_path / "other")).err


def test_a_user_without_a_supervisor_asks_the_systems(
    systems: Path, fake: FakeSupervisor, cli: Cli
) -> None:
    fake.instances = [instance("db")]
    assert cli("status", "db").code == 0
    assert not systems.exists()


@pytest.mark.parametrize("how", ["there", "option", "variable"])
def test_a_user_with_a_supervisor_or_who_names_one_asks_that(
    systems: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    words = ["status"]
    if how == "there":
        systems.mkdir()
    elif how == "option":
        words += ["--runtime-dir", str(systems)]
    else:
        monkeypatch.setenv("UNBOXED_RUNTIME_DIR", str(systems))
    code, _, err = cli(*words)
    assert code == 3
    assert err.startswith(f"cannot reach the supervisor at {systems}/control: ")


def test_who_runs_a_supervisor_runs_his_own(systems: Path) -> None:
    assert Call("run").asked().runtime == str(systems)
    assert Call("status").asked().runtime != str(systems)


def test_an_unknown_unit_is_exit_code_3(fake: FakeSupervisor, cli: Cli) -> None:
    code, _, err = cli("status", "wbe")
    assert (code, err) == (3, "cannot show the status of wbe: no unit is called wbe\n")


def test_why_prints_the_present_state_and_each_cause_below_what_it_led_to(
    fake: FakeSupervisor, cli: Cli
) -> None:
    fake.instances = [instance("web", "failed")]
    fake.answers["Why"] = lambda _: {"chain": [
        transition(9, "web", "waiting", "failed", "db is down", 8),
        transition(8, "db", "up", "down", "stopped by uid 1000")]}
    code, out, _ = cli("why", "web")
    assert code == 0
    first, second, third = out.splitlines()
    assert first == "web has failed"
    assert second.endswith("  web  waiting -> failed: db is down")
    assert "because" in third
    assert third.endswith("  db  up -> down: stopped by uid 1000")
    document = json.loads(cli("why", "--json", "web").out)
    assert document["units"][0]["state"] == "failed"
    assert [one["id"] for one in document["units"][0]["chain"]] == [9, 8]


def test_why_of_a_failure_ends_where_the_unit_began_that_failed(
    fake: FakeSupervisor, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = [transition(number, f"u{number % 7}", "starting", "up", "finished")
             for number in range(30)]
    chain += [transition(30, "fs", "waiting", "launching", "u1 finished"),
              transition(31, "fs", "starting", "stopping", "exit 32"),
              transition(32, "fs", "stopping", "failed", "exit 32"),
              transition(33, "boot", "waiting", "failed", "it needs fs, which failed")]
    fake.instances = [instance("boot", "failed")]
    fake.answers["Why"] = lambda _: {"chain": chain}
    asked = []

    def last_lines(_call: Call, key: str, count: int) -> list[str]:
        asked.append((key, count))
        return ["18:00:00.000  mount: \x1b no such disk"]

    monkeypatch.setattr("supervisor.cli.logs.last_lines", last_lines)
    lines = cli("why", "boot").out.splitlines()
    assert lines[0] == "boot has failed"
    assert [line.split("  ")[-2] for line in lines[1:5]] == ["boot", "fs", "fs", "fs"]
    assert lines[5] == (
        "  … after 30 transitions of 7 units that went before (`unboxed why boot --json` has all)")
    assert lines[6:] == [r"  fs wrote last: 18:00:00.000  mount: \x1b no such disk"]
    assert asked == [("fs", 1)]
    assert len(json.loads(cli("why", "boot", "--json").out)["units"][0]["chain"]) == 34
    fake.instances = [instance("boot", "running")]
    out = cli("why", "boot").out
    assert "  u6  starting -> up" in out
    assert "wrote last" not in out


@pytest.mark.parametrize("verb", ["why", "status"])
def test_head_and_causes_are_of_the_same_moment(
    fake: FakeSupervisor, cli: Cli, verb: str
) -> None:
    fake.instances = [instance("web", "starting")]
    describe(fake, "web")
    fake.answers["Why"] = lambda _: {
        "status": instance("web", "running"),
        "chain": [transition(9, "web", "starting", "up", "ready")]}
    out = cli(verb, "web").out
    assert "starting ->" in out
    assert "running" in out
    assert "starting since" not in out
    assert "is starting" not in out


def crash_loop(rounds: int) -> list[dict[str, Any]]:
    """Started once, then round and round, a second each."""
    chain = [transition(1, "web", "down", "waiting", "started with the supervisor"),
             transition(2, "web", "waiting", "launching", "started with the supervisor"),
             transition(3, "web", "launching", "up", "started"),
             transition(4, "web", "up", "backoff", "exit 3")]
    for _ in range(rounds):
        number = len(chain)
        chain += [transition(number + 1, "web", "backoff", "waiting", "exit 3"),
                  transition(number + 2, "web", "waiting", "launching", "exit 3"),
                  transition(number + 3, "web", "launching", "up", "started"),
                  transition(number + 4, "web", "up", "backoff", "exit 3")]
    for one in chain:
        one["time_ns"] -= (len(chain) - one["id"]) // 4 * 10**9
    return chain[::-1]


def test_why_folds_what_repeats_and_shows_the_newest_round_whole(
    fake: FakeSupervisor, cli: Cli
) -> None:
    fake.instances = [instance("web", "backoff", next_try_ns=NOW_NS + 600 * 10**9)]
    fake.answers["Why"] = lambda _: {"chain": crash_loop(14)}
    lines = cli("why", "web").out.splitlines()
    assert lines[0].startswith("web has ended and is to be started again: next try in 1")
    texts = [line.split("  web  ")[-1] for line in lines[1:]]
    newest = ["up -> backoff: exit 3", "launching -> up: started", "waiting -> launching: exit 3",
              "backoff -> waiting: exit 3"]
    assert texts[:4] == newest
    assert texts[4].startswith("  … the same 13 times more, last ")
    assert texts[5:] == [
        *newest[:2], "waiting -> launching: started with the supervisor",
        "down -> waiting: started with the supervisor"]
    assert len(json.loads(cli("why", "--json", "web").out)["units"][0]["chain"]) == 60
    fake.answers["Why"] = lambda _: {"chain": crash_loop(2)}
    assert "  … the same once more, last " in cli("why", "web").out


def test_why_folds_nothing_whose_cause_differs(fake: FakeSupervisor, cli: Cli) -> None:
    fake.instances = [instance("web")]
    fake.answers["Why"] = lambda _: {"chain": [
        transition(number, "web", "up", "backoff", f"exit {number}") for number in (3, 2, 1)]}
    assert len(cli("why", "web").out.splitlines()) == 4


def test_explain_prints_the_mechanism_of_each_key_and_then_the_steps_in_order(
    fake: FakeSupervisor, cli: Cli
) -> None:
    answer = {
        "steps": [{"step": "FILE", "detail": "/u/db.toml"},
                  {"step": "FILE", "detail": "/u/db.toml.d/1.toml"},
                  {"step": "session", "detail": "setsid(2)"},
                  {"step": "exec", "detail": "/bin/db"}],
        "keys": [{"key": "stop.ladder", "value": "[]", "mechanism": ""},
                 {"key": "command", "value": ["x" * 99], "mechanism": "execve(2)"},
                 {"key": "umask", "value": "077", "mechanism": "umask(2)"}],
    }
    fake.answers["Explain"] = lambda _: answer
    code, out, _ = cli("explain", "db")
    assert code == 0
    assert out.splitlines()[:8] == [
        "Files of db, later ones over earlier ones", "  /u/db.toml", "  /u/db.toml.d/1.toml", "",
        "Keys and their mechanisms", f'  command  ["{"x" * 99}"]  execve(2)',
        "  umask    077  umask(2)", ""]
    assert out.splitlines()[-6:] == [
        "Keys that the supervisor itself sees to", "  stop.ladder  []", "",
        "Launch of db, in this order", "  1  session  setsid(2)", "  2  exec     /bin/db"]
    assert json.loads(cli("explain", "db", "--json").out) == answer


def test_events_are_told_one_a_line_and_a_lost_supervisor_is_no_success(
    fake: FakeSupervisor, cli: Cli
) -> None:
    event = transition(3, "web", "starting", "up", "ready")
    fake.answers["Events"] = lambda _: iter([{"ready": True}, {"event": event}])
    code, out, err = cli("events")
    assert out.splitlines()[0].endswith("  web  starting -> up: ready")
    assert code == 1
    assert err.startswith("cannot hear the answer of the supervisor")
    assert json.loads(cli("events", "--json").out) == event


def test_the_time_in_a_state_is_counted_from_the_supervisors_own_stamp(
    fake: FakeSupervisor, cli: Cli
) -> None:
    fake.instances = [instance("db", since_ns=NOW_NS - 3 * MINUTE_NS)]
    describe(fake, "db")
    assert "(3 min)" in cli("status", "db").out


def test_schema_is_the_json_schema_of_a_unit_file(cli: Cli) -> None:
    document = json.loads(cli("schema").out)
    assert "command" in document["properties"]
