"""Directories of a unit's own: made without following anything, and whose they are."""
from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.kernel.plan import Identity
from supervisor.kernel.sandbox import directories, idmap, paths, removal, view
from supervisor.kernel.sandbox.part import CannotConfine
from supervisor.model.policy import Policy
from supervisor.model.sandbox import Sandbox
from tests.keeper.keeperclient import Peer
from tests.kernel.sandbox.sight import USER, context, look, policy

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes mounts and becomes other users")
BOX = Sandbox(level="app", state=("data",), logs=("data",))


def dynamic(uid: int) -> Identity:
    return Identity(f"dynamic {uid}", uid, uid, (), "/", "")


@pytest.fixture
def tops(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """/var/lib and its like in a directory of the test's, not below /tmp."""
    path = Path(f"/var/lib/unboxed-own-{os.getpid()}")
    path.mkdir()
    (path / "rt").mkdir(mode=0o755)
    made = {}
    for kind in paths.KINDS:
        (path / kind).mkdir(mode=0o755)
        made[kind] = str(path / kind)
    monkeypatch.setattr(paths, "TOPS", made)
    yield path
    while path.exists():  # beside what still removes some of it
        shutil.rmtree(path, ignore_errors=True)


def test_they_are_the_users_and_in_the_environment(manager: Peer, tops: Path) -> None:
    seen = look(manager, policy(BOX, user="web"), context(tops / "rt", USER), """
seen["state"] = tried(write, os.environ["STATE_DIRECTORY"] + "/file")
seen["logs"] = tried(write, os.environ["LOGS_DIRECTORY"] + "/file")
seen["beside"] = tried(write, os.path.dirname(os.environ["STATE_DIRECTORY"]) + "/file")
seen["how"] = mounts()[os.environ["STATE_DIRECTORY"]]
""")
    assert (seen["state"], seen["logs"], seen["beside"]) == ("ok", "ok", "EROFS")
    assert {"rw", "nosuid", "nodev"} <= set(seen["how"])
    info = (tops / "state/data").stat()
    assert (info.st_uid, info.st_gid, info.st_mode & 0o7777) == (USER.uid, USER.gid, 0o700)


def test_an_id_that_is_dealt_out_again_finds_nothing(manager: Peer, tops: Path) -> None:
    """Fault 52. A unit has its files by a mount of its own; on disk they are nobody's."""
    code = """
at = os.environ["STATE_DIRECTORY"]
seen["own"] = [os.stat(at).st_uid, tried(write, at + "/mine"), os.stat(at + "/mine").st_uid]
seen["found"] = sorted(os.listdir(at))
seen["others"] = tried(os.listdir, os.path.dirname(os.path.realpath(at)))
"""
    here = policy(BOX)
    assert here.dynamic_user
    first = look(manager, here, context(tops / "rt", dynamic(61200)), code)
    assert first["own"] == [61200, "ok", 61200]
    stored = tops / "state/private/data"
    assert stored.stat().st_uid == idmap.STORED
    assert (stored / "mine").stat().st_uid == idmap.STORED
    assert (tops / "state/private").stat().st_mode & 0o7777 == 0o700
    assert os.readlink(tops / "state/data") == "private/data"
    # The same unit with another id has its files; another unit with that id has not.
    again = look(manager, here, context(tops / "rt", dynamic(61201)), code)
    assert again["own"] == [61201, "ok", 61201]
    other = policy(Sandbox(level="app", state=("other",)))
    stranger = look(manager, other, context(tops / "rt", dynamic(61200), unit="other"), f"""
{code}
seen["theirs"] = [tried(os.listdir, "{tops}/state/data"), tried(os.listdir, "{stored}")]
""")
    assert stranger["found"] == ["mine"]
    assert stranger["others"] == ["other"]
    assert stranger["theirs"] == ["ENOENT", "ENOENT"]


def test_suid_in_state_is_worthless(manager: Peer, tops: Path) -> None:
    """Fault 51: of a program that is root's and has the bit, and would be run by the service."""
    here = context(tops / "rt", USER)
    found = policy(BOX, user="web")
    directories.prepare(found, here)
    program = tops / "state/data/id"
    shutil.copy("/usr/bin/id", program)
    program.chmod(0o4755)
    seen = look(manager, found, here, """
import subprocess
said = subprocess.run([os.environ["STATE_DIRECTORY"] + "/id", "-u"], stdout=subprocess.PIPE)
seen["effective"] = said.stdout.decode().strip()
""")
    assert seen["effective"] == str(USER.uid)


def test_a_link_in_its_place_is_refused(tops: Path) -> None:
    (tops / "state/data").symlink_to("/etc")
    with pytest.raises(CannotConfine, match=r"sandbox.state: data of .* no directory but a link"):
        directories.prepare(policy(BOX, user="web"), context(tops / "rt", USER))
    assert os.stat("/etc").st_uid == 0


def test_a_parent_that_others_own_is_refused(tops: Path) -> None:
    (tops / "state/a").mkdir()
    os.chown(tops / "state/a", 61300, 61300)
    with pytest.raises(CannotConfine, match="belongs to uid 61300, who could lead it elsewhere"):
        directories.prepare(
            policy(Sandbox(level="app", state=("a/b",)), user="web"), context(tops / "rt", USER)
        )


def test_what_somebody_else_has_filled_is_not_taken_over(tops: Path) -> None:
    data = tops / "state/data"
    data.mkdir()
    os.chown(data, 61305, 61305)
    found, here = policy(BOX, user="web"), context(tops / "rt", USER)
    directories.prepare(found, here)
    assert data.stat().st_uid == USER.uid, "it was empty"
    (data / "file").touch()
    os.chown(data, 61305, 61305)
    with pytest.raises(CannotConfine, match="belongs to uid 61305 and is not empty"):
        directories.prepare(found, here)
    assert (data.stat().st_uid, (data / "file").stat().st_uid) == (61305, 0)


def test_a_full_directory_of_a_fixed_user_is_not_made_dynamic(tops: Path) -> None:
    (tops / "state/data").mkdir()
    (tops / "state/data/file").touch()
    with pytest.raises(CannotConfine, match="of a user that is not dynamic, and not empty"):
        directories.prepare(policy(BOX), context(tops / "rt", dynamic(61200)))
    (tops / "state/data/file").unlink()
    directories.prepare(policy(BOX), context(tops / "rt", dynamic(61200)))
    assert os.readlink(tops / "state/data") == "private/data"


def test_without_mapped_ids_the_empty_directory_changes_hands(
    tops: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idmap, "_SINCE", {})
    directories.prepare(policy(BOX), context(tops / "rt", dynamic(61200)))
    data = tops / "state/private/data"
    assert data.stat().st_uid == 61200
    directories.prepare(policy(BOX), context(tops / "rt", dynamic(61201)))
    assert data.stat().st_uid == 61201
    (data / "file").touch()
    with pytest.raises(CannotConfine, match="belongs to uid 61201 and is not empty"):
        directories.prepare(policy(BOX), context(tops / "rt", dynamic(61202)))


@pytest.mark.parametrize(
    "path, kind",
    [("/var/lib", "ext4"), ("/run/x", "tmpfs"), ("/running", "ext4"), ("/a b/c", "xfs")],
)
def test_the_file_system_of_a_path(path: str, kind: str) -> None:
    mountinfo = (
        "1 0 8:1 / / rw - ext4 /dev/a rw\n"
        "2 1 0:2 / /run rw - tmpfs none rw\n"
        "3 1 8:2 / /a\\040b rw - xfs /dev/b rw\n"
    )
    assert idmap.kind_at(path, mountinfo) == kind


# --- runtime directories, which go with the unit ---

RUN = Sandbox(level="app", runtime=("data",))


def goes(tops: Path) -> bool:
    """The unit stops. Whether its directory, or what leads there, is gone."""
    removal.remove(str(tops / "rt"), str(tops / "runtime"), ("data",))
    return not os.path.lexists(tops / "runtime/data")


def test_a_runtime_directory_that_was_made_goes_with_the_unit(tops: Path) -> None:
    here, data = context(tops / "rt", USER), tops / "runtime/data"
    for _ in range(2):  # the second finds no record of the first
        directories.prepare(policy(RUN, user="web"), here)
        directories.prepare(policy(RUN, user="web"), here)  # another instance
        (data / "socket").touch()
        assert data.stat().st_uid == USER.uid
        assert goes(tops)
    directories.prepare(policy(RUN), context(tops / "rt", dynamic(61200)))
    assert os.readlink(data) == "private/data"
    assert goes(tops)
    assert not (tops / "runtime/private/data").exists()
    assert not list((tops / "rt/made").iterdir())


@pytest.mark.parametrize(
    "found, who", [(policy(RUN, user="web"), USER), (policy(RUN), dynamic(61200))]
)
@pytest.mark.parametrize("owner, words", [(0, "root"), (61305, "uid 61305")])
def test_a_runtime_directory_of_somebody_else_is_neither_taken_nor_removed(
    tops: Path, found: Policy, who: Identity, owner: int, words: str
) -> None:
    data = tops / "runtime/data"
    data.mkdir(0o700)
    os.chown(data, owner, owner)
    before = data.stat()
    with pytest.raises(CannotConfine) as refused:
        directories.prepare(found, context(tops / "rt", who))
    assert str(refused.value) == (
        f"sandbox.runtime: cannot use {data}: it is there already and belongs to {words}; "
        "choose another name"
    )
    assert not goes(tops)
    assert not (tops / "runtime/private/data").exists()
    assert data.stat() == before, "not even its owner, though it is empty"


def test_a_runtime_directory_of_its_user_is_used_and_stays(tops: Path) -> None:
    data = tops / "runtime/data"
    data.mkdir(0o2775)
    os.chown(data, 61300, 61306)
    before = data.stat()
    directories.prepare(policy(RUN, user="web"), context(tops / "rt", USER))
    assert data.stat() == before
    assert not goes(tops)


def test_a_record_is_of_one_directory_and_not_of_its_name(tops: Path) -> None:
    data = tops / "runtime/data"
    directories.prepare(policy(RUN, user="web"), context(tops / "rt", USER))
    data.rename(tops / "runtime/kept")  # so that its inode is not used again
    data.mkdir()
    assert not goes(tops)
    assert not goes(tops)


def test_a_runtime_directory_without_a_record_is_not_left_behind(tops: Path) -> None:
    (tops / "rt/made").write_text("no directory")
    with pytest.raises(CannotConfine, match=r"sandbox\.runtime: cannot make"):
        directories.prepare(policy(RUN, user="web"), context(tops / "rt", USER))
    assert not (tops / "runtime/data").exists()


def test_a_listed_directory_above_them_shows_the_link_and_leads_to_them(
    manager: Peer, tops: Path
) -> None:
    box = Sandbox(level="app", state=("data",), read=("/usr", "/lib", "/lib64", "/etc", str(tops)))
    seen = look(manager, policy(box), context(tops / "rt", dynamic(64123)), """
at = os.environ["STATE_DIRECTORY"]
seen["wrote"] = tried(write, at + "/file")
seen["link"] = os.readlink(at)
seen["private"] = os.listdir(os.path.dirname(os.path.realpath(at)))
seen["beside"] = tried(write, os.path.dirname(at) + "/file")
""")
    assert (seen["wrote"], seen["link"], seen["beside"]) == ("ok", "private/data", "EROFS")
    assert seen["private"] == ["data"]


def test_a_view_of_everything_is_refused_by_name(tops: Path) -> None:
    box = Sandbox(level="app", read=("/",))
    with pytest.raises(CannotConfine, match=r'sandbox.read: cannot make a view of /.*"deny"'):
        view.part(policy(box), context(tops / "rt", dynamic(64123)))
