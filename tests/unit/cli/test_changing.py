"""start, stop and their like, try, reload, upgrade: what is asked, what is said, exit codes."""
from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cli.fake import Cli, FakeSupervisor, Refusal


def result(key: str, code: int = 0, message: str = "") -> dict[str, Any]:
    return {"key": key, "ok": code == 0, "message": message, "code": code}


def answer(*results: dict[str, Any]) -> dict[str, Any]:
    return {"results": list(results)}


@pytest.mark.parametrize("verb, method", [
    ("start", "Start"), ("stop", "Stop"), ("restart", "Restart"), ("reload", "Reload"),
    ("freeze", "Freeze"), ("thaw", "Thaw"), ("reset-failed", "ResetFailed"),
])  # fmt: skip
def test_each_verb_asks_for_its_method_and_waits_unless_told_otherwise(
    fake: FakeSupervisor, cli: Cli, verb: str, method: str
) -> None:
    fake.answers[method] = lambda _: answer(result("web/0", message="running"))
    assert cli(verb, "web*", "db") == (0, "web/0: running\n", "")
    assert fake.asked == [(method, {"units": ["web*", "db"], "wait": True})]
    cli(verb, "--no-wait", "db")
    assert fake.asked[-1] == (method, {"units": ["db"], "wait": False})


def test_kill_names_its_signal_in_any_form(fake: FakeSupervisor, cli: Cli) -> None:
    fake.answers["Kill"] = lambda _: answer(result("web"))
    for given, number in (((), 15), (("--signal", "HUP"), 1), (("-s", "SIGUSR1"), 10),
                          (("--signal=9",), 9)):
        assert cli("kill", *given, "web").code == 0
        assert fake.asked[-1][1]["signal"] == number


@pytest.mark.parametrize("name", ["FROB", "0", "65", ""])
def test_an_unknown_signal_is_bad_usage_and_nothing_is_asked(
    fake: FakeSupervisor, cli: Cli, name: str
) -> None:
    code, _, err = cli("kill", "--signal", name, "web")
    assert code == 2
    assert err.startswith(f"cannot send the signal {name!r}: there is none of that name; ")
    assert not fake.asked


def test_each_failure_is_a_line_on_standard_error_and_the_first_gives_the_exit_code(
    fake: FakeSupervisor, cli: Cli
) -> None:
    fake.answers["Start"] = lambda _: answer(
        result("a", message="running"),
        result("b", 5, "cannot start b: not ready within 60 s; it is stopped again"),
        result("c", 1, "exit 1"))
    assert cli("start", "a", "b", "c") == (
        5, "a: running\n",
        "cannot start b: not ready within 60 s; it is stopped again\ncannot start c: exit 1\n")


def test_progress_is_not_shown_off_a_terminal(fake: FakeSupervisor, cli: Cli) -> None:
    progress: dict[str, Any] = {
        "key": "a", "state": "starting", "phase": "starting", "waiting_for": [],
        "deadline_ns": None, "reason": ""}
    fake.answers["Start"] = lambda _: iter(
        [{"progress": [progress]}, answer(result("a", message="running"))])
    assert cli("start", "a") == (0, "a: running\n", "")


@pytest.mark.parametrize("name, fields, code, text", [
    ("NoSuchUnit", {"unit": "x", "message": "no unit is called x"}, 3,
     "cannot start x: no unit is called x\n"),
    ("NotPermitted", {"reason": "role", "message": "cannot start x: observers may not"}, 4,
     "cannot start x: observers may not\n"),
    ("Failed", {"message": "cannot start x: keeper is full; nothing changed"}, 1,
     "cannot start x: keeper is full; nothing changed\n"),
    ("TimedOut", {"message": "cannot start x: no end in sight"}, 5,
     "cannot start x: no end in sight\n"),
])  # fmt: skip
def test_each_refusal_has_its_exit_code(
    fake: FakeSupervisor, cli: Cli, name: str, fields: dict[str, Any], code: int, text: str
) -> None:
    def refuse(_: object) -> object:
        raise Refusal(name, **fields)

    fake.answers["Start"] = refuse
    assert cli("start", "x") == (code, "", text)


def test_a_supervisor_that_dies_meanwhile_is_a_failure_that_says_so(
    fake: FakeSupervisor, cli: Cli
) -> None:
    fake.answers["Stop"] = lambda _: iter([{"progress": []}])
    code, _, err = cli("stop", "web")
    assert code == 1
    assert "closed the connection" in err


def test_reload_without_a_unit_reads_the_files_and_tells_what_changed(
    fake: FakeSupervisor, cli: Cli
) -> None:
    fake.answers["ReloadUnits"] = lambda _: {"added": ["a", "b"], "changed": [], "removed": ["c"]}
    assert cli("reload") == (0, "added: a, b\nremoved: c\n", "")
    fake.answers["ReloadUnits"] = lambda _: {"added": [], "changed": [], "removed": []}
    assert cli("reload") == (0, "unit files are unchanged\n", "")


def test_a_broken_file_is_named_with_file_line_and_key_and_changes_nothing(
    fake: FakeSupervisor, cli: Cli
) -> None:
    def refuse(_: object) -> object:
        raise Refusal("InvalidUnits", message="cannot reload: 1 error; nothing was changed",
                      problems=[{"file": "/u/a.toml", "line": 3, "key": "umask",
                                 "message": "cannot use 9: no mode"}])

    fake.answers["ReloadUnits"] = refuse
    assert cli("reload") == (
        1, "",
        ("cannot reload unit files: 1 error; nothing was changed\n"
         "/u/a.toml:3: umask: cannot use 9: no mode\n"))


def test_try_sends_keys_as_a_unit_file_would_have_them_and_starts_the_unit(
    fake: FakeSupervisor, cli: Cli
) -> None:
    fake.answers["Try"] = lambda _: {"unit": "try-1"}
    fake.answers["Start"] = lambda _: answer(result("try-1", message="running"))
    code, out, _ = cli(
        "try", "--restart.when=always", "--env.A=b", "--env.B.C=1", "--instances=2",
        "--user=1000", "--restart.success_codes=[0, 3]", "--frob=1", "--", "sleep", "5")
    assert code == 0
    assert fake.asked[0] == ("Try", {"command": ["sleep", "5"], "keys": {
        "restart": {"when": "always", "success_codes": [0, 3]},
        "env": {"A": "b", "B.C": "1"}, "instances": 2, "user": "1000", "frob": "1"}})
    assert fake.asked[1] == ("Start", {"units": ["try-1"], "wait": True})
    assert out.splitlines()[0] == "try-1: running"
    assert "`unboxed stop try-1`" in out
    assert cli("try", "--json", "--no-wait", "sleep").out == '{"unit":"try-1"}\n'


@pytest.mark.parametrize("keys", [("--user=a", "--user=b"), ("--restart=1", "--restart.when=x"),
                                  ("--restart.=1",), ("--env.=1",)])
def test_keys_that_cannot_be_together_are_bad_usage(
    fake: FakeSupervisor, cli: Cli, keys: tuple[str, ...]
) -> None:
    code, _, err = cli("try", *keys, "--", "sleep")
    assert code == 2
    assert err.startswith("cannot use --")
    assert not fake.asked


def test_a_wrong_key_of_try_is_named_as_the_option_that_it_was(
    fake: FakeSupervisor, cli: Cli
) -> None:
    def refuse(_: object) -> object:
        file = "/run/unboxed/units/try-1.toml"
        raise Refusal("InvalidUnits", message="cannot try sleep: its keys have errors", problems=[
            {"file": file, "line": 0, "key": "restart.wen", "message": "cannot use it"},
            {"file": file, "line": 2, "key": "command", "message": "cannot use that"},
            {"file": file, "line": 0, "key": "", "message": "cannot have both"}])

    fake.answers["Try"] = refuse
    assert cli("try", "--restart.wen=always", "sleep") == (
        1, "",
        ("cannot try sleep: its keys have errors\n--restart.wen: cannot use it\n"
         "the command line: cannot use that\nthe command line: cannot have both\n"))


def test_what_the_supervisor_says_of_a_method_is_said_of_the_units(
    fake: FakeSupervisor, cli: Cli
) -> None:
    def refuse(_: object) -> object:
        raise Refusal("Failed", message="cannot start: it is stopping; nothing was changed")

    fake.answers["Start"] = refuse
    assert cli("start", "a", "b").err == (
        "cannot start a b: it is stopping; nothing was changed\n")


def test_upgrade_waits_for_the_new_manager_and_tells_both_versions(
    fake: FakeSupervisor, cli: Cli
) -> None:
    def upgrade(_: object) -> dict[str, Any]:
        fake.supervisor = {**fake.supervisor, "manager_starts": 2, "version": "0.2.0", "pid": 77}
        return {}

    fake.answers["Upgrade"] = upgrade
    code, out, _ = cli("upgrade")
    assert code == 0
    assert out == "upgraded: 0.1.0 -> 0.2.0, manager 77; no service was restarted\n"


def test_try_says_how_a_task_went_that_is_over(fake: FakeSupervisor, cli: Cli) -> None:
    fake.answers["Try"] = lambda _: {"unit": "try-1"}
    fake.answers["Start"] = lambda _: answer(result("try-1", message="finished"))
    assert cli("try", "true") == (
        0, "try-1: finished\n`unboxed logs try-1` shows what it wrote\n", "")
    fake.answers["Start"] = lambda _: answer(result("try-1", 1, "cannot try try-1: exit 4"))
    assert cli("try", "--json", "false") == (
        1, '{"unit":"try-1"}\n', "cannot try try-1: exit 4\n")


def test_try_points_to_no_log_that_is_not_there(fake: FakeSupervisor, cli: Cli) -> None:
    fake.answers["Try"] = lambda _: {"unit": "try-1"}
    fake.answers["Start"] = lambda _: answer(result("try-1", message="finished"))
    assert cli("try", "--logs.to=inherit", "true").out == "try-1: finished\n"
    fake.answers["Start"] = lambda _: answer(result("try-1", message="running"))
    assert cli("try", "--logs.to=null", "sleep").out == (
        "try-1: running\n`unboxed stop try-1` ends it\n")


def test_set_sends_values_as_a_unit_file_has_them(fake: FakeSupervisor, cli: Cli) -> None:
    fake.answers["Set"] = lambda _: {"file": "/rt/x.toml", **answer(result("web", 0, "applied"))}
    words = ("limits.memory=1GiB", "limits.tasks=50", 'limits.io=[{path="/", read=9}]',
             "limits.cpus=")
    assert cli("set", "web", *words) == (0, "web: applied\nit is in /rt/x.toml\n", "")
    keys = {"memory": "1GiB", "tasks": 50, "io": [{"path": "/", "read": 9}], "cpus": None}
    assert fake.asked == [("Set", {"unit": "web", "keys": {"limits": keys}, "persist": False})]
    cli("set", "--persist", "web", "limits.tasks=5")
    assert fake.asked[-1][1]["persist"] is True


def test_set_says_what_could_not_be_applied(fake: FakeSupervisor, cli: Cli) -> None:
    said = "cannot apply all of it to web: limits.nice cannot be; the rest holds now"
    fake.answers["Set"] = lambda _: {"file": "/rt/x.toml", **answer(result("web", 1, said))}
    assert cli("set", "web", "limits.nice=1") == (1, "it is in /rt/x.toml\n", f"{said}\n")
    fake.answers["Set"] = lambda _: {"file": "/rt/x.toml", **answer()}
    assert cli("set", "web", "limits.nice=1").out.startswith("web: set; it does not run, ")


@pytest.mark.parametrize("words, said", [
    ((), "no KEY=VALUE is given"),
    (("limits.memory",), "write KEY=VALUE"),
    (("memory=1GiB",), "only keys of [limits] can be"),
    (("command=x",), "only keys of [limits] can be"),
    (("limits.=1",), "only keys of [limits] can be"),
    (("limits.tasks=1", "limits.tasks=2"), "it is given twice"),
    (("--persist", "--runtime", "limits.tasks=1"), "exclude each other"),
])  # fmt: skip
def test_what_set_cannot_understand_is_bad_usage_and_nothing_is_asked(
    fake: FakeSupervisor, cli: Cli, words: tuple[str, ...], said: str
) -> None:
    code, _, err = cli("set", "web", *words)
    assert code == 2
    assert err.startswith("cannot set ")
    assert said in err
    assert not fake.asked
