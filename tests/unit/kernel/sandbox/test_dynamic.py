from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.kernel.sandbox import dynamic
from supervisor.kernel.sandbox.dynamic import Ids
from supervisor.kernel.sandbox.part import CannotConfine


class Host:
    """Directories in the place of the host's, and supervisors that live as long as they should."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.etc = home / "etc"
        self.etc.mkdir()
        (self.etc / "passwd").write_text("root:x:0:0::/:/bin/sh\n")
        proc = home / "proc"
        (proc / "sys/kernel/random").mkdir(parents=True)
        (proc / "self").mkdir()
        for kind in ("uid", "gid"):
            (proc / "self" / f"{kind}_map").write_text("0 0 4294967295\n")
        self.boot("one")
        self.locks: dict[str, int] = {}

    def boot(self, name: str) -> None:
        (self.home / "proc/sys/kernel/random/boot_id").write_text(name)

    def supervisor(self, name: str = "run") -> str:
        """The runtime directory of one that lives."""
        runtime = self.home / name
        runtime.mkdir(exist_ok=True)
        fd = os.open(runtime / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.locks[name] = fd
        return str(runtime)

    def dies(self, name: str) -> None:
        os.close(self.locks.pop(name))

    def ids(self, runtime: str, first: int = 100, last: int = 104, size: int = 1) -> Ids:
        return Ids(
            runtime, first, last, size, directory=str(self.home / "ids"), etc=str(self.etc),
            proc=str(self.home / "proc"),
        )  # fmt: skip


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    for name in list(made.locks):
        made.dies(name)


def test_a_unit_keeps_its_id_and_no_two_have_one(host: Host) -> None:
    ids = host.ids(host.supervisor())
    found = [ids.take(f"unit{n}") for n in range(5)]
    assert sorted(found) == [100, 101, 102, 103, 104]
    assert [ids.take(f"unit{n}") for n in range(5)] == found


def test_the_next_manager_finds_the_ids_of_what_runs(host: Host) -> None:
    runtime = host.supervisor()
    before = host.ids(runtime)
    web, db = before.take("web"), before.take("db")
    after = host.ids(runtime)
    assert (after.take("db"), after.take("web")) == (db, web)
    assert after.take("new") not in (web, db)


def test_an_id_that_was_given_up_comes_back_last(host: Host) -> None:
    ids = host.ids(host.supervisor())
    first = ids.take("a")
    ids.release("a")
    later = [ids.take(f"b{n}") for n in range(5)]
    assert later[-1] == first
    assert first not in later[:4]


def test_when_all_are_in_use_it_says_so(host: Host) -> None:
    ids = host.ids(host.supervisor())
    for n in range(5):
        ids.take(f"unit{n}")
    with pytest.raises(CannotConfine, match="none from 100 to 104 is free"):
        ids.take("one-more")
    ids.release("unit3")
    ids.take("one-more")


def test_ids_that_files_name_are_left_alone(host: Host) -> None:
    (host.etc / "passwd").write_text("a:x:101:7::/:/bin/sh\n\nodd\n")
    (host.etc / "group").write_text("g:x:103:\n")
    ids = host.ids(host.supervisor())
    assert sorted(ids.take(f"unit{n}") for n in range(3)) == [100, 102, 104]


def test_ids_that_this_user_namespace_has_not_are_never_given(host: Host) -> None:
    (host.home / "proc/self/uid_map").write_text("0 100000 103\n")
    ids = host.ids(host.supervisor())
    assert sorted(ids.take(f"unit{n}") for n in range(3)) == [100, 101, 102]
    with pytest.raises(CannotConfine):
        ids.take("more")


def test_two_supervisors_never_share_an_id(host: Host) -> None:
    one, other = host.ids(host.supervisor("one")), host.ids(host.supervisor("other"))
    found = [one.take("web"), other.take("web"), one.take("db"), other.take("db")]
    assert len(set(found)) == 4


def test_the_ids_of_a_supervisor_that_is_gone_are_free_again(host: Host) -> None:
    gone = host.ids(host.supervisor("gone"))
    for n in range(5):
        gone.take(f"unit{n}")
    ids = host.ids(host.supervisor("here"))
    with pytest.raises(CannotConfine):
        ids.take("web")
    host.dies("gone")
    assert ids.take("web") in range(100, 105)


def test_each_boot_begins_elsewhere(host: Host) -> None:
    runtime = host.supervisor()
    starts = set()
    for boot in range(20):
        host.boot(str(boot))
        starts.add(host.ids(runtime, 1000, 5000).of("web"))
    assert len(starts) > 10


def test_looking_gives_what_taking_would(host: Host) -> None:
    ids = host.ids(host.supervisor())
    seen = ids.of("web")
    assert ids.of("db") == seen  # nobody has it yet
    assert ids.take("web") == seen
    assert ids.of("web") == seen
    assert ids.of("db") != seen


def test_blocks_keep_clear_of_ranges_that_others_have(host: Host) -> None:
    size = 65536
    (host.etc / "subuid").write_text(f"alice:{20 * size - 1}:1\n")  # the end of block 19
    (host.etc / "subgid").write_text(f"bob:{21 * size + 9}:{size}\nbad line\n")  # of 21 and 22
    ids = host.ids(host.supervisor(), 18 * size, 23 * size, size)
    assert sorted(ids.take(f"unit{n}") // size for n in range(3)) == [18, 20, 23]


def test_a_record_that_was_cut_off_belongs_to_nobody(host: Host) -> None:
    ids = host.ids(host.supervisor())
    ids.take("web")
    for n in range(100, 105):
        (host.home / f"ids/1/{n}").write_text("torn")
    assert host.ids(host.supervisor("next")).take("db") in range(100, 105)


def test_a_lock_that_nobody_lets_go_of_is_no_reason_to_wait_for_ever(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamic, "_LOOKS", 3)
    ids = host.ids(host.supervisor())
    ids.take("web")
    fd = os.open(host.home / "ids/1/lock", os.O_RDWR | os.O_CLOEXEC)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(CannotConfine, match="another supervisor keeps"):
        ids.take("db")
    os.close(fd)
    ids.take("db")


def test_the_ranges_are_whole_and_apart_from_ordinary_users() -> None:
    assert (dynamic.FIRST, dynamic.LAST) == (61184, 65519)
    assert dynamic.FIRST_BLOCK % dynamic.BLOCK == dynamic.LAST_BLOCK % dynamic.BLOCK == 0
    assert dynamic.FIRST_BLOCK > 600_100_000  # where SUB_UID_MAX ends


def test_a_dynamic_user_is_no_one() -> None:
    who = dynamic.identity("web", 61200)
    assert (who.name, who.uid, who.gid, who.groups, who.home) == ("web", 61200, 61200, (), "/")
    assert who.shell.endswith("nologin")
