"""An initramfs that packaging/initramfs/build.py makes is what it says, and boots by itself."""
from __future__ import annotations

import gzip
import shutil
import stat
import subprocess
import sys
from pathlib import Path

from tests.stack import ROOT, keeper_binary
from tests.vm.machine import Kernel, needs_machine

HERE = ROOT / "packaging" / "initramfs"
# A program of this host with libraries of its own, one that is in there anyway, and the end.
UNITS = {
    "whoami": """
kind = "task"
command = "/usr/bin/id -u -n"
logs.to = "console"
""",
    "first": """
kind = "task"
command = ["/usr/bin/python3", "-IS", "-c", "import os; print('1:', os.readlink('/proc/1/exe'))"]
logs.to = "console"
sandbox.level = "off"
""",
    "down": """
kind = "task"
command = "unboxed poweroff"
sandbox.level = "off"
[needs]
requires = [{unit = "first", until = "finished"}, {unit = "whoami", until = "finished"}]
""",
}
MEBIBYTES = 32  # what it may take of the memory; it has its own Python


def make(home: Path, *words: str) -> Path:
    units = home / "units"
    units.mkdir()
    for name, text in UNITS.items():
        (units / f"{name}.toml").write_text(text)
    output = home / "initramfs"
    done = subprocess.run(
        [sys.executable, HERE / "build.py", "--units", units, "--output", output, "--init",
         keeper_binary(), *words], capture_output=True, check=False, text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return output


def entries(data: bytes) -> dict[str, tuple[int, bytes, tuple[int, int]]]:
    """Mode, content and device number of all that is in a cpio archive (newc)."""
    found: dict[str, tuple[int, bytes, tuple[int, int]]] = {}
    at = 0
    while True:
        assert data[at:at + 6] == b"070701"
        numbers = [int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
        name_end = at + 110 + numbers[11]
        name = data[at + 110:name_end - 1].decode()
        start = -(-name_end // 4) * 4
        if name == "TRAILER!!!":
            return found
        assert numbers[2:4] == [0, 0], f"{name} is not root's"
        found[name] = (numbers[1], data[start:start + numbers[6]], (numbers[9], numbers[10]))
        at = -(-(start + numbers[6]) // 4) * 4


def test_an_archive_has_what_was_added_in_an_order_that_can_be_unpacked(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin/run").write_text("#!/bin/sh\n")
    (tree / "bin/run").chmod(0o700)
    (tree / "bin/link").symlink_to("run")
    (tree / "odd").write_bytes(b"12345")
    output = tmp_path / "out"
    subprocess.run(
        [sys.executable, HERE / "cpio.py", output, f"--add={tree}:/", f"--add={tree}/odd:/a/b/c",
         "--compress=gzip"], check=True)  # fmt: skip
    found = entries(gzip.decompress(output.read_bytes()))
    assert found["bin/run"] == (stat.S_IFREG | 0o755, b"#!/bin/sh\n", (0, 0))
    assert found["bin/link"][:2] == (stat.S_IFLNK | 0o777, b"run")
    assert found["a/b/c"][:2] == (stat.S_IFREG | 0o644, b"12345")
    assert found["dev/console"] == (stat.S_IFCHR | 0o600, b"", (5, 1))
    assert found["dev/null"] == (stat.S_IFCHR | 0o666, b"", (1, 3))
    names = list(found)
    for name in names:
        above = name.rpartition("/")[0]
        assert not above or names.index(above) < names.index(name)
    if shutil.which("cpio"):  # somebody else's reader
        listed = subprocess.run(
            ["cpio", "--list", "--quiet"], input=gzip.decompress(output.read_bytes()),
            capture_output=True, check=True).stdout.decode().split()  # fmt: skip
        assert listed == names


def test_it_has_what_units_name_and_is_small(tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    extra.write_text("data")
    output = make(tmp_path, "--compress=none", "--add", f"{extra}:/srv/extra")
    found = entries(output.read_bytes())
    assert found["srv/extra"][1] == b"data"
    assert found["usr/bin/id"][1] == Path("/usr/bin/id").read_bytes()
    assert any(Path(name).name.startswith("libc.so") for name in found)
    assert found["init"][1] == b"usr/bin/unboxed-init"
    assert f"usr/lib/unboxed/units/{next(iter(UNITS))}.toml" in found
    assert output.stat().st_size < MEBIBYTES << 20


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "units").mkdir()
    done = subprocess.run(
        [sys.executable, HERE / "build.py", "--units", tmp_path / "units", "--output",
         tmp_path / "out", "--init", tmp_path / "none"], capture_output=True, check=False,
        text=True)  # fmt: skip
    assert done.returncode == 1
    assert f"there is no {tmp_path}/none; --init names another" in done.stderr
    assert not (tmp_path / "out").exists()


@needs_machine
def test_it_boots_runs_its_units_and_powers_off(tmp_path: Path) -> None:
    archive = make(tmp_path)
    with Kernel(tmp_path, Path("/init"), [f"initrd={archive}"], root="", mebibytes=256) as machine:
        said = machine.ended()
    assert "1: /usr/bin/unboxed-init" in said
    assert "\nroot\n" in said
    assert "unboxed-init: powering off" in said
