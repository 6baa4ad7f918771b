"""What is in the Debian packages. That they install, and boot, is tested in tests/vm."""
from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from supervisor.cli.completion import SCRIPTS
from tests.stack import ROOT

BUILD = ROOT / "packaging" / "deb" / "build.py"
pytestmark = [
    pytest.mark.skipif(
        not shutil.which("dpkg-deb"), reason="there is no dpkg-deb in PATH (Debian: dpkg)"),
    pytest.mark.timeout(300),  # the first one fetches libraries
]

Contents = dict[str, tuple[tarfile.TarInfo, bytes]]


def made(place: Path) -> dict[str, Path]:
    done = subprocess.run(
        [sys.executable, str(BUILD), "--output", str(place)], capture_output=True, check=False,
        text=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"})  # fmt: skip
    if done.returncode and re.search("(?i)connection|resolution|no matching dist", done.stderr):
        pytest.skip(f"the libraries cannot be fetched: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    return {path.name.partition("_")[0]: path for path in map(Path, done.stdout.split())}


def read(package: Path) -> Contents:
    """Files, links and folders by their absolute paths, and DEBIAN/NAME of the control archive."""
    found: Contents = {}
    for what, above in (("--fsys-tarfile", ""), ("--ctrl-tarfile", "DEBIAN")):
        data = subprocess.run(["dpkg-deb", what, package], capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for one in archive:
                file = archive.extractfile(one) if one.isreg() else None
                found[above + one.name.removeprefix(".")] = (one, file.read() if file else b"")
    return found


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return made(tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="module")
def unboxed(packages: dict[str, Path]) -> Contents:
    return read(packages["unboxed"])


@pytest.fixture(scope="module")
def sysv(packages: dict[str, Path]) -> Contents:
    return read(packages["unboxed-sysv"])


def control(contents: Contents) -> dict[str, str]:
    lines = contents["DEBIAN/control"][1].decode().splitlines()
    return {key: value for key, mark, value in (line.partition(": ") for line in lines) if mark}


def test_everything_belongs_to_root_and_nobody_else_may_write_it(
    unboxed: Contents, sysv: Contents
) -> None:
    for name, (info, _) in (unboxed | sysv).items():
        assert (info.uid, info.gid) == (0, 0), name
        assert info.issym() or not info.mode & 0o6022, name


def test_the_package_has_the_programs_the_units_and_all_that_people_read(unboxed: Contents) -> None:
    for program in ("", "-init", "-early", "-session", "-watchdog"):
        assert unboxed[f"/usr/bin/unboxed{program}"][0].mode == 0o755
    units = {path.name for path in (ROOT / "units/system").glob("*.toml")}
    assert units == {Path(name).name for name in unboxed
                     if name.startswith("/usr/lib/unboxed/units/") and name.endswith(".toml")}
    for page in ("man1/unboxed.1", "man5/unboxed.unit.5", "man5/unboxed.network.5",
                 "man8/unboxed-init.8", "man8/unboxed-early.8", "man8/unboxed-session.8",
                 "man8/unboxed-watchdog.8"):
        assert f"/usr/share/man/{page}.gz" in unboxed
    for shell, path in (
        ("bash", "bash-completion/completions/unboxed"), ("zsh", "zsh/vendor-completions/_unboxed"),
        ("fish", "fish/vendor_completions.d/unboxed.fish"),
    ):
        assert unboxed[f"/usr/share/{path}"][1].decode() == SCRIPTS[shell]
    for file in ("copyright", "changelog.gz", "CHANGELOG.md", "units.md"):
        assert f"/usr/share/doc/unboxed/{file}" in unboxed
    assert b"msgspec" in unboxed["/usr/share/doc/unboxed/copyright"][1]


def test_no_link_of_the_packaged_pages_is_dead(unboxed: Contents) -> None:
    place = "/usr/share/doc/unboxed/"
    there = {name.rstrip("/") for name in unboxed}
    found = {
        (name.removeprefix(place), link)
        for name, (_, data) in unboxed.items() if name.startswith(place) and name.endswith(".md")
        for link in re.findall(r"\]\(([^)\s]+)\)", data.decode())
        if not re.match(r"[a-z]+:|#", link)}
    for page, link in found:
        meant = os.path.normpath(f"{os.path.dirname(place + page)}/{link.partition('#')[0]}")
        assert meant in there, f"{page}: {link}"
    # Pictures, schemas, and what is installed elsewhere.
    assert {("how-to/dashboard.md", "dashboard.png"), ("units.md", "unit.schema.json"),
            ("sandbox.md", "../../unboxed/units/presets"),
            ("how-to/system-logs.md", "../../../../lib/unboxed/units/syslog.toml")} <= found
    assert "](../README.md)" not in unboxed[f"{place}README.md"][1].decode()
    assert not [name for name in there if name.startswith(place) and name.endswith(".py")]


def test_what_a_machine_boots_with_is_in_the_package(unboxed: Contents) -> None:
    lines = unboxed["/usr/lib/unboxed/boot.args"][1].decode().splitlines()
    assert lines[0] == "--"
    assert "--machine" in lines
    assert "/usr/lib/unboxed/python/supervisor/manager/__main__.py" in lines
    assert "/usr/lib/unboxed/python/supervisor/logger/__main__.py" in lines
    for line in lines:
        assert not line.startswith("/usr/lib/") or line in unboxed


def test_its_libraries_are_for_the_python_that_it_depends_on(unboxed: Contents) -> None:
    depends = control(unboxed)["Depends"]
    assert "python3 (>= 3.11), python3 (<< 3.12)" in depends
    compiled = [name for name in unboxed if name.endswith(".so")]
    assert any("/msgspec/" in name for name in compiled)
    assert all(".cpython-311-" in name for name in compiled)
    newest = re.search(r"libc6 \(>= 2\.(\d+)\)", depends)
    assert newest
    assert int(newest[1]) <= 36  # Debian 12's, or it could not be installed there


def test_nothing_in_it_names_where_it_was_built_or_was_compiled_there(unboxed: Contents) -> None:
    for name, (_, data) in unboxed.items():
        assert "__pycache__" not in name
        assert str(ROOT).encode() not in data, name
        assert b"/opt/unboxed" not in data or not name.startswith(("/usr/share/unboxed", "/lib"))


def test_beside_systemd_it_is_a_service_that_is_off(unboxed: Contents) -> None:
    service = unboxed["/lib/systemd/system/unboxed.service"][1].decode()
    assert "ExecStart=/usr/bin/unboxed run\n" in service
    assert not [name for name in unboxed if ".wants/" in name or name.startswith("/etc/systemd")]
    assert "/sbin/init" not in unboxed
    scripts = b"".join(unboxed[f"DEBIAN/{name}"][1] for name in ("postinst", "prerm", "postrm"))
    assert b"systemctl enable" not in scripts


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze")
def test_systemd_finds_no_fault_with_the_service(unboxed: Contents, tmp_path: Path) -> None:
    text = unboxed["/lib/systemd/system/unboxed.service"][1].decode()
    file = tmp_path / "unboxed.service"
    file.write_text(text.replace("/usr/bin/unboxed", "/bin/true"))  # not installed here
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", file],
        capture_output=True, check=False, text=True)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    # What it must say: who tells that it has begun, and whose the groups below it are.
    for line in ("Type=notify", "NotifyAccess=all", "Delegate=yes", "KillMode=mixed"):
        assert f"\n{line}\n" in text


def test_the_second_package_is_the_first_process(sysv: Contents, unboxed: Contents) -> None:
    assert sysv["/sbin/init"][0].linkname == "/usr/bin/unboxed-init"
    for name in ("poweroff", "reboot", "halt", "shutdown"):
        assert sysv[f"/sbin/{name}"][0].linkname == "/usr/bin/unboxed"
    for page in ("telinit", "runlevel", "init", "poweroff"):
        assert f"/usr/share/man/man8/{page}.8.gz" in sysv
    assert "/usr/sbin/policy-rc.d" in sysv
    told = control(sysv)
    assert told["Pre-Depends"] == f"unboxed (= {told['Version']})"
    for other in ("systemd-sysv", "sysvinit-core"):
        assert other in told["Conflicts"]
        assert other in told["Replaces"]
    both = {name for name, (info, _) in sysv.items() if not info.isdir()} & set(unboxed)
    assert {name for name in both if not name.startswith("DEBIAN")} == set()


def test_settings_are_marked_and_sums_are_right(unboxed: Contents, sysv: Contents) -> None:
    from hashlib import md5

    for contents in (unboxed, sysv):
        files = {name: data for name, (info, data) in contents.items()
                 if info.isreg() and not name.startswith("DEBIAN")}
        marked = contents.get("DEBIAN/conffiles", (None, b""))[1].decode().split()
        assert set(marked) == {name for name in files if name.startswith("/etc/")}
        assert {
            f"{md5(data, usedforsecurity=False).hexdigest()}  {name.lstrip('/')}"
            for name, data in files.items()
        } == set(contents["DEBIAN/md5sums"][1].decode().splitlines())


def test_maintainer_scripts_are_shell_that_ends_at_an_error(
    unboxed: Contents, sysv: Contents, tmp_path: Path
) -> None:
    for contents in (unboxed, sysv):
        for name in ("preinst", "postinst", "prerm", "postrm"):
            if f"DEBIAN/{name}" in contents:
                info, data = contents[f"DEBIAN/{name}"]
                assert info.mode == 0o755
                assert data.startswith(b"#!/bin/sh\n")
                assert b"\nset -e\n" in data
                (tmp_path / name).write_bytes(data)
                subprocess.run(["sh", "-n", tmp_path / name], check=True)


def test_the_same_sources_make_the_same_packages(
    packages: dict[str, Path], tmp_path: Path
) -> None:
    again = made(tmp_path)
    assert {name: path.read_bytes() for name, path in again.items()} == {
        name: path.read_bytes() for name, path in packages.items()}


def test_the_command_runs_out_of_the_unpacked_package(
    packages: dict[str, Path], tmp_path: Path
) -> None:
    subprocess.run(["dpkg-deb", "-x", packages["unboxed"], tmp_path], check=True)
    script = (tmp_path / "usr/bin/unboxed").read_text().replace(
        '"/usr/lib', f'"{tmp_path}/usr/lib')
    python = shutil.which("python3.11") or pytest.skip("its Python is 3.11, and there is none")
    done = subprocess.run(
        [python, "-IS", "-c", script, "check", "--machine", tmp_path / "usr/lib/unboxed/units"],
        capture_output=True, check=False, text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
