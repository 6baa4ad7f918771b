"""Users and groups of the local files: agreement with the C library, and what is odd in a file."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest

from supervisor.kernel import users
from supervisor.kernel.plan import Identity
from supervisor.kernel.users import UnknownName

USERS = """\
root:x:0:0:root:/root:/bin/bash
web:x:1000:1000:Web,,,:/srv/web:/bin/sh
bare:x:1001:1000:::
first:x:1002:1000::/a:
first:x:1003:1000::/b:
short:x:1004:1000
# comment:x:1005:1000::/:
+nis:x:1006:1000::/:
minus:x:-1:1000::/:
most:x:4294967295:1000::/:
nearly:x:4294967294:1000::/:
hex:x:0x10:1000::/:
blank:x: 10:1000::/:
empty:x::1000::/:
long:x:{long}:1000::/:
digits:x:\u0661\u0660:1000::/:
badgroup:x:1007:-1::/:
"""
GROUP = """\
root:x:0:
web:x:1000:bare
logs:x:2000:web,bare
other:x:2001:weber,xweb
nobody-in-it:x:2002
minus:x:-1:
#ghost:x:9:web
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Files of our own in the place of /etc/passwd and /etc/group, read in the same way."""
    places = {"/etc/passwd": tmp_path / "passwd", "/etc/group": tmp_path / "group"}
    places["/etc/passwd"].write_text(USERS.format(long="1" * 5000))
    places["/etc/group"].write_text(GROUP)
    really = users._lines
    monkeypatch.setattr(users, "_lines", lambda path: really(str(places[path])))
    return places


def test_all_local_users_are_what_the_c_library_says() -> None:
    local = {line.split(":")[0] for line in Path("/etc/passwd").read_text().splitlines() if line}
    for row in [r for r in pwd.getpwall() if r.pw_name in local and r.pw_uid != os.geteuid()]:
        found = users.identity(row.pw_name, "", ())
        assert found[:3] == (row.pw_name, row.pw_uid, row.pw_gid)
        assert set(found.groups) == set(os.getgrouplist(row.pw_name, row.pw_gid))
        assert (found.home, found.shell) == (row.pw_dir, row.pw_shell)
        assert users.user_id(row.pw_name) == row.pw_uid
    for group in grp.getgrall():
        assert users.group_id(group.gr_name) == group.gr_gid


@pytest.mark.usefixtures("files")
def test_a_user_comes_with_its_groups() -> None:
    assert users.identity("web", "", ()) == Identity(
        "web", 1000, 1000, (2000, 1000), "/srv/web", "/bin/sh"
    )
    assert users.identity("bare", "", ()) == Identity("bare", 1001, 1000, (1000, 2000), "", "")


@pytest.mark.usefixtures("files")
def test_group_and_groups_of_the_unit_come_on_top() -> None:
    found = users.identity("web", "logs", ("other",))
    assert found.gid == 2000
    assert found.groups == (2000, 2001)


@pytest.mark.usefixtures("files")
def test_the_first_row_of_a_name_counts() -> None:
    assert users.identity("first", "", ())[1] == 1002


@pytest.mark.parametrize(
    "name", ["no-such-name", "", "short", "# comment", "#comment", "+nis", "nis", "Web", "we"]
)
@pytest.mark.usefixtures("files")
def test_who_has_no_whole_row_is_unknown(name: str) -> None:
    with pytest.raises(UnknownName, match=r"no user .* in /etc/passwd"):
        users.user_id(name)


@pytest.mark.parametrize("name", ["minus", "most", "hex", "blank", "empty", "long", "digits"])
@pytest.mark.usefixtures("files")
def test_a_number_that_is_none_becomes_nobody_else(name: str) -> None:
    """-1 and 4294967295 would mean "no change", so the service would go on as root."""
    with pytest.raises(UnknownName, match="is none"):
        users.identity(name, "", ())


@pytest.mark.usefixtures("files")
def test_the_largest_number_is_one() -> None:
    assert users.user_id("nearly") == 4294967294


@pytest.mark.usefixtures("files")
def test_groups_that_are_unknown_or_odd_are_refused() -> None:
    with pytest.raises(UnknownName, match="no group ghost in /etc/group"):
        users.identity("web", "ghost", ())
    with pytest.raises(UnknownName, match="no group ghost in /etc/group"):
        users.identity("web", "", ("logs", "ghost"))
    with pytest.raises(UnknownName, match="is none"):
        users.group_id("minus")
    with pytest.raises(UnknownName, match="is none"):
        users.identity("badgroup", "", ())
    assert users.group_id("nobody-in-it") == 2002


def test_nobody_named_means_whoever_we_are() -> None:
    me = pwd.getpwuid(os.geteuid())
    found = users.identity("", "", ())
    assert found == Identity(me.pw_name, None, os.getegid(), (), me.pw_dir, me.pw_shell)
    assert users.identity(me.pw_name, "", ()).uid is None, "there is nothing to change"
    with_group = users.identity("", grp.getgrgid(os.getegid()).gr_name, ())
    assert (with_group.uid, with_group.gid) == (os.geteuid(), os.getegid())


def test_who_has_no_name_at_all_still_has_a_home(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    found = users.identity("", "", ())
    assert (found.name, found.uid, found.home, found.shell) == ("54321", None, "/", "/bin/sh")
    assert files


def test_a_file_that_changed_is_read_again(files: dict[str, Path]) -> None:
    with pytest.raises(UnknownName):
        users.user_id("late")
    passwd = files["/etc/passwd"]
    fresh = passwd.with_name("new")
    fresh.write_text(passwd.read_text() + "late:x:1500:1000::/:\n")
    fresh.rename(passwd)  # as useradd does it
    assert users.user_id("late") == 1500


def test_a_file_that_cannot_be_read_makes_nobody_root(files: dict[str, Path]) -> None:
    files["/etc/passwd"].unlink()
    with pytest.raises(UnknownName, match=r"cannot read .*: No such file or directory"):
        users.identity("web", "", ())


def test_bytes_that_are_no_text_hide_no_row(files: dict[str, Path]) -> None:
    files["/etc/passwd"].write_bytes(b"\xff\xfe:x:7:7::/:\nok:x:8:8::/:\n")
    assert users.user_id("ok") == 8


# --- programs ---


def test_a_program_is_found_in_the_order_of_the_path(tmp_path: Path) -> None:
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a" / "tool").mkdir()  # may be entered, which is not executed
    (tmp_path / "b" / "tool").touch(0o644)
    (tmp_path / "c" / "tool").touch(0o755)
    path = f"{tmp_path}/a:{tmp_path}/b:{tmp_path}/c"
    assert users.find_program("tool", path) == f"{tmp_path}/c/tool"
    (tmp_path / "b" / "tool").chmod(0o755)
    assert users.find_program("tool", path) == f"{tmp_path}/b/tool"
    assert users.find_program("none", path) is None
    assert users.find_program("/any/where", "") == "/any/where"


def test_no_program_is_taken_from_the_directory_where_we_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tool").touch(0o755)
    monkeypatch.chdir(tmp_path)
    for path in ("", ":", ".", "./", ":/nonexistent:", "relative"):
        assert users.find_program("tool", path) is None
