"""nginx under its preset: an unprivileged master that serves, reloads, restarts and stops."""
from __future__ import annotations

import os
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.scenario.sandbox import real
from tests.scenario.sandbox.kit import written
from tests.stack import Stack

NAME = f"{real.PREFIX}nginx"
PAGE = b"<title>hello</title>" * 200
BIND_SERVICE = 1 << 10  # CAP_NET_BIND_SERVICE
CONF = """
daemon off;
worker_processes 2;
pid /tmp/nginx.pid;
error_log stderr;
events {{ accept_mutex on; }}
http {{
    access_log /dev/stdout;
    client_body_temp_path /var/cache/{name}/body;
    proxy_temp_path /var/cache/{name}/proxy;
    fastcgi_temp_path /var/cache/{name}/fastcgi;
    uwsgi_temp_path /var/cache/{name}/uwsgi;
    scgi_temp_path /var/cache/{name}/scgi;
    server {{
        listen {address}{ssl};
        root {root};
        {tls}
        location /upload {{
            client_body_in_file_only on;
            proxy_pass http://{address}/page.html;
            proxy_method GET;
        }}
        location /version {{ return 200 "{version}"; }}
    }}
}}
"""
# As distributions have it: written for a master that is root and workers that are not.
OLD_CONF = """
user nobody nogroup;
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{}}
http {{
    access_log {root}/access.log;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""
OLD_RIGHTS = ("CHOWN", "DAC_OVERRIDE", "KILL", "SETGID", "SETUID", "NET_BIND_SERVICE")
OLD_MASK = sum(1 << number for number in (0, 1, 5, 6, 7, 10))  # the same as the kernel has them
pytestmark = real.needs_root
place = pytest.fixture(real.place)


@pytest.fixture
def site(place: Path) -> Path:
    (place / "page.html").write_bytes(PAGE)
    (place / "page.html").chmod(0o644)
    return place


def configure(site: Path, address: str, version: str, tls: str = "") -> None:
    path = site / "nginx.conf"
    path.write_text(CONF.format(
        name=NAME, address=address, root=site, version=version, tls=tls, ssl=" ssl" if tls else "",
    ))  # fmt: skip
    path.chmod(0o644)


def command(site: Path) -> str:
    return f'command = ["{real.program("nginx")}", "-e", "stderr", "-c", "{site}/nginx.conf"]\n'


def test_it_serves_under_load_keeps_bodies_reloads_restarts_and_stops(
    tmp_path: Path, site: Path
) -> None:
    port = real.free_port()
    configure(site, f"127.0.0.1:{port}", "one")
    real.preset(tmp_path, NAME, "nginx")
    with Stack(tmp_path, {NAME: command(site)}) as stack:
        master = stack.wait(NAME, "running")["pid"]
        stack.until(lambda: real.accepts(port), "the port")
        real.confined(master, capabilities=BIND_SERVICE)
        real.http_load(port, "/page.html", PAGE)
        assert real.get(port, "/upload", b"x" * 300_000) == PAGE
        (kept,) = Path(f"/var/cache/{NAME}/body").iterdir()
        assert kept.stat().st_size == 300_000
        assert "GET /page.html HTTP/1.1" in written(stack, NAME, "POST /upload")

        configure(site, f"127.0.0.1:{port}", "two")
        stack.call("Reload", units=[NAME], wait=True)
        stack.until(lambda: real.get(port, "/version") == b"two", "the new configuration")
        assert stack.row(NAME)["pid"] == master

        stack.call("Restart", units=[NAME], wait=True)
        stack.until(lambda: real.accepts(port), "the port")
        assert stack.row(NAME)["pid"] != master
        real.http_load(port, "/page.html", PAGE)
        real.stopped_cleanly(stack, NAME)


def test_a_socket_that_is_held_for_it_needs_no_right_and_no_pause(
    tmp_path: Path, site: Path
) -> None:
    port = real.free_port()
    configure(site, f"127.0.0.1:{port}", "one")
    listen = f'[[listen]]\naddress = "tcp:127.0.0.1:{port}"\n'
    real.preset(tmp_path, NAME, "nginx", "[sandbox]\ncapabilities = []\n")
    unit = command(site) + listen + '[env]\nNGINX = "3;"\n'
    with Stack(tmp_path, {NAME: unit}) as stack:
        master = stack.wait(NAME, "running")["pid"]
        real.confined(master)
        assert real.get(port, "/page.html") == PAGE  # no wait: its queue is there before it
        stack.call("Restart", units=[NAME], wait=True)
        assert real.get(port, "/page.html") == PAGE
        real.stopped_cleanly(stack, NAME)


def test_a_port_below_1024_is_the_one_right_that_it_has(tmp_path: Path, site: Path) -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if first < 1024:
        pytest.skip("this host lets everybody bind ports below 1024")
    port = next((one for one in range(1000, 900, -1) if not real.accepts(one)), 0)
    configure(site, f"127.0.0.1:{port}", "one")
    real.preset(tmp_path, NAME, "nginx")
    with Stack(tmp_path, {NAME: command(site)}) as stack:
        stack.wait(NAME, "running")
        stack.until(lambda: real.accepts(port), "the port")
        assert real.get(port, "/page.html") == PAGE
        workers = Path(f"/proc/{stack.row(NAME)['pid']}/task").iterdir()
        assert all(os.stat(path).st_uid for path in workers)
        real.stopped_cleanly(stack, NAME)


def test_a_configuration_that_wants_root_has_six_of_its_rights(tmp_path: Path, site: Path) -> None:
    port = real.free_port()
    (site / "nginx.conf").write_text(OLD_CONF.format(root=site, port=port))
    rights = ", ".join(f'"{name}"' for name in OLD_RIGHTS)
    own = f'user = "root"\n[sandbox]\ncapabilities = [{rights}]\nwrite = ["{site}"]\n'
    real.preset(tmp_path, NAME, "nginx", own)
    words = [real.program("nginx"), "-c", f"{site}/nginx.conf", "-g", "daemon off;"]
    with Stack(tmp_path, {NAME: f"command = {words}\n"}) as stack:
        master = stack.wait(NAME, "running")["pid"]
        stack.until(lambda: real.accepts(port), "the port")
        real.confined(master, capabilities=OLD_MASK, user=0)
        (worker,) = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        real.confined(int(worker), capabilities=0, bounding=OLD_MASK, user=65534)
        real.http_load(port, "/page.html", PAGE)
        stack.call("Reload", units=[NAME], wait=True)
        real.http_load(port, "/page.html", PAGE)
        real.stopped_cleanly(stack, NAME)
    assert not (site / "nginx.pid").exists()


def test_a_key_that_only_root_may_read_is_given_as_a_secret(tmp_path: Path, site: Path) -> None:
    port, key, cert = real.free_port(), site / "key.pem", site / "cert.pem"
    make = f"req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -keyout {key} -out {cert}"
    subprocess.run([real.program("openssl"), *make.split()], check=True, capture_output=True)
    key.chmod(0o600)
    cert.chmod(0o644)
    secret = f"{tmp_path}/rt/secrets/{NAME}/key"
    tls = f"ssl_certificate {cert};\nssl_certificate_key {secret};\n"
    configure(site, f"127.0.0.1:{port}", "one", tls)
    real.preset(tmp_path, NAME, "nginx")
    listen = f'[[listen]]\naddress = "tcp:127.0.0.1:{port}"\n[env]\nNGINX = "3;"\n'
    secrets = f'[secrets]\nkey = "{key}"\n'
    with Stack(tmp_path, {NAME: command(site) + secrets + listen}) as stack:
        stack.wait(NAME, "running")
        trusted = ssl.create_default_context(cafile=str(cert))
        trusted.check_hostname = False
        for _ in range(2):
            with (
                socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
                trusted.wrap_socket(plain) as secured,
            ):
                secured.sendall(b"GET /version HTTP/1.0\r\n\r\n")
                assert secured.recv(65536).startswith(b"HTTP/1.1 200 OK")
            stack.call("Reload", units=[NAME], wait=True)  # it reads its key again
        assert not Path(secret).exists()  # of the host's view
        real.stopped_cleanly(stack, NAME)
