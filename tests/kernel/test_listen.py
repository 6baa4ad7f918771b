"""Listening sockets: every family, what is in the way, and names that are swapped meanwhile."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.config.address import NETLINK_FAMILIES
from supervisor.kernel import listen
from supervisor.kernel.users import UnknownName
from supervisor.model.unit import Listen
from tests.kernel.kit import NOBODY, in_child

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changing the owner needs root")
_IF_INET6 = Path("/proc/net/if_inet6")
_HAS_IPV6 = _IF_INET6.exists() and bool(_IF_INET6.read_text())


def opened(one: Listen) -> socket.socket:
    """The bound descriptor as a socket, which closes it."""
    fd = listen.bind(one)
    assert not os.get_inheritable(fd)
    return socket.socket(fileno=fd)


def refusal(one: Listen) -> OSError:
    with pytest.raises(OSError) as raised:  # noqa: PT011 - its errno is what tests look at
        os.close(listen.bind(one))
    return raised.value


def inet(family: str, host: str, port: int = 0, **more: object) -> Listen:
    return Listen("main", family, host, port, **more)  # type: ignore[arg-type]


# --- the families ---


@pytest.mark.parametrize(
    "family, host",
    [
        ("tcp", "127.0.0.1"),
        ("udp", "127.0.0.1"),
        pytest.param("tcp6", "::1", marks=pytest.mark.skipif(not _HAS_IPV6, reason="no IPv6")),
        pytest.param("udp6", "::1", marks=pytest.mark.skipif(not _HAS_IPV6, reason="no IPv6")),
    ],
)
def test_an_internet_address_is_served(family: str, host: str) -> None:
    with opened(inet(family, host)) as sock:
        assert sock.family == (socket.AF_INET6 if family[-1] == "6" else socket.AF_INET)
        with socket.socket(sock.family, sock.type) as client:
            client.connect(sock.getsockname())
            if family[:3] == "tcp":
                sock.accept()[0].close()
            else:
                client.send(b"x")
                assert sock.recv(9) == b"x"


@pytest.mark.skipif(not _HAS_IPV6, reason="no IPv6")
def test_an_ipv6_wildcard_leaves_the_same_port_of_ipv4_free() -> None:
    with (
        opened(inet("tcp6", "::")) as six,
        opened(inet("tcp", "0.0.0.0", six.getsockname()[1])),  # noqa: S104 - what is tested
    ):
        pass


@pytest.mark.parametrize("family", ["tcp", "udp"])
def test_an_address_in_use_is_refused(family: str) -> None:
    with opened(inet(family, "127.0.0.1")) as sock:
        port = sock.getsockname()[1]
        assert refusal(inet(family, "127.0.0.1", port)).errno == errno.EADDRINUSE


def test_a_udp_address_is_not_stolen_from_who_would_share_it() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        assert refusal(inet("udp", "127.0.0.1", port)).errno == errno.EADDRINUSE


def test_a_tcp_port_that_served_a_moment_ago_is_taken_again() -> None:
    with opened(inet("tcp", "127.0.0.1")) as sock:
        port = sock.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted = sock.accept()[0]
            accepted.close()  # ours closes first: TIME_WAIT is on this side
            assert client.recv(1) == b""
    opened(inet("tcp", "127.0.0.1", port)).close()


@pytest.mark.parametrize("family", ["tcp", "udp"])
def test_instances_may_share_a_port(family: str) -> None:
    with opened(inet(family, "127.0.0.1", reuse_port=True)) as one:
        port = one.getsockname()[1]
        with opened(inet(family, "127.0.0.1", port, reuse_port=True)) as two:
            assert one.getsockname() == two.getsockname()


@needs_root
def test_a_low_port_is_refused_to_an_ordinary_user() -> None:
    def bind() -> int | None:
        return refusal(inet("tcp", "127.0.0.1", 81)).errno

    limit = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if limit <= 81:
        pytest.skip(f"ports from {limit} on are free for everybody here")
    assert in_child(bind, NOBODY) == errno.EACCES


def test_an_address_of_another_host_is_refused() -> None:
    assert refusal(inet("tcp", "192.0.2.1", 8080)).errno == errno.EADDRNOTAVAIL


def test_an_abstract_name_is_served_and_not_shared() -> None:
    name = f"unboxed-test-{os.getpid()}"
    one = Listen("main", "abstract", path=name)
    with opened(one) as sock, socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + name)
        sock.accept()[0].close()
        assert refusal(one).errno == errno.EADDRINUSE
    opened(one).close()


def test_kernel_messages_are_heard() -> None:
    with opened(Listen("main", "netlink", path="route 1")) as sock:
        assert sock.family == socket.AF_NETLINK
        assert sock.getsockname()[1] == 1


@pytest.mark.parametrize("family", NETLINK_FAMILIES)
def test_each_netlink_family_of_a_unit_file_is_known(family: str) -> None:
    try:
        with opened(Listen("main", "netlink", path=family)) as sock:
            assert sock.proto == NETLINK_FAMILIES[family]
    except OSError as exc:  # this kernel was built without it, or it is root's
        if exc.errno not in (errno.EPROTONOSUPPORT, errno.EPERM, errno.EACCES):
            raise


def test_the_label_is_the_address_of_the_unit_file() -> None:
    labels = [
        listen.label(one)
        for one in (
            inet("tcp", "127.0.0.1", 80), inet("udp6", "::1", 53),
            Listen("main", "unix", path="/run/x"), Listen("main", "netlink", path="route 1"),
        )
    ]  # fmt: skip
    assert labels == ["tcp:127.0.0.1:80", "udp6:[::1]:53", "unix:/run/x", "netlink:route 1"]


# --- unix sockets and fifos ---


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "it"


def unix(path: Path, **more: object) -> Listen:
    return Listen("main", "unix", path=str(path), **more)  # type: ignore[arg-type]


def fifo(path: Path, **more: object) -> Listen:
    return Listen("main", "fifo", path=str(path), **more)  # type: ignore[arg-type]


Maker = Callable[..., Listen]
def datagrams(path: Path, **more: object) -> Listen:
    return Listen("main", "unix-datagram", path=str(path), **more)  # type: ignore[arg-type]


both = pytest.mark.parametrize("make", [unix, datagrams, fifo])


def test_datagrams_come_with_who_sent_them(path: Path) -> None:
    with opened(datagrams(path)) as held, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.sendto(b"hello", str(path))
        data, control, _, _ = held.recvmsg(64, 64)
        assert data == b"hello"
        level, kind, sender = control[0]
        assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
        assert int.from_bytes(sender[:4], sys.byteorder) == os.getpid()
        assert refusal(datagrams(path)).errno == errno.EADDRINUSE
    opened(datagrams(path)).close()  # nobody has it any more


@both
@pytest.mark.parametrize("mode", [0o600, 0o666, 0o777, 0o000])
def test_mode_is_as_asked_for_whatever_the_umask(make: Maker, path: Path, mode: int) -> None:
    old = os.umask(0o077)
    try:
        os.close(listen.bind(make(path, mode=mode)))
        assert os.umask(0o077) == 0o077, "the umask is as it was"
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.lstat().st_mode) == mode


@both
@needs_root
def test_owner_and_group_are_as_asked_for(make: Maker, path: Path) -> None:
    os.close(listen.bind(make(path, user="nobody", group="daemon")))
    assert (path.stat().st_uid, path.stat().st_gid) == (NOBODY, 1)


@both
def test_an_unknown_owner_is_found_out_before_anything_is_made(make: Maker, path: Path) -> None:
    for key in ("user", "group"):
        with pytest.raises(UnknownName):
            listen.bind(make(path, **{key: "no-such-name"}))
    assert not path.exists()


@both
@needs_root
def test_what_may_not_be_given_away_leaves_nothing_behind(make: Maker, path: Path) -> None:
    path.parent.chmod(0o777)
    for folder in path.parents:
        if folder.stat().st_mode & 0o011 != 0o011:
            folder.chmod(folder.stat().st_mode | 0o011)

    def bind() -> list[object]:
        before = len(os.listdir("/proc/self/fd"))
        code = refusal(make(path, user="root")).errno
        return [code, len(os.listdir("/proc/self/fd")) - before]

    assert in_child(bind, NOBODY) == [errno.EPERM, 0]
    assert make is fifo or not path.exists()


def test_a_socket_whose_owner_is_gone_is_replaced(path: Path) -> None:
    os.close(listen.bind(unix(path)))
    with opened(unix(path)) as sock, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        sock.accept()[0].close()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM])
def test_a_socket_in_use_is_not(path: Path, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_UNIX, kind) as other:
        other.bind(str(path))
        if kind != socket.SOCK_DGRAM:
            other.listen(0)
        inode = path.stat().st_ino
        assert refusal(unix(path)).errno == errno.EADDRINUSE
        assert path.stat().st_ino == inode


def test_a_socket_whose_queue_is_full_is_in_use(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as waiting:
        other.bind(str(path))
        other.listen(0)
        waiting.connect(str(path))
        assert refusal(unix(path)).errno == errno.EADDRINUSE


def test_a_fifo_is_used_again_with_what_is_in_it(path: Path) -> None:
    reader = listen.bind(fifo(path))
    os.write(reader, b"kept")
    again = listen.bind(fifo(path, mode=0o600))
    assert os.read(again, 9) == b"kept"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    os.close(reader)
    os.close(again)


@both
@pytest.mark.parametrize("what", ["file", "directory", "link", "dangling", "other"])
def test_what_is_in_the_way_is_named_and_stays(make: Maker, path: Path, what: str) -> None:
    target = path.with_name("target")
    target.write_text("precious")
    target.chmod(0o640)
    if what == "file":
        target.rename(path)
    elif what == "directory":
        path.mkdir()
    elif what == "link":
        path.symlink_to(target)
    elif what == "dangling":
        path.symlink_to("nowhere")
    elif make is not fifo:
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
    before = path.lstat()
    exc = refusal(make(path, mode=0o777))
    assert exc.errno == errno.EEXIST
    assert exc.strerror == (
        f"something is in its place that is no {'fifo' if make is fifo else 'socket'}"
    )
    assert path.lstat() == before
    if target.exists():
        assert target.read_text() == "precious"
        assert stat.S_IMODE(target.stat().st_mode) == 0o640


@both
def test_a_missing_directory_and_one_that_is_a_file_are_told_apart(
    make: Maker, path: Path
) -> None:
    assert refusal(make(path / "sock")).errno == errno.ENOENT
    path.touch()
    assert refusal(make(path / "sock")).errno == errno.ENOTDIR


SWAPPER = """
import os, sys
victim, path = sys.argv[1:]
print("swapping", flush=True)
while os.getppid() != 1:
    os.symlink(victim, path + "x")
    os.rename(path + "x", path)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
"""


@both
def test_a_link_that_is_swapped_in_is_never_followed(make: Maker, tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "it"
    victim.write_text("precious")
    victim.chmod(0o600)
    before = victim.stat()
    seen = {"made": 0, "refused": 0}
    deadline = time.monotonic() + 30
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", SWAPPER, victim, path], stdout=subprocess.PIPE
    ) as swapper:
        assert swapper.stdout is not None
        assert swapper.stdout.readline() == b"swapping\n"
        try:
            while min(seen.values()) < 100:  # the race was really run
                assert time.monotonic() < deadline, seen
                try:
                    os.close(listen.bind(make(path, mode=0o777)))
                    seen["made"] += 1
                except OSError:
                    seen["refused"] += 1
            assert swapper.poll() is None
        finally:
            swapper.kill()
    after = victim.stat()
    assert (after.st_mode, after.st_uid, after.st_ctime_ns) == (
        before.st_mode, before.st_uid, before.st_ctime_ns
    )  # fmt: skip
    assert victim.read_text() == "precious"
