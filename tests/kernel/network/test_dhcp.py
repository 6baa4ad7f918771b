"""A lease from a real server, by each client that is known, and the machine online by it."""
from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.boot import dhcp, online
from supervisor.boot.net.clients import write_script
from supervisor.boot.net.places import Places
from tests.kernel.network.kit import Place, pyroute2
from tests.stack import ROOT

CLONE_NEWNET = 0x40000000
PATIENCE_S = 20
FILE = """
[interface.a0]
dhcp = true
metric = 77
[wait]
online = "20s"
"""
SERVER = """
start 10.77.0.20
end 10.77.0.29
max_leases 5
interface b0
lease_file {home}/leases
pidfile {home}/udhcpd.pid
opt dns 10.77.0.1
opt router 10.77.0.1
opt subnet 255.255.255.0
opt domain example.org
opt lease 600
"""
# A client's own places are its own: it writes to /run and /var/lib.
ALONE = "mount -t tmpfs t /run && mount -t tmpfs t /var/lib && mkdir /var/lib/dhcp /var/lib/dhcpcd"
CLIENT = (
    "import sys; from supervisor.boot.dhcp import main; "
    "from supervisor.boot.net.places import Places; sys.exit(main([], Places(*sys.argv[1:])))"
)
BUSYBOX = shutil.which("busybox")


@pytest.fixture
def served(cables: Place, tmp_path: Path) -> Iterator[Place]:
    """The far end of the cable is in another namespace, where a server listens."""
    if BUSYBOX is None:
        pytest.skip("there is no busybox in PATH, whose udhcpd is the server")
    libc = ctypes.CDLL(None)
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    assert libc.unshare(CLONE_NEWNET) == 0
    far = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    (tmp_path / "leases").touch()
    (tmp_path / "server.conf").write_text(SERVER.format(home=tmp_path))
    cables.ip.link("set", index=cables.index("b0"), net_ns_fd=far)
    with pyroute2.IPRoute() as there:
        (index,) = there.link_lookup(ifname="b0")
        there.addr("add", index=index, address="10.77.0.1", prefixlen=24)
        there.link("set", index=index, state="up")
    server = subprocess.Popen(  # -a: it need not look for somebody who has the address
        [BUSYBOX, "udhcpd", "-f", "-a", "1", f"{tmp_path}/server.conf"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert libc.setns(here, CLONE_NEWNET) == 0
    try:
        yield cables
    finally:
        server.kill()
        server.wait()
        os.close(here)
        os.close(far)


def start(place: Place, program: str) -> subprocess.Popen[bytes]:
    """The step, where `program` is the only client."""
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"there is no {program} in PATH")
    only = place.home / "bin"
    only.mkdir()
    (only / program).symlink_to(path)
    words = [sys.executable, "-c", CLIENT, place.where.file, place.where.folder, place.where.resolv]
    with (place.home / "said").open("wb") as said:
        return subprocess.Popen(
            ["unshare", "-m", "sh", "-c", f'{ALONE} && PATH={only} && exec "$@"', "sh", *words],
            stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip


def stop(client: subprocess.Popen[bytes]) -> None:
    """As the unit does: dhcpcd 9 forgets a SIGTERM that comes while its script runs."""
    for _ in range(PATIENCE_S):
        client.send_signal(signal.SIGTERM)
        try:
            client.wait(1)
        except subprocess.TimeoutExpired:
            continue
        return
    client.kill()
    client.wait()
    pytest.fail("the client does not end by SIGTERM")


@pytest.mark.parametrize("program", ["dhcpcd", "busybox", "dhclient"])
def test_a_client_brings_the_machine_online_and_leaves_its_address(
    program: str, served: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    assert served.apply(FILE) == 0
    client = start(served, program)
    try:
        assert online.main([], served.where) == 0, (served.home / "said").read_text()
        deadline = time.monotonic() + PATIENCE_S
        resolv = Path(served.where.resolv)
        while not resolv.exists() and time.monotonic() < deadline:
            time.sleep(0.02)  # names come behind the address, and nobody tells
        assert resolv.read_text().endswith("nameserver 10.77.0.1\nsearch example.org\n")
    finally:
        stop(client)
    (address,) = served.addresses("a0")
    assert address.startswith("10.77.0.2")
    (route,) = served.ip.get_default_routes(family=2)
    assert route.get_attr("RTA_PRIORITY") == 77
    capfd.readouterr()
    assert served.apply(FILE) == 0
    assert capfd.readouterr().out == ""
    assert served.apply("[interface.a0]\n") == 0
    said = capfd.readouterr().out
    assert f"remove {address} from a0\n" in said
    assert "unboxed restart dhcp" in said
    assert served.addresses("a0") == set()
    assert not resolv.exists()


def test_without_a_client_it_says_what_to_install(
    cables: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cables.apply(FILE) == 0
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("UNBOXED_STATE_DIR", f"{cables.home}/state")
    assert dhcp.main([], cables.where) == 1
    assert "no client is installed; apt-get install dhcpcd-base" in capfd.readouterr().err


def test_nothing_to_ask_for_is_no_failure(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert dhcp.main([], Places(f"{tmp_path}/none", f"{tmp_path}/run")) == 0
    assert "nothing to do" in capfd.readouterr().out


def test_the_script_is_where_programs_may_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = f"{tmp_path}/first", f"{tmp_path}/second"
    real = os.statvfs

    def statvfs(path: str) -> object:
        found = real(path)
        flags = os.ST_NOEXEC if path == first else 0
        return type("Flags", (), {"f_flag": found.f_flag | flags})

    monkeypatch.setattr(os, "statvfs", statvfs)
    script = write_script([first, second], ["/bin/echo", "it is", "$HOME"])
    assert script == f"{second}/dhcp-event"
    run = ["/bin/sh", "-c", f"{script} deconfig; {script} bound; reason=BOUND {script}"]
    assert subprocess.check_output(run).decode() == "it is $HOME bound\nit is $HOME\n"
    with pytest.raises(OSError, match="mounted noexec"):
        write_script([first], ["/bin/echo"])
