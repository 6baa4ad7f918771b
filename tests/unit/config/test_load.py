"""Directories of unit files: rank, drop-ins, and one broken unit that never stops another."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from supervisor.config.load import iter_units, load_table, load_text, read_unit, read_units
from supervisor.config.problem import Broken
from supervisor.model.sandbox import Network, Sandbox
from supervisor.model.unit import Limits, Unit


@pytest.fixture
def dirs(tmp_path: Path) -> list[Path]:
    """High, middle, low."""
    made = [tmp_path / name for name in ("high", "middle", "low")]
    for path in made:
        path.mkdir(mode=0o755)
    return made


def _write(path: Path, text: str | bytes = 'command = "/bin/x"\n') -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def _read(dirs: list[Path]) -> tuple[dict[str, Unit], list[str], list[str]]:
    loaded = read_units([str(path) for path in dirs])
    return loaded.units, list(map(str, loaded.problems)), list(map(str, loaded.warnings))


def test_a_directory_that_is_missing_or_empty_is_no_error(dirs: list[Path]) -> None:
    assert _read([*dirs, dirs[0] / "none"]) == ({}, [], [])
    assert _read([]) == ({}, [], [])


def test_a_directory_of_higher_rank_hides_a_file_below(dirs: list[Path]) -> None:
    _write(dirs[2] / "web.toml", "this is broken, and never looked at")
    _write(dirs[1] / "web.toml")
    _write(dirs[2] / "db.toml")
    units, problems, _ = _read(dirs)
    assert not problems
    assert {name: unit.source for name, unit in units.items()} == {
        "web": f"{dirs[1]}/web.toml",
        "db": f"{dirs[2]}/db.toml",
    }


def test_a_broken_file_of_higher_rank_is_an_error_not_a_way_down(dirs: list[Path]) -> None:
    _write(dirs[0] / "web.toml", "comand = 1")
    _write(dirs[1] / "web.toml")
    units, problems, _ = _read(dirs)
    assert not units
    assert problems[0].startswith(f"{dirs[0]}/web.toml:1: comand: cannot use")


def test_units_come_one_by_one_in_order_of_name(dirs: list[Path]) -> None:
    for name in ("c", "a", "b"):
        _write(dirs[0] / f"{name}.toml", "" if name == "b" else 'command = "x"')
    found = list(iter_units([str(path) for path in dirs]))
    assert [one.name for one in found] == ["a", "b", "c"]
    assert [type(one) for one in found] == [Unit, Broken, Unit]


def test_an_iteration_that_is_given_up_closes_its_directories(dirs: list[Path]) -> None:
    _write(dirs[0] / "a.toml")
    before = os.listdir("/proc/self/fd")
    units = iter_units([str(path) for path in dirs])
    next(units)
    units.close()  # type: ignore[attr-defined]
    assert len(os.listdir("/proc/self/fd")) == len(before)
    read_units([str(path) for path in dirs])
    assert len(os.listdir("/proc/self/fd")) == len(before)


# --- what is no unit file ---


def test_other_entries_are_ignored_and_named(dirs: list[Path]) -> None:
    for name in (".hidden", ".web.toml.swp", ".x.toml", "web.toml~", "README", "web.toml.bak"):
        _write(dirs[0] / name, "x")
    (dirs[0] / "sub").mkdir()
    units, problems, warnings = _read(dirs)
    assert (units, problems) == ({}, [])
    assert sorted(line.split(": ")[0].rpartition("/")[2] for line in warnings) == [
        "README", "sub", "web.toml.bak",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["Web", "-a", "a b", "ä", "a" * 64, "unboxed", "a\nb", ""])
def test_a_file_name_that_is_no_unit_name_is_refused(dirs: list[Path], name: str) -> None:
    _write(dirs[0] / f"{name}.toml") if name else _write(dirs[0] / "-.toml")
    units, problems, _ = _read(dirs)
    assert not units
    assert "cannot be a unit: " in problems[0]
    assert problems[0].isprintable()


def test_a_file_name_that_is_no_text_is_refused(dirs: list[Path]) -> None:
    with open(os.fsencode(dirs[0]) + b"/\xff.toml", "wb"):
        pass
    units, problems, _ = _read(dirs)
    assert not units
    assert problems[0].encode().endswith(b"rename it")


@pytest.mark.parametrize(
    "make, reason",
    [
        (lambda p: p.mkdir(), "no regular file"),
        (os.mkfifo, "no regular file"),
        (lambda p: p.symlink_to("/etc/passwd"), "it is a symbolic link"),
        (lambda p: p.symlink_to(p), "it is a symbolic link"),
        (lambda p: p.symlink_to("nowhere"), "it is a symbolic link"),
        (lambda p: p.write_bytes(b"#" * 65537), "more than 64 KiB"),
        (lambda p: os.truncate(p, 10 << 20) if p.write_bytes(b"") == 0 else None, "64 KiB"),
        (lambda p: p.write_bytes(bytes(1000)), "control character 0x00"),
        (lambda p: p.write_bytes(bytes(60000)), "control character 0x00"),
        (lambda p: p.write_bytes(b"\xff\xfe"), "not UTF-8"),
        (lambda p: p.write_bytes(b"\xef\xbb\xbfcommand='x'"), "byte order mark"),
        (lambda p: p.write_bytes(b"a = \x1b[31m"), "control character 0x1b"),
        (lambda p: p.write_bytes(b"\n\ncommand = 'x\n"), ":3: cannot read it"),
        (lambda p: p.write_bytes(b"a = 1\na = 2\n"), ":2: cannot read it: this key is given twice"),
        (lambda p: (p.write_bytes(b""), p.chmod(0o666)), "everybody may write it"),
    ],
)
def test_a_file_that_cannot_be_used(dirs: list[Path], make: object, reason: str) -> None:
    make(dirs[0] / "web.toml")  # type: ignore[operator]
    _write(dirs[0] / "db.toml")
    units, problems, _ = _read(dirs)
    assert list(units) == ["db"]
    assert len(problems) == 1
    assert problems[0].startswith(f"{dirs[0]}/web.toml:")
    assert "cannot " in problems[0]
    assert reason in problems[0]
    assert problems[0].isprintable()


def test_a_file_of_somebody_else_is_refused(
    dirs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who we are is what is changed here: to own a file as another user takes root."""
    path = _write(dirs[0] / "web.toml")
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
        os.chown(dirs[1], 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 54321)
    units, problems, _ = _read(dirs)
    assert not units
    assert any("cannot trust it: user " in problem for problem in problems)


def test_a_socket_does_not_hang_the_reader(dirs: list[Path]) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(dirs[0] / "web.toml"))
        _, problems, _ = _read(dirs)
    assert "cannot read it: " in problems[0]


def test_a_directory_that_cannot_be_used(dirs: list[Path]) -> None:
    _write(dirs[2] / "web.toml")
    file = _write(dirs[0] / "file", "")
    dirs[1].chmod(0o777)
    loaded = read_units([str(file), str(dirs[1]), "a\0b", str(dirs[2])])
    assert list(loaded.units) == ["web"]
    lines = list(map(str, loaded.problems))
    assert len(lines) == 3
    assert lines[0] == f"{file}: cannot read this unit directory: it is not a directory"
    assert "everybody may write it" in lines[1]
    assert "cannot read this unit directory" in lines[2]


def test_a_directory_may_be_reached_through_a_link(dirs: list[Path]) -> None:
    _write(dirs[0] / "web.toml")
    link = dirs[0].parent / "link"
    link.symlink_to(dirs[0])
    assert list(_read([link])[0]) == ["web"]


# --- drop-ins ---


def test_drop_ins_merge_tables_and_replace_the_rest(dirs: list[Path]) -> None:
    _write(
        dirs[2] / "web.toml",
        'command = "/bin/x"\ngroups = ["a", "b"]\nstop.ladder = ["INT"]\n[restart]\n'
        'when = "always"\ndelay = 5\nlimit = {count = 3, within = 9}\n[env]\nA = 1\nB = 2\n'
        '[[listen]]\naddress = "tcp:1"\n',
    )
    _write(
        dirs[0] / "web.toml.d" / "50-local.toml",
        'groups = ["c"]\nstop.ladder = []\n[restart]\ndelay = 0\nlimit.within = 7\n'
        '[env]\nB = 3\n[[listen]]\naddress = "tcp:2"\n[reload]\nsignal = "USR1"\n',
    )
    unit = _read(dirs)[0]["web"]
    assert unit.groups == ("c",)
    assert unit.stop == Unit("x").stop
    assert unit.restart.when == "always"
    assert unit.restart.delay_ns == 0
    assert unit.restart.limit is not None
    assert (unit.restart.limit.count, unit.restart.limit.within_ns) == (3, 7_000_000_000)
    assert unit.env == (("A", "1"), ("B", "3"))
    assert [listen.port for listen in unit.listen] == [2]
    assert unit.reload.signal == 10
    assert unit.source == f"{dirs[2]}/web.toml"


def test_one_unit_is_read_as_if_a_drop_in_were_written(dirs: list[Path]) -> None:
    _write(dirs[1] / "web.toml", 'command = "/bin/x"\n[limits]\ntasks = 7\n')
    _write(dirs[1] / "other.toml", "nonsense")
    _write(dirs[0] / "web.toml.d" / "20-x.toml", "[limits]\ntasks = 8\ncpu_weight = 5\n")
    places = [str(path) for path in dirs]

    def limits(**instead: str) -> Limits | None:
        there = {f"{dirs[0]}/web.toml.d/{name}": text for name, text in instead.items()}
        found = read_unit(places, "web", there)
        assert isinstance(found, Unit), found
        return found.limits

    assert limits() == Limits(tasks=8, cpu_weight=5)
    assert limits(**{"30-y.toml": "[limits]\ntasks = 9\n"}) == Limits(tasks=9, cpu_weight=5)
    assert limits(**{"10-y.toml": "[limits]\ntasks = 9\n"}) == Limits(tasks=8, cpu_weight=5)
    assert limits(**{"20-x.toml": ""}) == Limits(tasks=7), "as if it were gone"
    broken = read_unit(places, "web", {f"{dirs[0]}/web.toml.d/30-y.toml": "[limits]\ntasks = 0\n"})
    assert isinstance(broken, Broken)
    assert [(p.file, p.line, p.key) for p in broken.problems] == [
        (f"{dirs[0]}/web.toml.d/30-y.toml", 2, "limits.tasks")]
    assert read_unit(places, "nobody", {}) is None
    assert not (dirs[0] / "web.toml.d" / "30-y.toml").exists()


def test_drop_ins_apply_in_order_of_file_name_and_rank_decides_among_equals(
    dirs: list[Path],
) -> None:
    _write(dirs[1] / "web.toml")
    for index, path in enumerate(dirs):
        _write(path / "web.toml.d" / "10.toml", f"env.A = {index}\nenv.B = {index}")
    _write(dirs[2] / "web.toml.d" / "20.toml", "env.B = 9")
    _write(dirs[0] / "web.toml.d" / "00.toml", "env.A = 7\nenv.C = 7")
    units, problems, warnings = _read(dirs)
    assert (problems, warnings) == ([], [])
    assert units["web"].env == (("A", "0"), ("B", "9"), ("C", "7"))


def test_an_empty_list_takes_a_key_away(dirs: list[Path]) -> None:
    _write(dirs[0] / "web.toml", 'command = "/bin/x"\nuser = "www"\nreload = "restart"\n')
    _write(dirs[0] / "web.toml.d" / "a.toml", "user = []\nreload = []\nenv = []\n")
    assert _read(dirs)[0]["web"] == Unit("web", f"{dirs[0]}/web.toml", command=("/bin/x",))
    _write(dirs[0] / "web.toml.d" / "b.toml", "command = []\n")
    assert "without a command" in _read(dirs)[1][0]


def test_an_empty_list_of_isolation_allows_nothing(dirs: list[Path]) -> None:
    """To take such a key away would open what the unit file had closed."""
    sandbox = '[sandbox]\nread = "/srv"\n[network]\nconnect = "tcp:80"\n'
    _write(dirs[0] / "web.toml", f'command = "/bin/x"\n{sandbox}')
    drop_in = "sandbox.read = []\nnetwork.connect = []\nsandbox.capabilities = []\n"
    _write(dirs[0] / "web.toml.d" / "a.toml", drop_in)
    unit = _read(dirs)[0]["web"]
    assert unit.sandbox == Sandbox(read=(), capabilities=())
    assert unit.network == Network(connect=())


def test_a_drop_in_that_lowers_the_level_is_named(dirs: list[Path]) -> None:
    unit = dirs[0] / "web.toml"
    preset = dirs[0] / "web.toml.d" / "00-preset.toml"
    _write(unit, 'command = "/bin/x"\nsandbox.level = "strict"\nsandbox.promises = "stdio"\n')
    _write(preset, '# preset\n[sandbox]\nlevel = "app"\n')
    place = f'{preset}:3: sandbox.level: lowers the level, which is "strict" in {unit}; '
    assert _read(dirs)[2] == [f"{place}take it out here to keep that"]
    last = dirs[0] / "web.toml.d" / "learned.toml"
    _write(last, 'sandbox.level = "strict"\n')
    assert _read(dirs)[2] == []
    _write(preset, 'sandbox.level = "strictest"\n')
    _write(last, 'sandbox.level = "base"\n')
    assert [line.partition(":")[0] for line in _read(dirs)[2]] == [str(last)]


def test_an_empty_unit_may_get_its_command_from_a_drop_in(dirs: list[Path]) -> None:
    _write(dirs[0] / "web.toml", "")
    _write(dirs[0] / "web.toml.d" / "a.toml", 'command = "/bin/x"\nstop.ladder = []')
    assert _read(dirs)[0]["web"] == Unit("web", f"{dirs[0]}/web.toml", command=("/bin/x",))


def test_an_error_names_the_drop_in_that_holds_it(dirs: list[Path]) -> None:
    _write(dirs[0] / "web.toml", 'command = "/bin/x"\n[restart]\nwhen = "always"\nfoo = 1\n')
    _write(dirs[1] / "web.toml.d" / "a.toml", '# local\n[restart]\nwhen = "often"\ndelay = 1\n')
    _write(dirs[0] / "web.toml.d" / "b.toml", 'restart.delay = "x"\nstart.watchdog = 5\n')
    assert [line.split(": cannot")[0] for line in _read(dirs)[1]] == [
        f"{dirs[0]}/web.toml:4: restart.foo",
        f"{dirs[1]}/web.toml.d/a.toml:3: restart.when",
        f"{dirs[0]}/web.toml.d/b.toml:1: restart.delay",
        f"{dirs[0]}/web.toml.d/b.toml:2: start.watchdog",
    ]


def test_every_unreadable_drop_in_is_named(dirs: list[Path]) -> None:
    _write(dirs[0] / "web.toml", "also = broken")
    _write(dirs[0] / "db.toml")
    (dirs[0] / "web.toml.d").mkdir()
    (dirs[0] / "web.toml.d" / "a.toml").symlink_to("/etc/passwd")
    _write(dirs[0] / "web.toml.d" / "b.toml", "x = ")
    _write(dirs[0] / "web.toml.d" / "ignored.conf", "x = ")
    (dirs[1] / "web.toml.d").symlink_to(dirs[0])
    _write(dirs[2] / "web.toml.d", "no directory")
    units, problems, _ = _read(dirs)
    assert list(units) == ["db"]
    assert sorted(line.split(": ")[0] for line in problems) == sorted([
        f"{dirs[0]}/web.toml:1",
        f"{dirs[0]}/web.toml.d/a.toml",
        f"{dirs[0]}/web.toml.d/b.toml:1",
        f"{dirs[1]}/web.toml.d",
        f"{dirs[2]}/web.toml.d",
    ])


def test_too_many_drop_ins_are_refused(dirs: list[Path]) -> None:
    _write(dirs[0] / "web.toml")
    for number in range(5):
        _write(dirs[0] / "web.toml.d" / f"{number}.toml", "#" * 16000 + ("\n" + "#" * 16000) * 3)
    assert "with its drop-ins it has more than 256 KiB" in _read(dirs)[1][0]
    for number in range(300):
        _write(dirs[0] / "web.toml.d" / f"{number}.toml", "")
    assert "more than 256 drop-ins" in _read(dirs)[1][0]


def test_drop_ins_of_no_unit_are_named(dirs: list[Path]) -> None:
    _write(dirs[0] / "wbe.toml.d" / "a.toml", "pin = true")
    units, problems, warnings = _read(dirs)
    assert (units, problems) == ({}, [])
    assert warnings == [f"{dirs[0]}/wbe.toml.d: cannot be used: no unit has that name"]


# --- units that are no files ---


def test_a_table_makes_the_unit_that_its_text_makes() -> None:
    table = {"command": ["/bin/x"], "restart": {"delay": 0}, "env": {"A": "1"}}
    text = 'command = ["/bin/x"]\nrestart.delay = 0\nenv.A = "1"\n'
    assert load_table("try-1", table, "s") == load_text("try-1", text, "s")


@pytest.mark.parametrize("name", ["unboxed", "", "Web", "a/b", "a\n"])
def test_a_name_that_no_unit_can_have_is_refused(name: str) -> None:
    for found in (load_table(name, {"command": ["x"]}, "s"), load_text(name, 'command="x"', "s")):
        assert isinstance(found, Broken)
        assert "cannot be a unit" in str(found.problems[0])


def test_a_table_from_a_stranger_is_refused_like_a_file() -> None:
    table = {"command": None, "restart": {"delay": "x"}, "\ud800": 1}
    found = load_table("a", table, "try")
    assert isinstance(found, Broken)
    assert [problem.key for problem in found.problems] == [
        "command", "restart.delay", '"\\ud800"',
    ]  # fmt: skip


def test_what_is_no_unicode_is_no_text() -> None:
    """It cannot be written to a file or passed to a program."""
    assert isinstance(load_table("a", {"command": ["/bin/x", "\ud800"]}, "try"), Broken)
    assert isinstance(load_text("a", 'command = "\udcff"', "s"), Broken)
