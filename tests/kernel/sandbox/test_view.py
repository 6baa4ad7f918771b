"""Views of the host's files: what is there, what can be written, and what leads out."""
from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from supervisor.kernel.sandbox.part import CannotConfine
from supervisor.model.sandbox import MappedRange, Sandbox, Users
from tests.keeper.keeperclient import Peer
from tests.kernel.sandbox import sight
from tests.kernel.sandbox.sight import ROOT, USER, Failed, context, look, policy

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes mounts and becomes other users")
APP = Sandbox(level="app")


@pytest.fixture
def runtime() -> Iterator[Path]:
    """Not below /tmp, which a private one would replace."""
    with tempfile.TemporaryDirectory(prefix="unboxed-view-", dir="/run") as path:
        os.chmod(path, 0o755)
        yield Path(path)


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="unboxed-view-", dir="/var/lib") as path:
        os.chmod(path, 0o755)
        yield Path(path)


def test_all_of_the_tree_is_read_only_but_what_is_listed(
    manager: Peer, runtime: Path, place: Path
) -> None:
    (place / "open").mkdir(mode=0o777)
    (place / "open").chmod(0o777)
    (place / "shut").mkdir()
    (place / "shut").chmod(0o777)
    box = Sandbox(level="app", write=(f"{place}/open",))
    seen = look(manager, policy(box), context(runtime), f"""
seen["open"] = tried(write, "{place}/open/file")
seen["shut"] = tried(write, "{place}/shut/file")
seen["etc"] = tried(write, "/etc/file")
seen["sys"] = tried(write, "/sys/kernel/profiling")
seen["writable"] = sorted(at for at, how in mounts().items() if "rw" in how)
seen["open is"] = mounts()["{place}/open"]
""")
    assert (seen["open"], seen["shut"], seen["etc"]) == ("ok", "EROFS", "EROFS")
    assert seen["sys"] in ("EROFS", "ENOENT", "EACCES")
    assert (place / "open/file").stat().st_uid == USER.uid
    nodes = {at for at in seen["writable"] if at.startswith("/dev/")}
    assert set(seen["writable"]) - nodes == {"/proc", "/tmp", "/var/tmp", f"{place}/open"}
    assert {"nosuid", "nodev"} <= set(seen["open is"])


@pytest.mark.parametrize("processes", ["hidden", "own", "host"])
def test_root_in_a_view_writes_nothing_either(
    manager: Peer, runtime: Path, processes: Literal["hidden", "own", "host"]
) -> None:
    box = Sandbox(level="app", processes=processes)
    seen = look(manager, policy(box, user="root"), context(runtime, ROOT), """
seen["etc"] = tried(write, "/etc/file")
seen["sysctl"] = tried(write, "/proc/sys/kernel/domainname", "x")
seen["sysrq"] = tried(write, "/proc/sysrq-trigger", "h")
seen["own"] = tried(write, "/proc/self/oom_score_adj", "10")
""")
    assert (seen["etc"], seen["sysctl"], seen["own"]) == ("EROFS", "EROFS", "ok")
    assert seen["sysrq"] in ("EROFS", "ENOENT"), "not every kernel has it"


def test_homes_are_empty_and_tmp_is_its_own(manager: Peer, runtime: Path) -> None:
    with tempfile.NamedTemporaryFile(prefix="unboxed-view-") as file:
        seen = look(manager, policy(APP), context(runtime), f"""
seen["homes"] = [os.listdir(at) for at in ("/home", "/root", "/run/user") if os.path.exists(at)]
seen["into home"] = tried(write, "/home/x")
seen["host's"] = tried(os.stat, "{file.name}")
seen["tmp"] = [tried(write, at + "/mine") for at in ("/tmp", "/var/tmp", "/dev/shm")]
seen["mode"] = [stat.S_IMODE(os.stat(at).st_mode) for at in ("/tmp", "/var/tmp", "/dev/shm")]
seen["suid"] = mounts()["/tmp"]
""")
    assert not any(seen["homes"])
    assert seen["into home"] == "EROFS"
    assert seen["host's"] == "ENOENT"
    assert seen["tmp"] == ["ok"] * 3
    assert seen["mode"] == [0o1777] * 3
    assert {"nosuid", "nodev"} <= set(seen["suid"])
    assert not Path("/tmp/mine").exists()


def test_a_home_with_its_directory_stays(manager: Peer, runtime: Path) -> None:
    seen = look(manager, policy(APP), context(runtime, ROOT, directory="/root"), """
seen["here"] = os.getcwd()
seen["root"] = len(os.listdir("/root")) > 0
seen["home"] = os.listdir("/home")
""")
    assert seen == {"here": "/root", "root": len(os.listdir("/root")) > 0, "home": []}


def test_of_our_own_sockets_only_the_given_one_is_reached(manager: Peer, runtime: Path) -> None:
    (runtime / "notify").mkdir()
    with socket.socket(socket.AF_UNIX) as control, socket.socket(
        socket.AF_UNIX, socket.SOCK_DGRAM
    ) as notify:
        for one, name in ((control, "control"), (notify, "notify/web@0")):
            one.bind(f"{runtime}/{name}")
            (runtime / name).chmod(0o666)
        control.listen()
        ctx = context(runtime, listens=(f"{runtime}/notify/web@0",))
        seen = look(manager, policy(APP), ctx, f"""
import socket
seen["control"] = tried(socket.socket(socket.AF_UNIX).connect, "{runtime}/control")
link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
seen["notify"] = tried(link.sendto, b"READY=1", "{runtime}/notify/web@0")
seen["all"] = [sorted(os.listdir("{runtime}")), os.listdir("{runtime}/notify")]
""")
        assert notify.recv(64) == b"READY=1"
    assert seen["control"] == "ENOENT"
    assert seen["all"] == [["notify"], ["web@0"]]


HIDDEN = """
seen["/"] = sorted(os.listdir("/"))
seen["unlisted"] = [tried(os.stat, at) for at in ("/boot", "/home", "/root", "/var/lib", "/sys")]
seen["unlisted file"] = tried(os.stat, "/etc/passwd")
seen["read"] = len(read("/etc/hosts")) > 0
seen["write"] = [tried(write, at) for at in ("/etc/hosts", "/new", "/etc/new", "/usr/lib/new")]
seen["dots"] = sorted(os.listdir("/../..")) == seen["/"]
seen["lib"] = os.readlink("/lib") if os.path.islink("/lib") else ""
"""


def test_what_is_not_listed_does_not_exist(manager: Peer, runtime: Path) -> None:
    box = Sandbox(level="strict", promises=("stdio",), read=("/etc/hosts",))
    seen = look(manager, policy(box), context(runtime, ROOT), HIDDEN)
    assert set(seen["/"]) <= {"dev", "etc", "lib", "lib64", "proc", "tmp", "usr", "var"}
    assert set(seen["unlisted"]) == {"ENOENT"}
    assert seen["unlisted file"] == "ENOENT"
    assert seen["read"]
    assert set(seen["write"]) == {"EROFS"}
    assert seen["dots"]
    assert seen["lib"] == (os.readlink("/lib") if os.path.islink("/lib") else "")


def test_only_what_is_listed_is_executed(manager: Peer, runtime: Path) -> None:
    box = Sandbox(level="strict", promises=("stdio",), read=("/usr/bin",))
    seen = look(manager, policy(box), context(runtime), """
seen["listed to read"] = tried(os.execv, "/usr/bin/true", ["true"])
seen["itself"] = os.access("/usr/bin/python3", os.X_OK)
seen["/usr/bin"], seen["python"] = mounts()["/usr/bin"], mounts()[os.path.realpath(sys.executable)]
""")
    assert seen["listed to read"] == "EACCES"
    assert seen["itself"]
    assert "noexec" in seen["/usr/bin"]
    assert "noexec" not in seen["python"]


def test_rights_within_rights(manager: Peer, runtime: Path, place: Path) -> None:
    """What is listed to be written below what is listed to be read, and the other way round."""
    for name in ("read/write", "write/read"):
        (place / name).mkdir(parents=True)
    for path in place.rglob("*"):
        path.chmod(0o777)
    box = Sandbox(
        level="strict", promises=("stdio",), read=(f"{place}/read", f"{place}/write/read"),
        write=(f"{place}/read/write", f"{place}/write"),
    )  # fmt: skip
    seen = look(manager, policy(box), context(runtime), f"""
for at in ("read", "read/write", "write", "write/read"):
    seen[at] = tried(write, f"{place}/{{at}}/file")
""")
    assert seen == {"read": "EROFS", "read/write": "ok", "write": "ok", "write/read": "ok"}


def test_nothing_of_the_old_root_is_left(manager: Peer, runtime: Path) -> None:
    """By its root in /proc, its mounts, its working directory, a descriptor."""
    box = Sandbox(level="strict", promises=("stdio",), read=("/etc/hosts",))
    seen = look(manager, policy(box), context(runtime, ROOT), """
seen["proc root"] = sorted(os.listdir("/proc/self/root")) == sorted(os.listdir("/"))
seen["cwd"] = tried(os.listdir, "/proc/self/cwd")
held = [f"/proc/self/fd/{n}" for n in os.listdir("/proc/self/fd")]
seen["dirs"] = [at for at in held if os.path.exists(at) and os.path.isdir(at)]
seen["mounts"] = [at for at in mounts() if at.startswith(("/boot", "/home", "/sys", "/old"))]
""")
    assert seen["proc root"]
    assert not seen["dirs"]
    assert not seen["mounts"]
    assert set(seen["cwd"]) <= {"dev", "etc", "lib", "lib64", "proc", "tmp", "usr", "var"}


def test_a_link_that_a_service_could_have_made_is_refused(
    manager: Peer, runtime: Path, place: Path
) -> None:
    (place / "data").mkdir()
    os.chown(place / "data", 61300, 61300)
    (place / "data/out").symlink_to("/etc")
    os.lchown(place / "data/out", 61300, 61300)
    box = Sandbox(level="app", write=(f"{place}/data/out",))
    with pytest.raises(CannotConfine, match=r"sandbox.write: .*uid 61300"):
        look(manager, policy(box), context(runtime), "")


def test_a_link_put_there_after_we_looked_ends_the_launch(
    manager: Peer, runtime: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "data").mkdir()
    real = sight.steps_of

    def looked(*args: object) -> object:
        steps = real(*args)  # type: ignore[arg-type]  # the same, and then the race
        (place / "data").rmdir()
        (place / "data").symlink_to("/etc")
        return steps

    monkeypatch.setattr(sight, "steps_of", looked)
    box = Sandbox(level="app", write=(f"{place}/data",))
    with pytest.raises(Failed) as caught:
        look(manager, policy(box), context(runtime), "")
    name, words, reason = caught.value.args
    assert (name, reason) == ("openat2", os.strerror(40))
    assert str(place / "data") in words


def test_a_path_that_is_not_there_is_named(manager: Peer, runtime: Path) -> None:
    box = Sandbox(level="strict", promises=("stdio",), read=("/etc/no such file",))
    with pytest.raises(CannotConfine, match=r"sandbox.read: cannot find /etc/no such file"):
        look(manager, policy(box), context(runtime), "")


def test_devices_are_the_named_ones(manager: Peer, runtime: Path) -> None:
    box = Sandbox(level="app", devices=("/dev/kmsg",))
    seen = look(manager, policy(box), context(runtime, ROOT), """
seen["all"] = sorted(os.listdir("/dev"))
seen["null"] = tried(write, "/dev/null")
seen["zero"] = open("/dev/zero", "rb").read(4).hex()
seen["terminal"] = [tried(os.ttyname, one) for one in os.openpty()]
seen["new"] = tried(write, "/dev/x")
seen["make"] = tried(os.mknod, "/tmp/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
seen["made"] = tried(write, "/tmp/null") if os.path.exists("/tmp/null") else "EACCES"
""")
    always = {"fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
              "tty", "urandom", "zero"}  # fmt: skip
    assert set(seen["all"]) == always | {"kmsg"}
    assert (seen["null"], seen["zero"], seen["new"]) == ("ok", "00000000", "EROFS")
    assert seen["terminal"][1] == "/dev/pts/0", "the first of a set of its own"
    assert seen["made"] == "EACCES", "no node works that it makes"


def test_hidden_processes(manager: Peer, runtime: Path) -> None:
    code = """
seen["pids"] = [int(x) for x in os.listdir("/proc") if x.isdigit()]
seen["i"] = os.getpid()
"""
    seen = look(manager, policy(APP), context(runtime), code)
    assert seen["pids"] == [seen["i"]]
    own = look(manager, policy(Sandbox(level="app", processes="own")), context(runtime), code)
    assert own == {"pids": [1, 2], "i": 2}
    shared = look(manager, policy(Sandbox(level="app", processes="host")), context(runtime), code)
    assert len(shared["pids"]) > 3
    assert 1 in shared["pids"]


@pytest.mark.parametrize("read", [None, ("/etc/hosts",)], ids=["app", "strict"])
def test_in_a_user_namespace(
    manager: Peer, runtime: Path, place: Path, read: tuple[str, ...] | None
) -> None:
    """Its root is nobody in the host's files, also in those that it may write."""
    place.chmod(0o777)
    users = Users((MappedRange(0, 700_000, 65536),))
    box = Sandbox(
        level="app", users=users, write=(str(place),), read=read, exec=read and ("@self",)
    )
    seen = look(manager, policy(box), context(runtime, ROOT), f"""
seen["uid"] = os.getuid()
seen["etc"] = tried(write, "/etc/file")
seen["dev"] = tried(write, "/dev/null")
seen["listed"] = tried(write, "{place}/mine")
seen["pids"] = [int(x) for x in os.listdir("/proc") if x.isdigit()]
""")
    assert (seen["uid"], seen["etc"], seen["dev"], seen["pids"]) == (0, "EROFS", "ok", [1, 2])
    assert (seen["listed"], (place / "mine").stat().st_uid) == ("ok", 700_000)


@pytest.mark.parametrize("processes", ["hidden", "own", "host"])
def test_other_processes_do_not_lead_out(
    manager: Peer, runtime: Path, processes: Literal["hidden", "own", "host"]
) -> None:
    """By their root, working directory, descriptors and memory maps in /proc."""
    box = Sandbox(level="strict", promises=("stdio",), read=("/etc/hosts",), processes=processes)
    seen = look(manager, policy(box, user="web"), context(runtime), """
others = [int(x) for x in os.listdir("/proc") if x.isdigit() and int(x) != os.getpid()]
seen["others"] = len(others)
ways = [f"/proc/{pid}/{way}" for pid in others for way in ("root", "cwd", "fd", "map_files")]
seen["open"] = [way for way in ways if isinstance(tried(os.listdir, way), list)]
""")
    assert seen["others"] > 0 if processes != "hidden" else seen["others"] == 0
    assert not seen["open"]


def test_its_holder_does_not_lead_out(manager: Peer, runtime: Path) -> None:
    """Process 1 of a pid namespace is ours: a root with all rights in there finds it rootless."""
    users = Users((MappedRange(0, 700_000, 65536),))
    read = ("/etc/hosts",)
    box = Sandbox(level="strict", promises=("stdio",), read=read, processes="own", users=users)
    seen = look(manager, policy(box, user="root"), context(runtime, ROOT), """
seen["its own"] = sorted(os.listdir("/proc/2/root")) == sorted(os.listdir("/"))
seen["holder's"] = [os.listdir("/proc/1/root"), os.listdir("/proc/1/root/..")]
seen["write"] = tried(write, "/proc/1/root/file")
""")
    assert seen["its own"]
    assert seen["holder's"] == [[], []]
    assert seen["write"] in ("EROFS", "EACCES")
