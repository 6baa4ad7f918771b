"""The quick parser agrees with click wherever it answers at all, and click explains the rest."""
from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.cli.call import BAD_USAGE, Call, Failure
from supervisor.cli.front import _HABITS, understand
from supervisor.cli.parse import parse
from supervisor.cli.table import BY_NAME, COMMANDS, LATER

COMMON = [
    "status", "status web", "status --json", "status web* db/1 --json", "start web db",
    "stop --no-wait web", "--runtime-dir /tmp/rt status", "status --runtime-dir=/tmp/rt",
    "--runtime-dir a status --runtime-dir b", "kill web --signal HUP", "kill -s 9 web",
    "kill --signal=USR1 -- web", "kill -9 web", "kill web -KILL",
    "kill -RTMIN+3 -- -9", "--runtime-dir kill kill -SIGHUP web",
    "logs -f -n 20 web", "logs --since 10m --until -5m", "logs --boot web", "logs --boot=-1",
    "logs web -g x.*y --grep --boot -p err --field a=b --field=c.d=1 --stream error",
    "events --json",
    "run --units a --units=b web", "check units", "explain web", "why web/1", "schema", "upgrade",
    "completion bash", "try -- sleep 5", "try --env.A=b=c --user=nobody sleep -n 5",
    "try --json --restart.when=always -- sh -c x -- --env.B=c", "reload",
    "completion words -- status --json", "agent metrics --listen 127.0.0.1:0 -- --json",
]


@pytest.mark.parametrize("line", COMMON)
def test_ordinary_command_lines_need_no_library_and_mean_the_same_to_click(line: str) -> None:
    argv = line.split()
    quick = parse(argv)
    assert quick is not None
    assert understand(argv) == quick


OPTION_WORDS = sorted({name for command in COMMANDS for option in command.options
                       for name in option.names})
ANY_WORD = st.one_of(
    st.sampled_from([*BY_NAME, *OPTION_WORDS, "--", "-", "--runtime-dir", "--runtime-dir=x", "-n5",
                     "--env.A=b", "--signal=HUP", "--json=1", "web", "3", "-5", "", "--lines=7",
                     "-KILL", "-9", "-s"]),
    st.text("-=ab1 ", max_size=6),
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(BY_NAME)), st.lists(ANY_WORD, max_size=5))
def test_whatever_the_quick_parser_accepts_click_reads_the_same_way(
    verb: str, words: list[str]
) -> None:
    quick = parse([verb, *words])
    if quick is not None:
        assert understand([verb, *words]) == quick


def test_a_signal_is_named_as_for_the_kill_of_a_shell() -> None:
    for line, signal in (("-9 web", "9"), ("-KILL web", "KILL"), ("-s 9 web", "9")):
        assert parse(["kill", *line.split()]) == Call("kill", ["web"], {"signal": signal})
    assert parse(["stop", "-9", "web"]) is None


def test_what_is_given_after_the_verb_wins_over_what_stands_before_it() -> None:
    assert parse(["--runtime-dir", "a", "status", "--runtime-dir", "b"]) == Call(
        "status", options={"runtime-dir": "b"})


def test_keys_of_a_unit_are_taken_before_the_command_and_never_from_it() -> None:
    call = parse(["try", "--env.A=b", "--json", "env", "--env.C=d"])
    assert call is not None
    assert call.keys == (("env.A", "b"),)
    assert call.words == ("env", "--env.C=d")
    assert call.flag("json")


def complaint(*argv: str) -> str:
    with pytest.raises(Failure) as raised:
        understand(argv)
    assert raised.value.code == BAD_USAGE
    return raised.value.text


def test_each_verb_of_a_later_version_is_refused_by_name_with_what_serves_until_then() -> None:
    for verb in LATER:
        assert complaint(verb, "--anything", "web") == (
            f"cannot run `unboxed {verb}`: it is not supported yet; {LATER[verb]}")
        assert verb not in BY_NAME


def test_words_of_other_managers_are_answered_with_what_serves_here() -> None:
    for verb, hint in _HABITS.items():
        assert verb not in BY_NAME
        assert verb not in LATER
        for word in re.findall(r"`unboxed ([a-z-]+)", hint):
            assert word in BY_NAME, hint


@pytest.mark.parametrize("argv, message", [
    (["stauts"], (
        "cannot run `unboxed stauts`: there is no such command; did you mean `unboxed status`?")),
    (["stat"], (
        "cannot run `unboxed stat`: there is no such command; did you mean `unboxed status`?")),
    (["bogus"], (
        "cannot run `unboxed bogus`: there is no such command; see `unboxed --help`")),
    (["is-active", "web"], (
        "cannot run `unboxed is-active`: there is no such command; `unboxed status UNIT` ends with"
        " 0 if it is up, with 3 if not")),
    (["kill", "-x", "web"], (
        "cannot run `unboxed kill`: it has no option -x; see `unboxed kill --help`")),
    (["start"], "cannot run `unboxed start`: UNIT is missing; see `unboxed start --help`"),
    (["start", "--frob", "a"], (
        "cannot run `unboxed start`: it has no option --frob; see `unboxed start --help`")),
    (["logs", "-n", "x"], (
        "cannot run `unboxed logs`: --lines takes a whole number from 0, not 'x';"
        " see `unboxed logs --help`")),
    (["why", "a", "b"], (
        "cannot run `unboxed why`: it does not take b; see `unboxed why --help`")),
    (["try", "--user", "nobody", "ls"], (
        "cannot run `unboxed try`: it has no option --user; keys of a unit are written"
        " --user=VALUE, before the command")),
    (["--runtime-dir", "x"], (
        "cannot understand the command line: no command is named; see `unboxed --help`")),
])  # fmt: skip
def test_bad_usage_is_one_sentence_and_says_where_to_look(argv: list[str], message: str) -> None:
    assert complaint(*argv) == message


def test_help_names_every_command_and_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert understand(["--help"]) == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert f"\n  {command.name} " in text
        assert understand([command.name, "--help"]) == 0
        page = capsys.readouterr().out
        assert all(name in page for option in command.options for name in option.names)


def test_a_bare_call_shows_the_commands_and_counts_as_bad_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert understand([]) == BAD_USAGE
    assert "Commands:" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert understand(["--version"]) == 0
    assert capsys.readouterr().out.startswith("unboxed ")
