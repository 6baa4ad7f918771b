"""Debian's own packages in a machine of ours: each is used as people use it.

The tests are one life of a machine, in this order: it boots, works, boots again, goes off.
"""
from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import ROOT
from tests.vm import server as made
from tests.vm.machine import needs_machine
from tests.vm.server import THEIRS, Server

pytestmark = needs_machine

PASSWORD = "correct horse"  # noqa: S105 - of a machine that lives a minute
PACKAGES = ("dbus", "nginx-light", "openssh-server", "postgresql", "redis-server", "rsyslog")
# A server with a unit of ours, and one without; neither is installed yet.
LATER = ("cron", "acpid")
NETWORK = f'[interface.vec0]\naddresses = ["{THEIRS}/24"]\n'
SITE = "server { listen 80; location / { return 200 served; } }\n"
JOB = "@reboot ann id -un > /tmp/job\n"
APT = "DEBIAN_FRONTEND=noninteractive apt-get -y -qq --no-install-recommends"
SHOP = ("web", "migrate", "worker")


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made.skip_unless_possible()
    return made.make_key(tmp_path_factory.mktemp("key"))


@pytest.fixture(scope="module")
def image(key: Path) -> Iterator[Path]:
    with made.room_for_an_image() as home:
        yield build_image(home, key)


def build_image(home: Path, key: Path) -> Path:
    debs = home / "debs"
    for name in LATER:
        made.packages_for_later(debs / name, name)
    demo = ROOT / "units" / "demo"
    units = {
        f"etc/unboxed/units/{name}.toml": (demo / f"{name}.toml").read_text().replace(
            "/opt/unboxed/share/unboxed/units/demo", "/usr/share/unboxed/units/demo")
        for name in SHOP
    }
    public = key.with_suffix(".pub").read_text()
    made.build(
        home / "disk", PACKAGES,
        {
            "etc/unboxed/network.toml": NETWORK,
            "etc/nginx/sites-available/default": SITE,  # Debian's listens on [::], too
            "etc/cron.d/test": JOB,
            "root/.ssh/authorized_keys": public,
            **units,
        },
        f"--password={PASSWORD}", f"--add={debs}:/var/cache/later", "--size=2G")  # fmt: skip
    return home / "disk"


@pytest.fixture(scope="module")
def server(image: Path, key: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server"), image, key) as server:
        server.up("ssh")
        server.run("useradd -m -s /bin/bash ann; cp -r /root/.ssh /home/ann; chown -R ann /home/ann"
                   f"; echo 'ann:{PASSWORD}' | chpasswd")
        yield server


def test_a_user_logs_in_at_the_console_and_has_job_control(server: Server) -> None:
    server.up("getty-tty0")
    server.type("\n")
    at = server.mark()
    server.says("login: ")
    server.type("ann\n")
    server.says("Password: ", at)
    server.type(f"{PASSWORD}\n")
    server.says("$ ", at)
    server.type("tty; ps -o stat= -p $$; sleep 1000; echo in''terrupted\n")
    server.says("/dev/tty0\n", at)
    server.says("\nS\n", at)
    server.wait(lambda: server.run("pgrep -f '^sleep 1000' || :"), "the program to interrupt")
    again = server.mark()
    server.type("\x03")
    server.says("$ ", again)
    server.type("sleep 999 &\nkill %1; wait; echo con''trolled\n")
    text = server.says("controlled", at)
    assert "Terminated" in text
    assert "job control" not in text
    assert re.search(r"ann +tty0", server.run("who"))
    at = server.mark()
    server.type("exit\n")
    server.says("login: ", at)  # the next one asks
    assert "tty0" not in server.run("who")
    assert re.search(r"ann +tty0 .*\(\d\d:\d\d\)", server.run("last -w ann"))


def test_a_session_has_a_group_of_its_own_and_outlives_a_restart_of_sshd(server: Server) -> None:
    assert server.run("cat /proc/self/cgroup").startswith("0::/sessions/0/sshd-")
    uid = server.run("id -u ann").strip()
    with server.session("ann", "setsid sleep 4999 >/dev/null 2>&1 &") as session:
        assert server.run(f"stat -c %U:%a /run/user/{uid}") == "ann:700\n"
        server.run("unboxed restart ssh")
        assert session("still here") == "still here"
    server.run(f"[ -d /run/user/{uid} ]; pkill -f '^sleep 4999'")  # what was left went on
    with server.session("ann"):
        pass
    gone = f"[ -e /run/user/{uid} ] || [ -e /sys/fs/cgroup/sessions/{uid} ] || echo gone"
    server.wait(lambda: server.run(gone), "the end of all sessions")


def test_rsyslog_writes_what_programs_and_the_kernel_say(server: Server) -> None:
    server.run("logger -t shop sold a lamp")
    server.wait(lambda: server.run("grep -c 'shop: sold a lamp' /var/log/syslog || :") == "1\n",
                "the message")
    assert "Linux version" in server.run("cat /var/log/kern.log")
    assert "Linux version" in server.run("unboxed logs kernel")
    assert "skipped" in server.run("unboxed status syslog || :")


def test_nginx_serves(server: Server) -> None:
    server.up("nginx")
    script = f'from urllib.request import urlopen; print(urlopen("http://{THEIRS}/").read())'
    assert server.outside(sys.executable, "-c", script) == "b'served'\n"


def test_postgres_answers(server: Server) -> None:
    server.up("postgresql")
    assert server.run("su postgres -c 'psql -Atc \"select 1\"'") == "1\n"


def test_redis_answers(server: Server) -> None:
    server.up("redis-server")
    assert server.run("redis-cli ping") == "PONG\n"


def test_the_shop_sells(server: Server) -> None:
    server.up("web/0", "web/1", "worker")
    page = server.run("""python3 -c '
from urllib.request import urlopen
print(urlopen("http://127.0.0.1:8080/").read().decode())'""")
    assert "Corner Shop" in page


def test_cron_is_installed_runs_a_job_is_upgraded_and_removed(server: Server) -> None:
    server.run(f"{APT} install /var/cache/later/cron/*.deb 2>&1")
    server.wait(lambda: server.run("cat /tmp/job 2>/dev/null || :") == "ann\n", "the job")
    group = "cat /proc/$(pgrep -x cron)/cgroup"
    assert server.run(group) == "0::/unboxed/units/cron\n"
    pid = server.run("pgrep -x cron")
    said = server.run("dpkg --install /var/cache/later/cron/cron_*.deb 2>&1")
    assert "policy-rc.d denied execution of restart" in said  # it did that itself
    assert server.run("pgrep -x cron") != pid
    server.run("service cron stop; ! pgrep -x cron; service cron start")
    assert server.run(group) == "0::/unboxed/units/cron\n"
    server.run("dpkg --purge cron 2>&1; ! pgrep -x cron")


def test_a_daemon_without_a_unit_is_not_started_and_that_is_said(server: Server) -> None:
    said = server.run("dpkg --install /var/cache/later/acpid/*.deb 2>&1")
    assert "there is no unit acpid" in said
    assert server.run("pgrep acpid || echo none") == "none\n"
    assert "no unit acpid" in server.run("service acpid start 2>&1 || :")
    assert server.run("pgrep acpid || echo none") == "none\n"
    server.run("dpkg --purge acpid 2>&1")


@pytest.fixture(scope="module")
def again(
    server: Server, image: Path, key: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The same machine after a reboot. /root/before has what it was."""
    server.run("cat /etc/machine-id /proc/sys/kernel/random/boot_id > /root/before; sync")
    at = server.mark()
    server.run("(sleep 0.5; reboot) >/dev/null 2>&1 &")
    server.hang_up()
    assert "reboot: Restarting system" in server.ended()[at:]
    with Server(tmp_path_factory.mktemp("again"), image, key) as again:
        again.up("ssh")
        yield again


def test_everything_is_there_again_after_a_reboot(again: Server) -> None:
    was = again.run("cat /root/before").split()
    now = again.run("cat /etc/machine-id /proc/sys/kernel/random/boot_id").split()
    assert now[0] == was[0]
    assert now[1] != was[1]
    again.up("nginx", "postgresql", "redis-server", "rsyslog", "dbus", "web/0", "getty-tty0")
    assert again.run("su postgres -c 'psql -Atc \"select 1\"'") == "1\n"
    records = again.run("last -x -w")
    assert records.count("reboot ") == 2, records
    assert records.count("shutdown ") == 1, records
    assert "recovery" not in again.console()
    report = json.loads(again.run("unboxed boot-report --json"))
    done = {step["name"]: step["to_ns"] for step in report["steps"]}
    ran = {unit["key"]: unit["launching_ns"] for unit in report["units"]}
    assert done["plan"] <= ran["filesystems"] < done["imports"]  # before there was a manager


def test_it_stops_in_order_and_its_file_system_is_clean(again: Server, image: Path) -> None:
    at = again.mark()
    again.run("(sleep 0.5; poweroff) >/dev/null 2>&1 &")
    again.hang_up()
    said = again.ended()[at:]
    down = {unit: said.index(f"\n{unit}: down (")
            for unit in ("ssh", "sessions", "nginx", "postgresql", "web/0", "web/1", "worker",
                         "redis-server", "rsyslog", "boot")}
    assert down["ssh"] < down["sessions"], said  # each before what it needs
    assert max(down.values()) == down["boot"], said
    assert "reboot: System halted" in said or "reboot: Power down" in said, said
    found = subprocess.run(["/usr/sbin/e2fsck", "-fn", str(image)], capture_output=True,
                           check=False, text=True)  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr
    logs = "/var/log/unboxed/postgresql"
    newest = re.findall(r"/([0-9a-f]{16}\.log)/", disk(image, f"ls -p {logs}"))[-1]
    assert "database system is shut down" in disk(image, f"cat {logs}/{newest}")


def disk(image: Path, request: str) -> str:
    """What debugfs(8) says."""
    return subprocess.run(["/usr/sbin/debugfs", "-R", request, str(image)], capture_output=True,
                          check=True, text=True, errors="replace").stdout  # fmt: skip
