"""What unboxed-sysv's scripts say and do: policy-rc.d, and the warning of a boot without
network."""
from __future__ import annotations

import os
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.stack import ROOT

SYSV = ROOT / "packaging" / "deb" / "unboxed-sysv"
# A command that knows the unit `cron`, which is up, and `idle`, which is not to start by itself.
UNBOXED = """\
#!/bin/sh
case "$*" in
    'status --json cron') echo '"autostart":"true"' ;;
    'status --json idle') echo '"autostart":"false"'; exit 3 ;;
    status*) exit 3 ;;
    *) echo "$*" >>"$DONE" ;;
esac
"""
Policy = Callable[..., tuple[int, str, str]]


def script(source: Path, root: Path) -> str:
    """It, with files of this tree instead of the host's."""
    text = source.read_text()
    for place in ("/run/", "/usr/sbin/policy-rc.d", "/etc/", "/proc/1/"):
        text = text.replace(place, f"{root}{place}")
    return text


def run(source: Path, root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = f"{root / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        ["sh", "-c", script(source, root), source.name, *words], capture_output=True, check=False,
        text=True, env={"PATH": path, "DONE": str(root / "done")})  # fmt: skip


def executable(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)


@pytest.fixture
def policy(tmp_path: Path) -> Iterator[Policy]:
    """policy-rc.d on a machine of ours: its exit code, what was done, and what it said."""
    executable(tmp_path / "bin/unboxed", UNBOXED)
    (tmp_path / "run/unboxed").mkdir(parents=True)
    done = tmp_path / "done"

    def ask(*words: str) -> tuple[int, str, str]:
        done.write_text("")
        said = run(SYSV / "tree/usr/sbin/policy-rc.d", tmp_path, *words)
        assert said.stdout == ""  # that would be other actions to do instead
        return said.returncode, done.read_text(), said.stderr

    with socket.socket(socket.AF_UNIX) as control:
        control.bind(str(tmp_path / "run/unboxed/control"))
        yield ask


def test_a_unit_does_what_its_init_script_is_not_asked_for(policy: Policy) -> None:
    for action in ("start", "(start)", "restart", "stop"):
        code, done, said = policy("cron", action, "2")
        assert (code, done) == (101, f"{action.strip('()')} cron\n")
        assert "of the unit cron: done" in said
        assert "its init script, which is not run" in said  # what invoke-rc.d calls "denied"
    assert policy("--quiet", "cron", "start", "2") == (101, "start cron\n", "")
    assert policy("idle", "start", "2")[:2] == (101, "")


def test_without_a_unit_nothing_is_done_and_a_unit_is_advised_for_daemons_only(
    policy: Policy,
) -> None:
    code, done, said = policy("sudo", "start", "2")
    assert (code, done) == (101, "")
    assert "there is no unit sudo" in said
    assert "Only if sudo is a daemon that you want to run: write /" in said
    assert policy("sudo", "stop", "2") == (101, "", "")


@pytest.mark.parametrize(
    "theirs, code, asked",
    [(0, 101, True), (1, 101, True), (104, 101, True), (105, 101, True),
     (101, 101, False), (106, 101, False), (100, 100, False), (102, 102, False)],
)
def test_the_administrators_own_policy_is_asked_first_and_obeyed(
    policy: Policy, tmp_path: Path, theirs: int, code: int, asked: bool
) -> None:
    log = tmp_path / "log"
    local = tmp_path / "usr/sbin/policy-rc.d.local"
    executable(local, f"""#!/bin/sh
echo "$*" >{shlex.quote(str(log))}
echo reload
exit {theirs}
""")
    said_code, done, said = policy("cron", "start", "2")
    assert (said_code, done) == (code, "start cron\n" if asked else "")
    assert log.read_text() == "cron start 2\n"
    assert ("policy-rc.d.local forbids it" in said) == (theirs in {101, 106})
    local.chmod(0o644)  # invoke-rc.d asks none that may not be executed, either
    assert policy("cron", "start", "2")[:2] == (101, "start cron\n")


@pytest.fixture
def configure(tmp_path: Path) -> Callable[[], str]:
    """What an installation says, in this tree."""
    executable(tmp_path / "bin/pam-auth-update", "#!/bin/sh\n")
    (tmp_path / "etc/unboxed").mkdir(parents=True)

    def done() -> str:
        said = run(SYSV / "postinst", tmp_path, "configure")
        assert said.returncode == 0, said.stderr
        return said.stderr

    return done


@pytest.mark.parametrize(
    "file, text",
    [("network/interfaces", "auto lo\niface lo inet loopback\n\n  iface  eth0 inet dhcp\n"),
     ("network/interfaces.d/lan", "iface lan0 inet6 auto\n"),
     ("netplan/50-cloud-init.yaml", "network:\n"),
     ("systemd/network/10-lan.network", "[Match]\n"),
     ("NetworkManager/system-connections/lan.nmconnection", "[connection]\n")],
)
def test_a_machine_that_would_lose_its_network_is_told_of(
    configure: Callable[[], str], tmp_path: Path, file: str, text: str
) -> None:
    assert configure() == ""
    there = tmp_path / "etc" / file
    there.parent.mkdir(parents=True)
    there.write_text(text)
    said = configure()
    assert "WARNING: the next boot of this machine has NO NETWORK" in said
    assert f"\n{there}\n" in said
    assert "unboxed boot network --check" in said
    (tmp_path / "etc/unboxed/network.toml").touch()
    assert configure() == ""


def test_the_loopback_alone_is_no_network_to_lose(
    configure: Callable[[], str], tmp_path: Path
) -> None:
    (tmp_path / "etc/network").mkdir()
    (tmp_path / "etc/network/interfaces").write_text(
        "source /etc/network/interfaces.d/*\nauto lo\niface  lo inet loopback\n# iface eth0\n")
    assert configure() == ""


def test_nobody_is_told_on_a_machine_that_runs_with_it(
    configure: Callable[[], str], tmp_path: Path
) -> None:
    (tmp_path / "etc/netplan").mkdir()
    (tmp_path / "etc/netplan/lan.yaml").touch()
    assert "NO NETWORK" in configure()
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "proc/1/root").symlink_to("/")
    (tmp_path / "proc/1/exe").symlink_to("/usr/bin/unboxed-init")
    assert configure() == ""
