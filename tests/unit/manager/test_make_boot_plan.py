"""The plan that one boot makes for the next."""
from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.core import graph as graphs
from supervisor.kernel.keeper import encoded
from supervisor.manager import make_boot_plan
from supervisor.manager.boot_plan import (
    MAGIC,
    RECORD,
    key_of,
    launches,
)
from supervisor.model.unit import (
    Conditions,
    Needs,
)
from tests.unit.manager.boot_plan_kit import (
    DROPPED,
    PLAIN,
    WEB,
    Machine,
    payload,
    plan_of,
    with_,
)


def kinds(path: Path) -> list[str]:
    return [kind for kind, _, _ in records(path)]


def records(path: Path) -> list[tuple[str, str, bytes]]:
    data, at, found = path.read_bytes(), len(MAGIC), []
    assert data.startswith(MAGIC)
    while at < len(data):
        kind, text, size = RECORD.unpack_from(data, at)
        at += RECORD.size + text + size
        name = data[at - text - size : at - size]
        assert name[-1:] == b"\0"
        found.append((chr(kind), name[:-1].decode(), data[at - size : at]))
    return found


def test_one_boot_makes_the_plan_of_the_next_and_that_starts_nothing_twice(
    machine: Callable[..., Machine],
) -> None:
    first = machine(web=PLAIN + "instances = 2\n", db=PLAIN)
    first.plan()
    spawned = first.boot()
    assert spawned.pop()[:2] == DROPPED
    assert [op for op, _, _ in spawned] == ["SPAWN"] * 3
    assert not first.path.exists()
    first.execed("web/0", "web/1")
    assert not first.path.exists()  # it waits for db
    first.execed("db")
    assert launches(str(first.path)) == {tag: data for _, tag, data in spawned}
    assert first.path.stat().st_mode & 0o777 == 0o600
    assert first.sup.boot_plan is None

    second = machine()
    sent = launches(str(second.path))
    text = second.path.read_bytes()
    second.plan(sent, highest=3, ns=5)
    assert [frame[:2] for frame in second.boot()] == [DROPPED]
    second.execed("web/0", "web/1", "db")
    assert second.reports == []
    assert second.path.read_bytes() == text


def test_a_plan_that_is_out_of_date_is_replaced(machine: Callable[..., Machine]) -> None:
    one = machine(web=PLAIN, db=PLAIN)
    old = {1: payload("db"), 2: payload("gone")}
    one.path.parent.mkdir(exist_ok=True)
    plan_of(one.path, *old.values())
    one.plan(old, highest=2, ns=5)
    frames = [(op, tag) for op, tag, _ in one.boot() if op in ("SIGNAL", "SPAWN")]
    assert frames == [("SIGNAL", 1), ("SIGNAL", 2), ("SPAWN", 3), ("SPAWN", 4)]
    one.execed("db", "web")
    found = launches(str(one.path))
    assert sorted(key_of(data) for data in found.values()) == ["db", "web"]
    assert sorted(found) == [1, 2]


def test_a_plan_of_nothing_is_removed(machine: Callable[..., Machine]) -> None:
    one = machine(web=PLAIN + 'user = "nobody"\n')
    one.path.parent.mkdir(exist_ok=True)
    plan_of(one.path, payload("web"))
    one.plan()
    one.boot()
    one.execed("web")
    assert not one.path.exists()


def test_without_cgroups_there_is_no_plan(machine: Callable[..., Machine]) -> None:
    one = machine(web=PLAIN)
    one.bench.tracker.name = "session"
    one.bench.tracker.started = lambda *_: None  # type: ignore[attr-defined]
    one.plan()
    one.boot()
    one.execed("web")
    assert one.sup.boot_plan is None
    assert not one.path.exists()


def test_units_that_were_changed_meanwhile_make_no_plan(machine: Callable[..., Machine]) -> None:
    one = machine(web=PLAIN)
    one.plan()
    one.boot()
    (one.units / "web.toml").write_text(PLAIN + 'description = "new"\n')
    one.execed("web")
    assert one.sup.boot_plan is None
    assert not one.path.exists()


def test_a_machine_that_goes_down_makes_no_plan(machine: Callable[..., Machine]) -> None:
    one = machine(web=PLAIN)
    one.plan()
    one.boot()
    one.sup.world.closing_ns = 1
    one.execed("web")
    assert not one.path.exists()


def test_a_plan_that_cannot_be_written_is_told_of(machine: Callable[..., Machine]) -> None:
    one = machine(web=PLAIN)
    (one.home / "state").write_text("no directory")
    one.plan()
    one.boot()
    one.execed("web")
    assert one.reports == [(
        f"cannot make the boot plan: {one.home}/state: File exists; the next boot waits for the"
        " manager"
    )]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ['needs.after = ["db"]\n', 'needs.wants = ["db"]\n', 'needs.requires = ["db"]\n'],
)
def test_who_may_have_to_wait_for_another_is_not_planned(
    machine: Callable[..., Machine], text: str
) -> None:
    """db is skipped in this boot. It may not be in the next, and nobody looks."""
    one = machine(
        web=PLAIN + text, plain=PLAIN,
        db=PLAIN + 'conditions.path_exists = ["/absent/for/ever"]\n',
    )  # fmt: skip
    one.plan()
    spawned = [key_of(data) for op, _, data in one.boot() if op == "SPAWN"]
    assert sorted(spawned) == ["plain", "web"]
    one.execed("plain", "web")
    assert [key_of(data) for data in launches(str(one.path)).values()] == ["plain"]


def test_who_conflicts_with_another_is_not_planned() -> None:
    units = [with_(needs=Needs(conflicts=("db",))), with_(name="db"), with_(name="plain")]
    graph = graphs.build({unit.name: unit for unit in units})
    found = [make_boot_plan._waits_for_nobody(graph, unit.name) for unit in units]
    assert found == [False, False, True]


def test_what_a_plan_was_made_from_is_in_it(machine: Callable[..., Machine]) -> None:
    one = machine(web=PLAIN + 'conditions.path_exists = ["/", "!/absent"]\n')
    drop_ins = one.units / "web.toml.d"
    drop_ins.mkdir()
    (drop_ins / "a.toml").write_text('description = "more"\n')
    one.plan()
    one.boot()
    one.execed("web")
    found = records(one.path)
    assert kinds(one.path)[0] == "G"
    assert found[0][1] == "/sys/fs/cgroup/unboxed/units"
    assert found[0][2] == encoded("PUT", 1 << 56, b"cgroup\0", 1)
    assert found[1] == ("H", "", encoded("PUT", 1 << 56, b"boot-plan\0", 1))
    assert kinds(one.path)[-2:] == ["S", "E"]
    body = one.path.read_bytes()[len(MAGIC) : -RECORD.size - 5]
    assert found[-1] == ("E", "", struct.pack("<I", zlib.crc32(body)))
    assert ("D", str(one.units), struct.pack("<i", 2)) in found
    assert ("F", str(one.units / "web.toml"), (one.units / "web.toml").read_bytes()) in found
    assert ("D", str(drop_ins), struct.pack("<i", 1)) in found
    assert ("F", str(drop_ins / "a.toml"), b'description = "more"\n') in found
    (root,) = [data for kind, text, data in found if (kind, text) == ("L", "/etc/passwd")]
    assert root.startswith(b"root:")
    assert b"\n" + root + b"\n" in b"\n" + Path("/etc/passwd").read_bytes()
    assert ("P", "/", b"\1") in found
    assert ("P", "/absent", b"\0") in found
    assert not [text for _, text, _ in found if text.startswith(one.sup.paths.transient_units)]


def test_the_files_of_unit_directories(tmp_path: Path) -> None:
    """What is neither file nor directory is not read by us either; it has to stay as it is."""
    (tmp_path / "web.toml").write_text("web")
    (tmp_path / "other.txt").write_text("")
    (tmp_path / "web.toml.d").mkdir()
    (tmp_path / "web.toml.d" / "a.toml").write_text("a")
    (tmp_path / "web.toml.d.off").mkdir()  # not to be renamed unseen
    (tmp_path / "web.toml.d.off" / "b.toml").write_text("b")
    (tmp_path / "link.toml").symlink_to("web.toml")  # nor to be replaced by what it points to
    os.mkfifo(tmp_path / "fifo")
    absent = f"{tmp_path}/absent"
    at = str(tmp_path)
    assert [*make_boot_plan._files([at, absent])] == [
        ("D", at, struct.pack("<i", 6)),
        ("F", f"{at}/fifo", b"\0"),  # no plan with it holds
        ("F", f"{at}/link.toml", b"\0"),
        ("F", f"{at}/other.txt", b""),
        ("F", f"{at}/web.toml", b"web"),
        ("D", f"{at}/web.toml.d", struct.pack("<i", 1)),
        ("F", f"{at}/web.toml.d/a.toml", b"a"),
        ("D", f"{at}/web.toml.d.off", struct.pack("<i", 1)),
        ("D", absent, struct.pack("<i", -1)),
    ]


def test_the_paths_that_a_launch_depends_on(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("1", "2", "3"))
    for folder in (second, third):
        folder.mkdir()
        (folder / "web").touch(0o755)
    path = f"{first}:{second}:{third}"
    conditions = Conditions(path_exists=("/a", "!/b"))
    unit = with_(command=("web", "/x"), env=(("PATH", path),), conditions=conditions)
    assert [*make_boot_plan._paths(unit)] == [
        ("/a", True), ("/b", False), (f"{first}/web", False), (f"{second}/web", True)
    ]  # fmt: skip
    assert [*make_boot_plan._paths(WEB)] == []  # it says where
    usual = [*make_boot_plan._paths(with_(command=("sh",)))]
    assert usual[-1][1]
    assert [there for _, there in usual[:-1]] == [False] * (len(usual) - 1)


def test_a_plan_is_written_only_where_it_is_another(tmp_path: Path) -> None:
    path = tmp_path / "new" / "plan"
    make_boot_plan._write(str(path), b"one")
    assert path.read_bytes() == b"one"
    before = path.stat()
    assert before.st_mode & 0o777 == 0o600
    make_boot_plan._write(str(path), b"one")
    assert path.stat() == before
    make_boot_plan._write(str(path), b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_ino != before.st_ino  # in its place: whoever has it mapped keeps it
    assert [entry.name for entry in path.parent.iterdir()] == ["plan"]


def test_what_lies_in_the_way_of_a_new_plan_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"precious")
    (tmp_path / "plan.new").symlink_to(other)
    with pytest.raises(OSError, match="symbolic"):
        make_boot_plan._write(str(tmp_path / "plan"), b"text")
    assert other.read_bytes() == b"precious"


def test_a_small_system_has_no_users(
    machine: Callable[..., Machine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = tmp_path / "passwd"
    monkeypatch.setattr(make_boot_plan, "_USERS", str(absent))
    one = machine(web=PLAIN)
    one.plan()
    one.boot()
    one.execed("web")
    assert ("P", str(absent), b"\0") in records(one.path)


@pytest.mark.parametrize(
    "text, kind, data",
    [
        ("a:x:1:0\nme:x:0:0::/me:/bin/sh\nroot:x:0:0\n", "L", b"me:x:0:0::/me:/bin/sh"),
        ("root:x:0:0", "L", b"root:x:0:0"),
        ("a:x:1:0\n\nb\n", "F", b"a:x:1:0\n\nb\n"),
    ],
)
def test_only_what_a_file_of_users_says_of_root_counts(
    tmp_path: Path, text: str, kind: str, data: bytes
) -> None:
    path = tmp_path / "passwd"
    path.write_text(text)
    assert make_boot_plan._root(str(path)) == (kind, str(path), data)
