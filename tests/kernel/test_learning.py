"""A real process that asks: calls, paths and addresses, as they are noted while it waits."""
from __future__ import annotations

import ctypes
import os
import platform
import select
import shutil
import signal
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor.cli.learning.listener import CannotTake, Listener, take
from supervisor.cli.learning.notes import Address, Notes
from supervisor.cli.learning.process import Process
from supervisor.cli.learning.watch import Watch
from supervisor.kernel.seccomp import learning
from supervisor.kernel.seccomp.filter import ARCHES
from supervisor.kernel.seccomp.least import least

ARCH = platform.machine()
NUMBER = 200  # the descriptor that the child keeps its listener as
PR_SET_NO_NEW_PRIVS, SET_MODE_FILTER, NEW_LISTENER = 38, 1, 8
PATIENCE_S = 20.0

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or ARCH not in ARCHES or "user_notif" not in Path(
        "/proc/sys/kernel/seccomp/actions_avail").read_text().split(),
    reason="needs root, and filters that ask (SECCOMP_RET_USER_NOTIF, Linux 5.5)",
)
libc = ctypes.CDLL(None, use_errno=True)


def ask_from_now_on() -> None:
    """In the child: as the last steps of a launch do it."""
    program = learning.compile(ARCH)
    memory = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("<H6xQ", len(program) // 8, ctypes.addressof(memory))
    calls = ARCHES[ARCH].calls
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    fd = libc.syscall(calls["seccomp"], SET_MODE_FILTER, NEW_LISTENER, described)
    libc.syscall(calls["dup3"], fd, NUMBER, 0)


def watched(work: Callable[[], object], *, gone: bool = False) -> tuple[Notes, int]:
    """What `work` was seen to do in a child, and the child's exit code."""
    pid = os.fork()
    if not pid:
        try:
            ask_from_now_on()
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - a child of a test must not return into it
            os._exit(1)
    notes = Notes()
    end = time.monotonic() + PATIENCE_S
    try:
        listener = listening(pid, end)
        try:
            answer(listener, Watch(ARCH, notes), end, gone=gone)
        finally:
            listener.close()
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    return notes, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def listening(pid: int, end: float) -> Listener:
    while True:
        try:
            return Listener(take(pid, NUMBER))
        except CannotTake:
            assert time.monotonic() < end, "the child never had a listener"
            time.sleep(0.005)


def answer(listener: Listener, watch: Watch, end: float, *, gone: bool) -> None:
    """Until nobody is left who could ask. `gone`: each asker is killed before it is answered."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while time.monotonic() < end:
        for _, mask in poll.poll(100):
            if not mask & select.POLLIN:
                return
            question = listener.question()
            if question is None:
                continue
            if gone:
                os.kill(question.pid, signal.SIGKILL)
                os.waitid(os.P_PID, question.pid, os.WEXITED | os.WNOWAIT)
            watch.see(Process(question.pid), question.call, question.args)
            listener.go_on(question)
    raise AssertionError("the child still asks")


def test_files_are_noted_as_they_are_asked_for_and_the_calls_still_work(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("old")

    def work() -> None:
        os.chdir(tmp_path)
        assert Path("link").read_text() == "old"
        Path("folder/new").write_text("new")
        os.stat(f"{tmp_path}/folder/../old")
        os.unlink("folder/new")
        folder = os.open("folder", os.O_RDONLY)
        os.close(os.open("made", os.O_WRONLY | os.O_CREAT, dir_fd=folder))
        assert not os.path.exists("none")

    notes, code = watched(work)
    assert code == 0
    uses = {path.removeprefix(str(tmp_path)): use for path, use in notes.uses.items()}
    assert uses["/link"] == {"read"}
    assert uses["/folder"] == {"read", "write"}  # opened; a file came and went
    assert uses["/old"] == {"look"}
    assert f"{tmp_path}/none" in notes.absent
    assert f"{tmp_path}/folder/new" not in notes.absent
    assert least(notes.needed()).words == ("stdio", "rpath", "wpath", "cpath")


def test_children_and_what_they_execute_ask_too(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("one\n")
    shell, cat = shutil.which("sh"), shutil.which("cat", path="/usr/bin:/bin")
    assert shell
    assert cat
    script = f"{cat} {tmp_path}/words | {{ read a; exit 7; }}"
    notes, code = watched(lambda: os.execve(shell, ["sh", "-c", script], {}))
    assert code == 7
    assert "exec" in notes.uses[cat]
    assert "exec" in notes.uses[shell]  # the mark was not the keeper's
    assert "read" in notes.uses[f"{tmp_path}/words"]
    assert "proc" in least(notes.needed()).words


def test_paths_are_those_of_the_process_in_its_own_root(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "here").write_text("inside")
    (tmp_path / "abs").symlink_to("/etc/here")  # leads to /etc/here of that root

    def work() -> None:
        assert Path("/abs").read_text() == "inside"
        os.chdir("/etc")
        os.stat("here")

    def confined() -> None:
        os.chroot(tmp_path)
        os.chdir("/")
        work()

    notes, code = watched(confined)
    assert code == 0
    assert notes.uses["/abs"] == {"read"}
    assert notes.kinds["/abs"] == "file"
    assert "look" in notes.uses["/etc/here"]


def test_sockets_are_noted_by_protocol_address_and_port(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")

    def work() -> None:
        with socket.socket() as one, socket.socket(socket.AF_UNIX) as two:
            one.bind(("127.0.0.1", 0))
            one.listen()
            two.bind(path)
            two.listen()
            for kind, where in ((socket.AF_INET, one.getsockname()), (socket.AF_UNIX, path)):
                with socket.socket(kind) as client:
                    client.connect(where)
            with socket.socket(socket.AF_UNIX) as client:
                assert client.connect_ex(path + "-none") != 0
            with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
                datagrams.sendto(b"x", ("127.0.0.9", 9))
                datagrams.sendmsg([b"x"], [], 0, ("127.0.0.8", 8))

    notes, code = watched(work)
    assert code == 0
    assert notes.listens == {Address("tcp", "127.0.0.1", 0), Address("unix", path)}
    reached = {one for one in notes.connects if one.protocol != "tcp"}
    assert reached == {
        Address("unix", path), Address("udp", "127.0.0.9", 9), Address("udp", "127.0.0.8", 8)}
    (client,) = notes.connects - reached
    assert client.port
    assert path + "-none" in notes.absent
    assert notes.uses[str(tmp_path)] == {"write"}  # the socket's own entry
    assert {"unix", "inet"} <= set(least(notes.needed()).words)


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="unboxed-learning-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def test_what_owners_refuse_is_no_use_but_told(open_to_all: Path) -> None:
    mine = open_to_all / "mine"
    mine.mkdir(mode=0o755)
    (mine / "file").write_text("")

    def work() -> None:
        for flags in (os.O_WRONLY, os.O_RDONLY):
            try:
                os.close(os.open(mine / "file", flags))
            except PermissionError:
                assert flags == os.O_WRONLY
        try:
            os.mkdir(mine / "new")
        except PermissionError:
            pass

    def stranger() -> None:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, which a change of ids takes
        work()

    notes, code = watched(stranger)
    assert code == 0
    assert notes.refused == {str(mine / "file"), str(mine / "new")}
    assert notes.uses[str(mine / "file")] == {"read"}
    assert str(mine) not in notes.uses


def test_pointers_that_point_nowhere_and_askers_that_die_are_survived() -> None:
    calls = ARCHES[ARCH].calls

    def wrong() -> None:
        for call in ("openat", "execve", "newfstatat", "connect", "sendmsg"):
            libc.syscall(calls[call], ctypes.c_long(-100), ctypes.c_void_p(1), 99, 0)
        libc.syscall(calls["openat"], ctypes.c_long(77), b"relative", 0)

    notes, code = watched(wrong)
    assert code == 0
    assert not notes.uses
    assert watched(lambda: os.stat("/etc"), gone=True)[1] == -signal.SIGKILL


def test_a_descriptor_that_is_not_there_is_refused_in_words() -> None:
    with pytest.raises(CannotTake, match="Bad file descriptor"):
        take(os.getpid(), 9999)
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(CannotTake, match="is not there"):
        take(child, 3)
