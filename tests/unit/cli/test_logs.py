"""logs: the lines of segment files, for eyes, for programs and as JSON."""
from __future__ import annotations

import json
import os
from errno import EACCES
from pathlib import Path

import pytest

from supervisor.cli.call import Call
from supervisor.cli.logs import follow_lines, last_lines
from supervisor.logger.form import ERROR, LOSS, OUTPUT
from tests.unit.cli.fake import Cli, FakeSupervisor, instance
from tests.unit.logger.made import make

S = 10**9
T0 = 1_795_233_380 * S  # 2026-11-21T03:56:20Z


def write(runtime: Path, key: str, *lines: tuple[int, bytes]) -> None:
    make(runtime / "logs", key, [(at, OUTPUT, line + b"\n") for at, line in lines])


def test_lines_of_several_units_are_merged_by_time_each_with_its_time_and_name(
    runtime: Path, cli: Cli
) -> None:
    write(runtime, "web/0", (T0, b"one"), (T0 + 2 * S, b"three"))
    write(runtime, "db", (T0 + S + 5, b"two \x1b[1m"))
    code, out, err = cli("logs")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "2026-11-21T03:56:20.000000000Z web/0 one",
        "2026-11-21T03:56:21.000000005Z db two \x1b[1m",
        "2026-11-21T03:56:22.000000000Z web/0 three",
    ]
    assert [line.split()[1:] for line in cli("logs", "web").out.splitlines()] == [
        ["web/0", "one"], ["web/0", "three"]]
    assert cli("logs", "-n", "1", "w*").out.endswith("web/0 three\n")
    assert cli("logs", "-n", "0").out == ""


def test_since_and_until_bound_the_time(runtime: Path, cli: Cli) -> None:
    write(runtime, "db", *((T0 + n * S, b"line %d" % n) for n in range(5)))
    out = cli("logs", "--since", "2026-11-21T03:56:21Z", "--until", "2026-11-21T03:56:22Z").out
    assert [line.rpartition(" ")[2] for line in out.splitlines()] == ["1", "2"]


def test_json_is_one_document_a_line(runtime: Path, cli: Cli) -> None:
    write(runtime, "web/3", (T0, b'say "hi" \xff\xc3\xa9'))
    assert json.loads(cli("logs", "--json").out) == {
        "time": "2026-11-21T03:56:20.000000000Z", "unit": "web", "instance": 3,
        "stream": "output", "message": 'say "hi" \\xffé'}


@pytest.mark.parametrize("words, code, text", [
    (("--since", "frob"), 2, "cannot read the time 'frob' of --since: it is none; write it like "),
    (("--grep", "x("), 2, "cannot search for 'x(': it is no regular expression, missing ), "),
    (("--priority", "bad"), 2, "cannot show lines of priority 'bad': there is none of that name;"),
    (("--priority", "8"), 2, "cannot show lines of priority '8': there is none of that name;"),
    (("--field", "status"), 2, "cannot look for the field 'status': it has no value; "),
    (("--field", "=500"), 2, "cannot look for the field '=500': it has no name; "),
    (("--stream", "stderr"), 2, "there is none of that name; --stream takes output, error, lost"),
    (("--boot",), 1, "cannot show the logs of this boot: nothing was logged since it began, in "),
    (("--boot=1",), 2, "cannot show the logs of boot '1': it is no number from 0 down; "),
    (("--boot=-1",), 1, "cannot show the logs of boot -1: nothing is known of it in "),
    (("--since", "1m", "--until", "1h"), 2, "cannot show logs: --since and --until leave no time"),
    (("--log-dir", "/nowhere"), 3, "cannot read logs in /nowhere: there is no such directory; "),
    (("-f", "--until", "1h"), 2, "cannot follow logs up to a time: --follow has no end"),
    (("--boot", "-1"), 2, "it has no option -1; the last lines are -n 10, the boot before"),
    (("-5", "web"), 2, "it has no option -5; the last lines are -n 10, the boot before"),
    (("wbe",), 3, "; did you mean web?"),
    (("zzz",), 3, "; for those of a supervisor with directories of its own, name them: --log-dir"),
])  # fmt: skip
def test_what_cannot_be_shown_is_one_sentence(
    runtime: Path, cli: Cli, words: tuple[str, ...], code: int, text: str
) -> None:
    write(runtime, "web", (T0, b"x"))
    outcome = cli("logs", *words)
    assert outcome.code == code
    assert text in outcome.err
    assert outcome.err.startswith("cannot ")
    assert outcome.err.count("\n") == 1


def test_without_any_logs_nothing_is_shown_and_that_is_no_failure(runtime: Path, cli: Cli) -> None:
    code, out, err = cli("logs")
    assert (code, out) == (0, "")
    assert err == (f"nothing is logged in {runtime}/logs so far; name another directory with"
                   " --log-dir DIR\n")
    (runtime / "logs").mkdir()
    assert cli("logs") == (0, "", "")


def test_a_directory_that_is_closed_is_not_permitted(
    runtime: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(path: str) -> list[str]:  # root, who runs tests too, may read everything
        raise PermissionError(EACCES, "Permission denied", path)

    monkeypatch.setattr("supervisor.cli.logs.streams", closed)
    outcome = cli("logs")
    assert outcome.code == 4
    assert outcome.err == f"cannot read logs in {runtime}/logs: permission denied; root may\n"


def test_the_logs_of_a_supervisor_with_another_log_directory_are_found_by_its_link(
    runtime: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(runtime, "web", (T0, b"x"))
    monkeypatch.delenv("UNBOXED_LOG_DIR")
    (runtime / "log").symlink_to(runtime / "logs")
    assert cli("logs").out.endswith(" web x\n")
    other = runtime / "other"
    other.mkdir()
    assert cli("logs", "--log-dir", str(other)).out == ""


def test_a_unit_that_has_written_nothing_is_no_failure_if_the_supervisor_knows_it(
    fake: FakeSupervisor, cli: Cli
) -> None:
    fake.instances = [instance("quiet")]
    assert cli("logs", "quiet") == (0, "", "quiet has written nothing so far\n")
    assert cli("logs", "nobody").code == 3


def test_that_the_output_of_a_unit_goes_elsewhere_is_said(fake: FakeSupervisor, cli: Cli) -> None:
    fake.instances = [instance("loud/0"), instance("loud/1"), instance("quiet")]
    fake.answers["Describe"] = lambda asked: {"definition": {
        "logs.to": '"null"' if asked["unit"].startswith("loud") else '"files"'}}
    assert cli("logs", "loud") == (0, "", 'nothing of loud is stored: logs.to of loud is "null"\n')
    assert cli("logs", "quiet") == (0, "", "quiet has written nothing so far\n")


def test_logs_of_a_group_are_those_of_its_members(
    runtime: Path, fake: FakeSupervisor, cli: Cli
) -> None:
    write(runtime, "web/0", (T0, b"one"))
    write(runtime, "db", (T0 + S, b"two"))
    write(runtime, "other", (T0 + S, b"three"))
    members = [instance("shop"), instance("web/0"), instance("db"), instance("quiet")]
    status = fake.answers["Status"]
    fake.answers["Status"] = lambda asked: (
        {"instances": members, "supervisor": fake.supervisor} if asked["units"] == ["shop"]
        else status(asked))
    code, out, err = cli("logs", "shop")
    assert (code, err) == (0, "")
    assert [line.split()[1:] for line in out.splitlines()] == [["web/0", "one"], ["db", "two"]]
    members[1:3] = []
    assert cli("logs", "shop") == (0, "", "shop has written nothing so far\n")


MIXED = (
    (T0, OUTPUT, b'{"level":"info","msg":"ready","http":{"status":200}}\n'),
    (T0 + S, ERROR, b"Traceback (most recent call last):\n"),
    (T0 + 2 * S, OUTPUT, b"level=warn msg=slow ms=812\n"),
    (T0 + 3 * S, LOSS, b'{"from":%d,"to":%d,"bytes":4096,"reason":"full"}\n' % (T0, T0 + 5 * S)),
    (T0 + 6 * S, OUTPUT, b"<3>cannot write\n"),
    (T0 + 7 * S, OUTPUT, "Ünicode, bad \\xff and plain\n".encode()),
    (T0 + 8 * S, OUTPUT, b'{"level":50,"msg":"pino"}\n'),
)
READY, TRACE, SLOW, LOST, WRITE, PLAIN, PINO = range(7)


@pytest.mark.parametrize("words, expected", [
    ((), (READY, TRACE, SLOW, LOST, WRITE, PLAIN, PINO)),
    (("--grep", "SLOW"), ()),
    (("-g", "traceback"), (TRACE,)),
    (("--grep", "ünicode"), (PLAIN,)),
    (("--grep", r"\bc[a-z]+t (write|read)$"), (WRITE,)),
    (("--grep", r"\S+ LAST|Most"), ()),
    (("--grep", "the disk was full, or failed"), (LOST,)),
    (("--grep", "level", "-n", "2"), (SLOW, PINO)),
    (("--priority", "err"), (TRACE, WRITE, PINO)),
    (("-p", "4"), (TRACE, SLOW, LOST, WRITE, PINO)),
    (("-p", "warning", "-n", "1", "--grep", "w"), (WRITE,)),
    (("--priority", "INFO"), (READY, TRACE, SLOW, LOST, WRITE, PLAIN, PINO)),
    (("--priority", "crit"), ()),
    (("--field", "msg=slow", "--field", "ms=812"), (SLOW,)),
    (("--field", "http.status=200"), (READY,)),
    (("--field", "level=50"), (PINO,)),
    (("--stream", "error"), (TRACE,)),
    (("--stream", "lost"), (LOST,)),
    (("--stream", "output", "-n", "2"), (PLAIN, PINO)),
])  # fmt: skip
def test_only_lines_of_which_all_is_true(
    runtime: Path, cli: Cli, words: tuple[str, ...], expected: tuple[int, ...]
) -> None:
    make(runtime / "logs", "web", MIXED, cuts={2, 5})
    code, out, err = cli("logs", "--json", *words)
    assert (code, err) == (0, "")
    times = [json.loads(line)["time"] for line in out.splitlines()]
    every = [json.loads(line)["time"] for line in cli("logs", "--json").out.splitlines()]
    assert times == [every[number] for number in expected]


def test_json_tells_what_a_line_says_about_itself(runtime: Path, cli: Cli) -> None:
    make(runtime / "logs", "web", [
        *MIXED, (T0 + 9 * S, OUTPUT, b'{"half":"\\ud800","inf":1e999,"nan":NaN}\n')])
    documents = [json.loads(line) for line in cli("logs", "--json").out.splitlines()]
    assert [one.get("priority") for one in documents] == [6, None, 4, None, 3, None, 3, None]
    assert documents[READY]["fields"] == {
        "level": "info", "msg": "ready", "http": {"status": 200}}
    assert documents[READY]["message"].startswith('{"level":"info"')
    assert documents[SLOW]["fields"] == {"level": "warn", "msg": "slow", "ms": "812"}
    assert "fields" not in documents[WRITE]
    assert documents[TRACE]["stream"] == "error"
    assert documents[LOST] == {
        "time": "2026-11-21T03:56:23.000000000Z", "unit": "web", "instance": 0, "stream": "lost",
        "message": "4,096 bytes were lost in 5 s: the disk was full, or failed",
        "from": "2026-11-21T03:56:20.000000000Z", "to": "2026-11-21T03:56:25.000000000Z",
        "bytes": 4096, "reason": "full"}
    assert documents[-1]["fields"] == {"half": "\ud800", "inf": "1e999", "nan": "NaN"}


def test_programs_see_errors_and_losses_by_a_mark(runtime: Path, cli: Cli) -> None:
    make(runtime / "logs", "web", [*MIXED[:4], (T0 + 4 * S, LOSS, b"torn\n")])
    assert [line.split(" ", 1)[1] for line in cli("logs").out.splitlines()] == [
        'web {"level":"info","msg":"ready","http":{"status":200}}',
        "web! Traceback (most recent call last):",
        "web level=warn msg=slow ms=812",
        "web! 4,096 bytes were lost in 5 s: the disk was full, or failed",
        "web! lines were lost; the record of that is damaged: torn",
    ]


def test_failures_in_the_log_of_the_supervisor_are_errors(runtime: Path, cli: Cli) -> None:
    def event(to: str) -> bytes:
        return b'{"id":1,"unit":"web","from":"up","to":"%s","cause":"exit 1"}\n' % to.encode()

    make(runtime / "logs", "unboxed", [
        (T0 + number * S, OUTPUT, event(to))
        for number, to in enumerate(["up", "backoff", "failed"])])
    assert cli("logs", "-p", "err").out.endswith("unboxed web: up -> failed (exit 1)\n")
    assert cli("logs", "-p", "warning").out.count("\n") == 2
    assert cli("logs", "--grep", "up -> up").out.count("\n") == 1
    assert cli("logs", "--field", "to=backoff").out.count("\n") == 1


def test_boots_bound_the_time(runtime: Path, cli: Cli) -> None:
    now = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    make(runtime / "logs", "web",
         [(T0 + number * S, OUTPUT, b"line %d\n" % number) for number in range(9)], cuts={4})
    boots = runtime / "logs" / ".boots"
    boots.write_text(f"first {T0 + S}\nsecond {T0 + 4 * S}\ntorn")

    def numbers(*words: str) -> str:
        code, out, err = cli("logs", *words)
        assert (code, err) == (0, "")
        return "".join(line[-1] for line in out.splitlines())

    assert numbers("--boot=-1") == "45678"
    assert numbers("--boot=-2") == "123"
    boots.write_text(f"first {T0 + S}\nsecond {T0 + 4 * S}\n{now} {T0 + 7 * S}\n")
    assert numbers("--boot") == "78"
    assert numbers("--boot=-1") == "456"
    assert numbers("--boot=-1", "-n", "1", "web") == "6"
    assert numbers("--boot=-2", "--since", f"@{T0 // S + 3}") == "3"
    assert cli("logs", "--boot=-3").err.endswith("; --boot=-2 is the oldest\n")
    assert cli("logs", "-f", "--boot=-1").err.startswith("cannot follow logs up to a time: ")


def test_any_number_of_last_lines_may_be_asked_for(runtime: Path, cli: Cli) -> None:
    write(runtime, "db", *((T0 + n * S, b"line %d" % n) for n in range(5)))
    write(runtime, "web", *((T0 + n * S + 1, b"line %d" % n) for n in range(5)))
    assert cli("logs", "-n", str(10**30)).out.count("\n") == 10


def test_the_last_of_very_many_lines_are_told_without_remembering_them(
    runtime: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisor.logger.read.REMEMBERED", 3)
    write(runtime, "db", *((T0 + n * S, b"line %d" % n) for n in range(50)))
    write(runtime, "web", *((T0 + n * S + 1, b"line %d" % n) for n in range(50)))
    for count in (3, 4, 7, 99, 100, 101):
        out = cli("logs", "-n", str(count)).out.splitlines()
        assert len(out) == min(count, 100)
        assert out == cli("logs").out.splitlines()[-count:]


def test_a_loss_is_told_in_words_wherever_lines_are_shown(runtime: Path) -> None:
    make(runtime / "logs", "web", MIXED)
    words = "4,096 bytes were lost in 5 s: the disk was full, or failed"
    call = Call("status", options={"log-dir": str(runtime / "logs")})
    assert last_lines(call, "web", 4)[0].endswith("  " + words)
    over, end = os.pipe()
    os.close(end)
    followed = list(follow_lines(call, T0, over))
    os.close(over)
    assert followed[LOST] == (T0 + 3 * S, "web", words.encode())
    assert len(followed) == len(MIXED)
