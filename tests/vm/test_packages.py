"""The Debian packages are installed, upgraded under a running supervisor, removed and purged, by a
Debian that has nothing else: a tree of its own, in namespaces of its own."""
from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stack import ROOT

BUILDER: dict[str, Any] = runpy.run_path(str(ROOT / "packaging" / "vm" / "build.py"))
DEBS = ROOT / "packaging" / "deb" / "build.py"
NO_NETWORK = re.compile("(?i)resolving|connect to|connection|failed to fetch|unreachable")
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="files of a Debian belong to root: needs root"),
    pytest.mark.skipif(
        not shutil.which("mmdebstrap"), reason="there is no mmdebstrap (Debian: mmdebstrap)"),
    pytest.mark.timeout(600),  # the first one makes a Debian
]
LATER = "0.1.0+later"
UNIT = 'command = "/bin/sleep 1000"\n'


class Debian:
    """A minimal Debian and what happens in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, script: str) -> str:
        said = BUILDER["inside"](self.root, "sh", "-ec", script)
        assert isinstance(said, str)
        return said

    def there(self, path: str) -> bool:
        return os.path.lexists(self.root / path.lstrip("/"))


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    try:
        tree = BUILDER["base"]()
    except Exception as error:
        if NO_NETWORK.search(str(error)):
            pytest.skip(f"no Debian can be made without its mirror: {error}")
        raise
    root = tmp_path_factory.mktemp("debian") / "root"
    subprocess.run(["cp", "-a", "--reflink=auto", tree, root], check=True)
    for words in ([], ["--version", LATER]):
        subprocess.run([sys.executable, DEBS, "--output", root / "debs", *words], check=True,
                       stdout=subprocess.DEVNULL)
    yield Debian(root)
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def installed(debian: Debian) -> Debian:
    debian.run(f"dpkg -i $(ls /debs/unboxed_*.deb | grep -v {LATER})")
    return debian


def test_it_installs_beside_any_init_and_takes_nothing_over(installed: Debian) -> None:
    assert installed.run("unboxed --version").startswith("unboxed ")
    assert installed.run("getent group unboxed").startswith("unboxed:x:")
    compiled = "usr/lib/unboxed/python/supervisor/manager/__pycache__"
    assert list((installed.root / compiled).glob("main.*.pyc"))
    assert not installed.there("/sbin/init")
    assert installed.run("unboxed check --machine /usr/lib/unboxed/units")


def test_an_upgrade_replaces_the_running_supervisor_and_no_service(installed: Debian) -> None:
    units = installed.root / "etc/unboxed/units"
    (units / "web.toml").write_text(UNIT)
    said = installed.run(f"""
        unboxed run --units /etc/unboxed/units >/run/said 2>&1 </dev/null &
        supervisor=$!
        # The first answer may come before there is anybody to give it.
        timeout 60 sh -c 'until unboxed start web; do :; done' >/run/tries 2>&1
        unboxed status --json
        dpkg -i /debs/unboxed_{LATER}_*.deb >&2
        unboxed status --json
        kill $supervisor
        wait $supervisor
    """)
    decoder = json.JSONDecoder()
    before, end = decoder.raw_decode(said)
    after, _ = decoder.raw_decode(said[end:].lstrip())
    assert after["supervisor"]["manager_starts"] == before["supervisor"]["manager_starts"] + 1
    assert after["instances"][0]["pid"] == before["instances"][0]["pid"] > 0


def test_the_second_package_is_an_init_by_debians_rules(installed: Debian) -> None:
    installed.run(f"dpkg -i /debs/unboxed_{LATER}_*.deb /debs/unboxed-sysv_{LATER}_*.deb")
    assert os.readlink(installed.root / "sbin/init") == "/usr/bin/unboxed-init"
    # Debian's package "init" is content with it, and brings no other.
    plan = installed.run("apt-get install --simulate --no-install-recommends init")
    assert "Inst init " in plan
    assert "Inst systemd-sysv" not in plan
    assert "Remv " not in plan
    # Whoever wants the other one gets it, and gives this up.
    plan = installed.run("apt-get install --simulate --no-install-recommends systemd-sysv")
    assert "Remv unboxed-sysv" in plan
    assert "Remv unboxed " not in plan


def test_the_administrators_policy_for_services_steps_aside_and_comes_back(
    installed: Debian,
) -> None:
    policy, local = (installed.root / f"usr/sbin/policy-rc.d{end}" for end in ("", ".local"))
    ours = policy.read_bytes()
    theirs = b"#!/bin/sh\necho asked: $* >&2\nexit 101\n"
    installed.run("dpkg -r unboxed-sysv")
    policy.write_bytes(theirs)
    policy.chmod(0o755)
    install = f"dpkg -i /debs/unboxed-sysv_{LATER}_*.deb"
    for _ in range(2):  # once more is an upgrade
        installed.run(install)
        assert (policy.read_bytes(), local.read_bytes()) == (ours, theirs)
    said = installed.run("/usr/sbin/policy-rc.d cron start 2 2>&1 || echo $?")
    assert said.startswith("asked: cron start 2\n")
    assert said.endswith("\n101\n")
    installed.run("dpkg -r unboxed-sysv")
    assert policy.read_bytes() == theirs
    assert not local.exists()
    policy.unlink()
    installed.run(install)
    assert policy.read_bytes() == ours
    assert not local.exists()


def test_a_machine_that_was_booted_with_it_keeps_it(installed: Debian) -> None:
    # unboxed-init as the first process of these namespaces.
    said = installed.run(
        "exec unboxed-init -- sh -c 'dpkg -r unboxed-sysv unboxed 2>&1 || echo refused'")
    assert said.endswith("refused\n")
    assert "cannot remove unboxed: this machine was booted with it" in said
    assert installed.run("unboxed --version").startswith("unboxed ")


def test_a_removal_leaves_settings_and_logs_and_a_purge_only_units(installed: Debian) -> None:
    log = installed.root / "var/log/unboxed"
    log.mkdir(exist_ok=True)
    installed.run("dpkg -r unboxed-sysv unboxed")
    for gone in ("/usr/lib/unboxed", "/usr/bin/unboxed", "/sbin/init", "/usr/sbin/policy-rc.d"):
        assert not installed.there(gone)
    assert "policy-rc.d" not in installed.run("dpkg-divert --list")
    assert log.exists()
    assert "pam_exec" not in (installed.root / "etc/pam.d/common-session").read_text()
    installed.run("dpkg -P unboxed-sysv unboxed")
    assert not log.exists()
    assert not installed.there("/var/lib/unboxed")
    assert not installed.there("/etc/profile.d/unboxed.sh")
    assert installed.there("/etc/unboxed/units/web.toml")  # the administrator wrote it
