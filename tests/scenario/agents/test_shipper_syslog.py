"""The shipper and a real rsyslog, as a plain process in a directory of its own; and a server that
tells what rsyslog would not."""
from __future__ import annotations

import contextlib
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.scenario.agents import shipping
from tests.scenario.agents.shipping import PATIENCE, Shipper, fed

RSYSLOGD = shutil.which("rsyslogd", path="/usr/sbin:/usr/bin")
needs_rsyslog = pytest.mark.skipif(RSYSLOGD is None, reason="rsyslog is not installed")
GTLS = bool(list(Path("/usr/lib").glob("*/rsyslog/lmnsd_gtls.so")))

CONFIGURATION = """
global(workDirectory="{home}" maxMessageSize="128k" {globals})
module(load="imtcp" {module})
input(type="imtcp" address="127.0.0.1" port="0" listenPortFileName="{home}/port")
template(name="all" type="string" string="%pri% %timestamp:::date-rfc3339% %hostname% %app-name% \
%procid% %msgid% %structured-data% %msg%\\n")
action(type="omfile" file="{home}/received" template="all")
"""
TLS_MODULE = (
    'StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="anon"')
TLS_GLOBALS = (
    'defaultNetstreamDriverCAFile="{home}/ca.pem" defaultNetstreamDriverCertFile="{home}/cert.pem"'
    ' defaultNetstreamDriverKeyFile="{home}/key.pem"')


@contextlib.contextmanager
def rsyslog(home: Path, *, tls: bool = False) -> Iterator[int]:
    """Its port."""
    assert RSYSLOGD
    if tls:
        shipping.certificates(home)
    (home / "rsyslog.conf").write_text(CONFIGURATION.format(
        home=home, module=TLS_MODULE if tls else "",
        globals=TLS_GLOBALS.format(home=home) if tls else ""))
    with (home / "rsyslog.log").open("wb") as log:
        process = subprocess.Popen(
            [RSYSLOGD, "-n", "-f", f"{home}/rsyslog.conf", "-i", f"{home}/pid"],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: (home / "port").exists() and (home / "port").read_text())
        yield int((home / "port").read_text())
    finally:
        process.terminate()
        process.wait(PATIENCE)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def received(home: Path) -> list[str]:
    path = home / "received"
    return path.read_text().splitlines() if path.exists() else []


def settings(scheme: str, port: int) -> str:
    return (f'to = "syslog"\nurl = "{scheme}://localhost:{port}"\nhost_name = "here"\n'
            'facility = "local0"\nbatch_seconds = 0.05\nend_seconds = 5\n')


@needs_rsyslog
def test_rsyslog_understands_each_field(tmp_path: Path) -> None:
    with (
        rsyslog(tmp_path) as port,
        Shipper(tmp_path, settings("tcp", port)) as shipper,
    ):
        shipper.feed(
            fed(0, "<3>caf\u00e9 failed"), fed(1, "x" * 60_000), fed(2, "oops", stream="error"),
            fed(3, "4 bytes were lost: full", stream="lost", bytes=4, reason="full"))
        shipper.wait_acknowledged("web@4")
        wait_until(lambda: len(received(tmp_path)) == 4)
        first, second, third, fourth = received(tmp_path)
        assert first.startswith(
            "131 2026-11-21T13:00:00.000000Z here web 0 output"
            ' [unboxed@32473 unit="web" instance="0" seq="0"] ')
        assert first.endswith("] caf\u00e9 failed")
        assert second.startswith("134 ")
        assert second.endswith("] " + "x" * 60_000)
        assert " web 0 error [" in third
        assert fourth.startswith("132 ")
        assert " web 0 lost [" in fourth


@needs_rsyslog
@pytest.mark.parametrize("tls", [False, pytest.param(True, marks=pytest.mark.skipif(
    not GTLS, reason="rsyslog-gnutls is not installed"))])
def test_a_killed_shipper_repeats_some_lines_and_leaves_out_none(
    tmp_path: Path, *, tls: bool
) -> None:
    count, kills = 20_000, 5
    with rsyslog(tmp_path, tls=tls) as port:
        text = settings("tls" if tls else "tcp", port)
        shipper = Shipper(
            tmp_path, text + (f'[tls]\nca = "{tmp_path}/ca.pem"\n' if tls else ""))
        done = 0
        for kill in range(kills + 1):
            most = count * (kill + 1) // (kills + 1)
            with shipper:
                shipper.feed(*map(fed, range(done, most + 200 * (kill < kills))))
                while done < most:
                    found = shipper.acknowledged()
                    done = int(found[4:], 16) if found else done
                    time.sleep(0.001)
                    assert shipper.process.poll() is None
        wait_until(lambda: len({*numbers(tmp_path)}) >= count)
        assert sorted(set(numbers(tmp_path))) == list(range(count))
        assert "cannot" not in shipper.said()


def numbers(home: Path) -> list[int]:
    """Of the lines that arrived: what their structured data says, which must be what they say."""
    both = re.findall(r'seq="(\d+)"\] line (\d+)$', "\n".join(received(home)), re.MULTILINE)
    assert all(seq == number for seq, number in both)
    return [int(seq) for seq, _ in both]


def test_nothing_is_acknowledged_that_a_receiver_has_not_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        # Its kernel takes little, and nobody reads: much of a batch stays with the sender.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        text = settings("tcp", server.getsockname()[1]) + "timeout_seconds = 0.5\n"
        with Shipper(tmp_path, text) as shipper:
            shipper.feed(fed(0, "x" * 60_000), *map(fed, range(1, 100)))
            shipper.wait_said("it does not take them in time")
            assert shipper.acknowledged() == ""
            readers = []
            stop = threading.Event()
            for _ in range(3):  # of tries that were given up, and of the last
                reader = threading.Thread(target=drain, args=(server, stop))
                reader.start()
                readers.append(reader)
            shipper.wait_acknowledged("web@64")
            stop.set()
            for reader in readers:
                reader.join()


def drain(server: socket.socket, stop: threading.Event) -> None:
    server.settimeout(0.1)
    while not stop.is_set():
        try:
            connection, _ = server.accept()
        except TimeoutError:
            continue
        with connection:
            connection.settimeout(0.1)
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    if not connection.recv(1 << 16):
                        break


def test_a_receiver_that_hung_up_while_idle_is_found_out_before_anything_is_lost(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        with Shipper(tmp_path, settings("tcp", server.getsockname()[1])) as shipper:
            for number in range(3):
                shipper.feed(fed(number))
                connection, _ = server.accept()
                with connection:
                    shipper.wait_acknowledged(f"web@{number + 1:x}")
                    assert f"line {number}".encode() in connection.recv(1 << 16)
            assert shipper.said() == ""


def test_a_syslog_server_is_who_its_certificate_says(tmp_path: Path) -> None:
    shipping.certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        with Shipper(tmp_path, settings("tls", server.getsockname()[1])) as shipper:
            shipper.feed(fed(0))
            connection, _ = server.accept()
            with connection, pytest.raises(ssl.SSLError):
                context.wrap_socket(connection, server_side=True).recv(1)
            shipper.wait_said("its certificate is not trusted: ")
            assert shipper.acknowledged() == ""
