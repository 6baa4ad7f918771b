import os
from pathlib import Path

import pytest

from supervisor.control.access import ADMIN, OBSERVE, OPERATE, Access, Peer, Rule
from supervisor.control.access_file import parse, read

OURS, GROUP = 900, 50
GOOD = """
# who may do what
[[allow]]
user = "daemon"
role = "operate"
units = ["web*", "db"]

[[allow]]
group = 60
role = "admin"
"""


def test_rules_are_read_with_names_and_numbers() -> None:
    access = parse("f", GOOD, OURS, GROUP)
    assert access == Access(OURS, GROUP, (
        Rule(1, None, OPERATE, ("web*", "db")), Rule(None, 60, ADMIN, ("*",)),
    ))


def test_inline_tables_and_an_empty_file_are_rules_too() -> None:
    access = parse("f", 'allow = [{user = 5, role = "observe"}]', OURS, None)
    assert access.rules == (Rule(5, None, OBSERVE),)
    assert parse("f", "# nothing\n", OURS, GROUP) == Access(OURS, GROUP)


HEAD = '[[allow]]\nuser = "daemon"\nrole = "operate"\n'


@pytest.mark.parametrize("text, line, key", [
    ("[[allow]\n", 1, ""),
    ("a = [" + "[" * 5000, 0, ""),
    (HEAD + "unit = ['web']\n", 4, "unit"),
    ("deny = []\n" + HEAD, 1, "deny"),
    (HEAD + HEAD.replace("operate", "root"), 6, "role"),
    (HEAD + HEAD.replace('"operate"', "3"), 6, "role"),
    (HEAD.replace('role = "operate"\n', ""), 1, "role"),
    (HEAD.replace('user = "daemon"\n', ""), 1, "allow"),
    (HEAD + 'group = "daemon"\n', 1, "allow"),
    (HEAD + 'units = "web"\n', 4, "units"),
    (HEAD + "units = []\n", 4, "units"),
    (HEAD + 'units = ["../x"]\n', 4, "units"),
    (HEAD + 'units = [""]\n', 4, "units"),
    (HEAD.replace("operate", "admin") + 'units = ["web"]\n', 4, "units"),
    (HEAD.replace("daemon", "nobody-of-that-name"), 2, "user"),
    (HEAD.replace('user = "daemon"', 'group = "no-such-group"'), 2, "group"),
    ("allow = 3\n", 1, "allow"),
    ("allow = [3]\n", 1, "allow"),
])
def test_an_error_is_told_with_its_line_and_closes_everything(
    text: str, line: int, key: str
) -> None:
    access = parse("/etc/unboxed/access.toml", text, OURS, GROUP)
    assert [(p.file, p.line, p.key) for p in access.problems] == [
        ("/etc/unboxed/access.toml", line, key)]
    message = access.problems[0].message
    assert message.startswith("cannot ")
    assert message.endswith("; until it is mended, nobody but root and the supervisor's own user"
                            " has a role")
    assert access.rules == ()
    assert access.rights(Peer(1, frozenset({GROUP}), "control")).role == 0


@pytest.mark.parametrize("value", [
    '"0day"', '"0x0"', '"-1"', '"4294967295"', '""', '"0"', '"1000"', '"rööt"', '"daemon "',
    "-1", "4294967295", "65534", "1.0", "true", "false", '["daemon"]', '"nobody"',
])
@pytest.mark.parametrize("key", ["user", "group"])
def test_odd_users_and_groups_are_refused(key: str, value: str) -> None:
    text = HEAD.replace('user = "daemon"', f"{key} = {value}")
    if (key, value) == ("group", '"nobody"'):
        text = text.replace('"nobody"', '"nogroup"')
    assert [p.key for p in parse("f", text, OURS, GROUP).problems] == [key]


def test_all_errors_are_told_at_once() -> None:
    text = HEAD + "x = 1\n" + HEAD.replace("operate", "god") + "[other]\n"
    assert {(p.line, p.key) for p in parse("f", text, OURS, GROUP).problems} == {
        (4, "x"), (7, "role"), (8, "other")}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "access.toml"
    path.write_text(HEAD)
    path.chmod(0o644)
    return path


def test_a_file_of_ones_own_is_believed(file: Path) -> None:
    assert read(str(file), os.geteuid(), GROUP).rules == (Rule(1, None, OPERATE),)


def test_no_file_means_the_defaults(tmp_path: Path) -> None:
    assert read(str(tmp_path / "access.toml"), OURS, GROUP) == Access(OURS, GROUP)


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_may_write_is_not_believed(file: Path, mode: int) -> None:
    file.chmod(mode)
    (problem,) = read(str(file), os.geteuid(), GROUP).problems
    assert "its group or others may write it" in problem.message


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to give a file to somebody else")
def test_a_file_of_somebody_else_is_not_believed(file: Path) -> None:
    os.chown(file, 1234, 0)
    (problem,) = read(str(file), 0, GROUP).problems
    assert "it belongs to uid 1234" in problem.message


def test_a_link_a_pipe_and_a_huge_file_are_not_believed(file: Path) -> None:
    link, pipe, huge = (file.with_name(name) for name in ("link", "pipe", "huge"))
    link.symlink_to(file)
    os.mkfifo(pipe, 0o600)
    huge.write_text("#" * 70_000)
    huge.chmod(0o600)
    for path in (link, pipe, huge, file.parent):
        access = read(str(path), os.geteuid(), GROUP)
        assert len(access.problems) == 1
        assert access.rights(Peer(1, frozenset({GROUP}), "control")).role == 0


def test_a_file_that_is_no_utf8_is_not_believed(file: Path) -> None:
    file.write_bytes(b"# \xff\n")
    (problem,) = read(str(file), os.geteuid(), GROUP).problems
    assert "it is not UTF-8" in problem.message
