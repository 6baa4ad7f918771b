"""logs: the lines of segment files, for eyes, for programs and as JSON."""
from __future__ import annotations

import json
from errno import EACCES
from pathlib import Path

import pytest

from supervisor.logger.form import ENTRY, directory_of
from tests.unit.cli.fake import Cli, FakeSupervisor, instance

S = 10**9
T0 = 1_795_233_380 * S  # 2026-11-21T03:56:20Z


def write(runtime: Path, key: str, *lines: tuple[int, bytes]) -> None:
    directory = runtime / "logs" / directory_of(key)
    directory.mkdir(parents=True, exist_ok=True)
    data = index = b""
    for at, line in lines:
        index += ENTRY.pack(at, len(data), len(line) + 1, 1, 0)
        data += line + b"\n"
    (directory / f"{0:016x}.log").write_bytes(data)
    (directory / f"{0:016x}.idx").write_bytes(index)


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
    (("--grep", "x"), 2, "cannot search logs: --grep is not supported yet; "),
    (("--boot",), 2, "cannot show the logs of one boot: --boot is not supported yet; "),
    (("-f", "--until", "1h"), 2, "cannot follow logs up to a time: --follow has no end"),
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


def test_without_any_logs_nothing_is_shown_and_that_is_no_failure(cli: Cli) -> None:
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
