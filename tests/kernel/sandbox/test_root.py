"""A directory as root: what is in it is all there is, whatever was put into it to get out."""
from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from supervisor.kernel.sandbox import paths, view
from supervisor.kernel.sandbox.part import CannotConfine
from supervisor.kernel.sandbox.paths import own_program
from supervisor.kernel.sandbox.trace import find_in_root, trace
from supervisor.model.sandbox import Sandbox
from tests.keeper.keeperclient import Peer
from tests.kernel.sandbox.sight import PYTHON, ROOT, USER, context, look, policy

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes mounts and becomes other users")
APP = Sandbox(level="app")


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """A root with Python in it, as few files as that takes."""
    with tempfile.TemporaryDirectory(prefix="unboxed-root-", dir="/var/lib") as name:
        root = Path(name)
        root.chmod(0o755)
        for path in ("proc", "dev", "run", "tmp", "etc", "usr/bin", "usr/lib", "srv"):
            (root / path).mkdir(parents=True)
        shutil.copy(PYTHON, root / "usr/bin/python3")
        listed = subprocess.run(["ldd", PYTHON], stdout=subprocess.PIPE, check=True).stdout.decode()
        for word in listed.split():
            if word.startswith("/"):
                (root / word[1:]).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(word, root / word[1:])
        version = next(Path("/usr/lib").glob("python3.*/os.py")).parent
        shutil.copytree(
            version, root / "usr/lib" / version.name, symlinks=True,
            ignore=shutil.ignore_patterns("test*", "dist-packages", "config-*", "idlelib"),
        )  # fmt: skip
        (root / "etc/resolv.conf").touch()
        (root / "etc/own").write_text("the image's")
        (root / "out").symlink_to("../../../../../../etc")
        (root / "proc link").symlink_to("/proc/1/root")
        yield root


@pytest.fixture
def runtime() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="unboxed-root-", dir="/run") as path:
        os.chmod(path, 0o755)
        yield Path(path)


LOOK = """
seen["/"] = sorted(os.listdir("/"))
seen["own"] = read("/etc/own")
seen["links"] = [sorted(os.listdir(at)) == sorted(os.listdir("/etc")) for at in ("/out", "/../etc")]
seen["of the host"] = tried(os.stat, "/etc/shadow")
seen["write"] = tried(write, "/srv/file")
seen["mounts"] = sorted(mounts())
seen["cwd"] = os.getcwd()
seen["null"] = [tried(write, "/dev/null"), os.stat("/dev/null").st_rdev == os.makedev(1, 3)]
held = [f"/proc/self/fd/{n}" for n in os.listdir("/proc/self/fd")]
seen["dirs"] = [at for at in held if os.path.exists(at) and os.path.isdir(at)]
"""


@pytest.mark.parametrize("processes", ["own", "hidden", "host"])
def test_nothing_of_the_hosts_is_left(
    manager: Peer, image: Path, runtime: Path, processes: Literal["own", "hidden", "host"]
) -> None:
    box = Sandbox(level="app", processes=processes)
    found = policy(box, root=str(image), user="web")
    seen = look(manager, found, context(runtime, ROOT), LOOK)
    assert seen["/"] == sorted(os.listdir(image))
    assert seen["own"] == "the image's"
    assert seen["links"] == [True, True], ".. of the root is the root"
    assert seen["of the host"] == "ENOENT"
    assert seen["write"] == "EROFS"
    assert seen["cwd"] == "/"
    assert seen["null"] == ["ok", True]
    assert not seen["dirs"]
    own = ("/proc", "/dev", "/tmp", "/run", "/etc/resolv.conf")
    assert all(at == "/" or at.startswith(own) for at in seen["mounts"]), seen["mounts"]


def test_a_device_that_the_image_has_is_not_used(
    manager: Peer, image: Path, runtime: Path
) -> None:
    """CVE-2025-31133: the image's /dev/null may be anything, as a link to what is to be masked."""
    (image / "dev/null").symlink_to("/proc/sys/kernel/core_pattern")
    try:
        found = policy(APP, root=str(image), user="web")
        seen = look(manager, found, context(runtime, USER), LOOK)
    finally:
        (image / "dev/null").unlink()
    assert seen["null"] == ["ok", True]


def test_a_root_that_may_be_written(manager: Peer, image: Path, runtime: Path) -> None:
    seen = look(manager, policy(root=str(image), user="web"), context(runtime, ROOT), LOOK)
    assert (seen["write"], seen["of the host"]) == ("ok", "ENOENT")
    assert (image / "srv/file").exists()
    (image / "srv/file").unlink()


def test_its_notify_socket_and_state_are_there(
    manager: Peer, image: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    monkeypatch.setattr(paths, "TOPS", {**paths.TOPS, "runtime": str(runtime)})
    (runtime / "notify").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        path = f"{runtime}/notify/web@0"
        notify.bind(path)
        os.chmod(path, 0o666)
        ctx = context(runtime, USER, listens=(path,))
        box = Sandbox(level="app", runtime=("web",))
        seen = look(manager, policy(box, root=str(image), user="web"), ctx, f"""
import socket
link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
seen["notify"] = tried(link.sendto, b"READY=1", "{path}")
seen["runtime"] = tried(write, os.environ["RUNTIME_DIRECTORY"] + "/pid")
seen["in run"] = tried(write, "/run/file")
""")
        assert notify.recv(64) == b"READY=1"
    assert (seen["runtime"], seen["in run"]) == ("ok", "EROFS")
    assert (runtime / "web/pid").exists()


def test_an_image_without_a_place_for_something_is_refused_by_its_path(
    manager: Peer, image: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "TOPS", {**paths.TOPS, "state": str(runtime)})
    found = policy(Sandbox(level="app", state=("web",)), root=str(image), user="web")
    (image / "run").rmdir()
    try:
        with pytest.raises(CannotConfine) as refused:
            look(manager, found, context(runtime, USER), LOOK)
    finally:
        (image / "run").mkdir()
    place = f"{image}{runtime}/web"
    assert str(refused.value) == (
        f"root: cannot put {runtime}/web into {image}: there is none in it; make an empty directory"
        f" {place}"
    )


def test_which_tmp_is_its_own_is_said_as_it_is(image: Path, runtime: Path) -> None:
    found = policy(APP, root=str(image), user="web")

    def said() -> str:
        return dict(view.part(found, context(runtime, USER)).mechanisms)["sandbox.tmp"]

    assert said() == f"/tmp of its own, in memory; {image} has no /var/tmp"
    (image / "tmp").rmdir()
    try:
        assert said() == f"nothing; {image} has no /tmp; {image} has no /var/tmp"
    finally:
        (image / "tmp").mkdir()


def test_only_what_is_listed_of_a_root(manager: Peer, image: Path, runtime: Path) -> None:
    box = Sandbox(level="strict", promises=("stdio",), read=("/etc/own",))
    found = policy(box, root=str(image), user="web")
    seen = look(manager, found, context(runtime, USER), """
seen["own"] = read("/etc/own")
seen["etc"] = os.listdir("/etc")
seen["/"] = sorted(os.listdir("/"))
""")
    assert seen["own"] == "the image's"
    assert {"own"} <= set(seen["etc"]) <= {"own", "resolv.conf", "hosts"}
    assert set(seen["/"]) <= {"dev", "etc", "lib", "lib64", "proc", "tmp", "usr", "var"}


def _as_file(path: Path) -> None:
    shutil.rmtree(path)
    path.touch()


@pytest.mark.parametrize(
    "spoil, why",
    [
        (lambda at: shutil.rmtree(at / "proc"), "has no directory proc; make an empty one"),
        (shutil.rmtree, "No such file"),
        (_as_file, "is no directory"),
    ],
    ids=["no proc", "none", "file"],
)
def test_what_is_no_root_is_refused(
    manager: Peer, tmp_path: Path, runtime: Path, spoil: object, why: str
) -> None:
    root = tmp_path / "root"
    for name in ("proc", "dev"):
        (root / name).mkdir(parents=True)
    spoil(root)  # type: ignore[operator]  # one of the above
    with pytest.raises(CannotConfine, match=rf"root: .*{why}"):
        look(manager, policy(APP, root=str(root), user="web"), context(runtime, USER), "")


def test_a_program_is_looked_for_inside(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/tool").touch(mode=0o755)
    (root / "usr/bin/data").touch(mode=0o644)
    (root / "bin").symlink_to("/usr/bin")
    (root / "up").symlink_to("../../../../../../../usr/bin/env")
    (root / "loop").symlink_to("loop")
    assert find_in_root(str(root), "tool") == "/usr/bin/tool"
    assert find_in_root(str(root), "/bin/tool") == "/usr/bin/tool"
    assert find_in_root(str(root), "/../../bin/tool") == "/usr/bin/tool"
    with pytest.raises(CannotConfine, match="there is no such directory; unpack an image there"):
        find_in_root(f"{root}/gone", "/bin/sh")
    for name in ("/up", "/usr/bin/data", "sh", "/etc/passwd"):
        with pytest.raises(CannotConfine, match="root: cannot find"):
            find_in_root(str(root), name)
    with pytest.raises(CannotConfine, match="over 40 links"):
        find_in_root(str(root), "/loop")
    (root / "usr/bin/env").touch(mode=0o755)
    assert find_in_root(str(root), "/up") == "/usr/bin/env", "the root's own, not the host's"


def test_real_paths(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a/../a")
    (tmp_path / "file").touch()
    found = trace("/link/b/..", str(tmp_path))
    assert (found.real, found.links) == ("/a", (("/link", "a/../a"),))
    assert found.directory
    assert not trace("/a/../file", str(tmp_path)).directory
    os.lchown(tmp_path / "link", 61300, 61300)
    with pytest.raises(CannotConfine, match="symbolic link that uid 61300 made"):
        trace("/link", str(tmp_path))


def test_what_a_program_needs_of_its_own(tmp_path: Path) -> None:
    """A script of a virtual environment: interpreter, its loader, its libraries, its prefix."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "lib").mkdir()
    (venv / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (venv / "bin/python").symlink_to(PYTHON)
    (venv / "bin/tool").write_text(f"#!{venv}/bin/python -I\n")
    found = own_program(f"{venv}/bin/tool")
    assert {f"{venv}/bin/tool", f"{venv}/bin/python", str(venv), "/usr/lib"} <= set(found)
    assert any("ld-" in path for path in found), found
    (tmp_path / "script").write_text("#!/usr/bin/env python3\n")
    found = own_program(str(tmp_path / "script"))
    assert {"/usr/bin/env", PYTHON} <= set(found)
