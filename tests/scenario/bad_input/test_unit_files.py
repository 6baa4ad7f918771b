"""Unit files that are wrong, by `unboxed check` and at a start among good ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from supervisor.config.schema import walk
from tests.scenario.bad_input.kit import MESSAGE, SLEEP, heard, said, unboxed
from tests.stack import Refused, Stack
from tests.unit.config.test_keys import BAD

GOOD = ("first", "zlast")


NO_TYPE = "1979-05-27"  # no key takes a date


def with_key(path: str, value: str) -> str:
    """A unit file that is right but for this."""
    command = "" if path == "command" else SLEEP
    if path.startswith("listen."):
        address = "" if path == "listen.address" else 'address = "tcp:80"\n'
        return f"{command}[[listen]]\n{address}{path[7:]} = {value}\n"
    return f"{command}{path} = {value}\n"


def wrong_units() -> dict[str, str]:
    """Every key of the schema's table with values that it cannot have and misspelt, every key of a
    later version, and each kind of slip."""
    units = {}
    for path, key in walk():
        name = path.replace(".", "-").replace("_", "-")
        if key.later:
            units[f"{name}-later"] = with_key(path, NO_TYPE)
            continue
        units[f"{name}-type"] = with_key(path, NO_TYPE)
        units[f"{name}-name"] = with_key(f"{path}x", NO_TYPE)
        for number, value in enumerate(BAD[path]):
            own = f"{name}-{number}"
            units[own] = with_key(path, value.replace('"web"', f'"{own}"'))
    units["no-such-key"] = f"{SLEEP}[restart]\ndelya = 1\n"
    units["no-such-table"] = f"{SLEEP}[restrat]\ndelay = 1\n"
    units["no-command"] = "autostart = true\n"
    units["given-twice"] = f"{SLEEP}{SLEEP}"
    units["no-toml"] = f"{SLEEP}user = www\n"
    units["no-utf-8"] = SLEEP + 'description = "\udcff"\n'
    return units


def write(folder: Path, units: dict[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in units.items():
        path = folder / f"{name}.toml"
        path.write_bytes(text.encode(errors="surrogateescape"))
        path.chmod(0o644)


def test_a_start_names_each_wrong_unit_once_and_runs_the_others(tmp_path: Path) -> None:
    wrong = wrong_units()
    stack = Stack(tmp_path, dict.fromkeys(GOOD, SLEEP))
    write(stack.units, wrong)
    with stack:
        for name in GOOD:
            stack.wait(name, "running")
        assert set(stack.rows()) == set(GOOD)
        lines_of: dict[str, list[str]] = {f"{stack.units}/{name}.toml": [] for name in wrong}
        for line in said(stack, f"{stack.units}/"):
            lines_of[line.removeprefix("unboxed: ").partition(":")[0]].append(line)
        for name in wrong:
            place = f"{stack.units}/{name}.toml"
            lines = lines_of[place]
            assert lines, f"nothing was said of {name}"
            assert len(set(lines)) == len(lines), "one was said twice"
            for line in lines:
                assert line.startswith("unboxed: ")
                number, _, message = line.removeprefix(f"unboxed: {place}:").partition(": ")
                assert number.isdigit(), line
                assert "cannot " in message
                assert message.endswith(f"; {name} is left out")
                assert message.isprintable()
                assert not name.endswith("-later") or ": not supported yet; " in message
                assert not name.endswith("-name") or "there is no such key here" in message


def test_check_names_the_same_and_more_at_once(tmp_path: Path) -> None:
    units = tmp_path / "units"
    write(units, {**wrong_units(), **dict.fromkeys(GOOD, SLEEP)})
    before = {path: path.read_bytes() for path in units.iterdir()}
    checked = unboxed("check", "--json", str(units), home=tmp_path)
    assert checked.returncode == 1
    found = json.loads(checked.stdout)
    assert found["units"] == len(GOOD)
    assert {Path(p["file"]).stem for p in found["problems"]} == set(wrong_units())
    for problem in found["problems"]:
        assert problem["line"] > 0
        assert problem["message"].startswith("cannot ")
    assert {path: path.read_bytes() for path in units.iterdir()} == before
    shown = unboxed("check", str(units), home=tmp_path).stdout.splitlines()
    assert len(shown) == len(found["problems"]) + 1
    assert shown[-1].endswith("errors; these units would not start")


@pytest.mark.parametrize(
    "data, words",
    [
        (b"#" * (10 << 20), "cannot read it: it has more than 64 KiB; no unit needs that"),
        (bytes(10), "cannot read it: this line holds the control character 0x00; remove it"),
        (bytes(50_000), "cannot read it: line 1 holds the control character 0x00"),
        (".".join("a" * 20_000).encode() + b" = 1\n", "cannot read it: "),
        (b"a." * 3000 + b"a = 1\n", "cannot read it: a key has more than 8 parts"),
        (b"[" * 3000, "cannot read it: it nests more than 32 brackets"),
    ],
    ids=["10 MB", "NULs", "many NULs", "20,000 parts", "3,000 parts", "brackets"],
)
def test_a_hostile_file_costs_only_itself(tmp_path: Path, data: bytes, words: str) -> None:
    stack = Stack(tmp_path, {"good": SLEEP})
    path = stack.units / "bad.toml"
    path.write_bytes(data)
    path.chmod(0o644)
    with stack:
        stack.wait("good", "running")
        line = heard(stack, str(path))
        assert words in line
        assert line.endswith("; bad is left out")
        assert len(line) < 400
    checked = unboxed("check", str(path), home=tmp_path)
    assert checked.returncode == 1
    assert words in checked.stdout


@pytest.mark.parametrize("name", ["Bad", "unboxed", "a b", "-x", "a\nb"])
def test_a_file_name_that_no_unit_can_have_is_said(tmp_path: Path, name: str) -> None:
    stack = Stack(tmp_path, {"good": SLEEP})
    write(stack.units, {name: SLEEP})
    with stack:
        stack.wait("good", "running")
        assert set(stack.rows()) == {"good"}
        assert heard(stack, "cannot be a unit: ").isprintable()


@pytest.mark.parametrize("kind", ["directory", "link", "fifo"])
def test_what_is_no_regular_file_is_not_read(tmp_path: Path, kind: str) -> None:
    stack = Stack(tmp_path, {"good": SLEEP})
    path = stack.units / "bad.toml"
    if kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(stack.units / "good.toml")
    else:
        os.mkfifo(path)
    with stack:
        stack.wait("good", "running")
        assert MESSAGE.search(heard(stack, str(path)))


# --- what only all files together, or the host, can tell ---


@pytest.mark.parametrize(
    "line, words",
    [
        ('user = "nobody-here"', "cannot become nobody-here: no user nobody-here in /etc/passwd"),
        ('group = "no-such-one"', "cannot become no-such-one: no group no-such-one in /etc/group"),
        ('directory = "{file}"', "cannot enter its directory: Not a directory"),
        ('directory = "/nowhere"', "cannot enter its directory: No such file or directory"),
        ('command = "/no/such/program"', "No such file or directory: /no/such/program (step EXEC"),
        ('command = "no-such-program"', "no-such-program is in no directory of PATH"),
        ('command = "{file}"', "cannot execute it: Permission denied"),
        ('env_files = ["/nowhere"]', "cannot read /nowhere: No such file or directory"),
        ('env_files = ["{file}"]', "{file}:1: cannot read 'precious': not NAME=value"),
        ('env_files = ["{nul}"]', "{nul}:1: cannot use 'A=x\\x00y': it holds a NUL"),
        ('env_files = ["{large}"]', "cannot read {large}: it is over 65536 bytes"),
    ],
)
def test_what_cannot_be_had_fails_one_unit_with_its_reason(
    tmp_path: Path, line: str, words: str
) -> None:
    files = {"file": b"precious", "nul": b"A=x\0y\n", "large": b"A=" + b"x" * 70_000}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    names = {name: str(tmp_path / name) for name in files}
    text = f"{line.format(**names)}\n" if "command" in line else f"{SLEEP}{line.format(**names)}\n"
    units = {"good": SLEEP, "bad": text + '[restart]\nwhen = "never"\n'}
    with Stack(tmp_path, units) as stack:
        row = stack.wait("bad", "failed")
        assert words.format(**names) in row["reason"]
        assert row["pid"] == 0
        assert stack.wait("good", "running")["restarts"] == 0
        assert heard(stack, "bad: failed")
    assert {name: (tmp_path / name).read_bytes() for name in files} == files


def test_an_environment_that_no_launch_can_carry_is_refused_by_its_size(tmp_path: Path) -> None:
    paths = []
    for number in range(6):
        path = tmp_path / f"env{number}"
        path.write_text("".join(f"V{number}_{i}={'x' * 2000}\n" for i in range(30)))
        paths.append(str(path))
    bad = f'{SLEEP}env_files = {json.dumps(paths)}\n[restart]\nwhen = "never"\n'
    with Stack(tmp_path, {"bad": bad, "good": SLEEP}) as stack:
        words = stack.wait("bad", "failed")["reason"]
        assert words.startswith("its launch plan takes 36")
        stack.wait("good", "running")
        stack.call("Restart", units=["good"])
        assert stack.row("good")["state"] == "running", "the keeper is still listened to"


@pytest.mark.parametrize(
    "needs, words, said",
    [
        ({"a": 'after = ["b"]', "b": 'after = ["a"]'}, "its order is a cycle: a -> b -> a",
         "needs.after: cannot start a, b: "),
        ({"a": 'after = ["b"]', "b": 'before = ["c"]', "c": 'before = ["a"]', "d": ""}, "", ""),
        ({"a": 'requires = ["nothing"]'}, "it requires nothing, which has no unit file",
         "it requires nothing, which has no unit file"),
    ],
    ids=["a cycle", "no cycle", "a missing unit"],
)
def test_relations_that_cannot_be_met_fail_those_units_alone(
    tmp_path: Path, needs: dict[str, str], words: str, said: str
) -> None:
    """`said`: by `check`, which names the file and line where one can be taken away."""
    units = {name: f"{SLEEP}[needs]\n{text}\n" for name, text in needs.items()}
    with Stack(tmp_path, {**units, "good": SLEEP}) as stack:
        stack.wait("good", "running")
        for name in units:
            row = stack.wait(name, "failed" if words else "running")
            assert not words or row["reason"] == words
            assert not words or heard(stack, f"{name}: failed")
    checked = unboxed("check", str(stack.units), home=tmp_path)
    assert checked.returncode == bool(words)
    assert said in checked.stdout


def test_a_reload_of_wrong_files_changes_nothing(tmp_path: Path) -> None:
    with Stack(tmp_path, {"good": SLEEP, "other": SLEEP}) as stack:
        before = {name: stack.wait(name, "running")["pid"] for name in ("good", "other")}
        stack.write("good", SLEEP + "umask = 22\n")
        stack.write("fresh", SLEEP)
        with pytest.raises(Refused) as refused:
            stack.call("ReloadUnits")
        assert refused.value.name == "InvalidUnits"
        assert refused.value.parameters["message"].endswith("; nothing was changed")
        [problem] = refused.value.parameters["problems"]
        assert (problem["file"], problem["line"], problem["key"]) == (
            f"{stack.units}/good.toml", 2, "umask"
        )  # fmt: skip
        assert {name: row["pid"] for name, row in stack.rows().items()} == before


def test_of_two_files_of_one_name_the_one_of_higher_rank_counts(tmp_path: Path) -> None:
    lower = tmp_path / "rt" / "units"
    lower.mkdir(parents=True)
    write(lower, {"web": f'{SLEEP}description = "lower"\n', "only": SLEEP})
    units = {"web": f'{SLEEP}description = "higher"\n', "listener": (
        f'{SLEEP}[[listen]]\naddress = "unix:{tmp_path}/a"\nname = "x"\n'
        f'[[listen]]\naddress = "unix:{tmp_path}/b"\nname = "x"\n'
    )}  # fmt: skip
    with Stack(tmp_path, units) as stack:
        assert stack.wait("web", "running")["description"] == "higher"
        stack.wait("only", "running")
        line = heard(stack, "listener.toml")
        assert "listener.toml:7: listen[1].name: cannot name it x: another listener is" in line
        for path in lower.iterdir():
            path.unlink()
