"""The step filesystems with the real tools and kernel: images with ext4, some of them damaged."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SBIN = "/usr/sbin:/sbin:/usr/bin:/bin"
TOOLS = ("mkfs.ext4", "debugfs", "losetup", "fsck", "unshare", "blkid")
UUID = "0b0cefa1-0000-4000-8000-00000000000b"


def missing() -> str:
    """Why this cannot be tried here, "" if it can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    for name in TOOLS:
        if not shutil.which(name, path=SBIN):
            return f"there is no {name} here"
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        return "no mount namespace is allowed here"
    if subprocess.run(["losetup", "-f"], check=False, capture_output=True).returncode:
        return "there are no loop devices here"
    return ""


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "nothing is missing")


def run(*words: str) -> str:
    path = {**os.environ, "PATH": SBIN}
    return subprocess.run(words, check=True, capture_output=True, text=True, env=path).stdout


@pytest.fixture
def attach() -> Iterator[Callable[..., str]]:
    """A loop device for an image, gone afterwards."""
    devices: list[str] = []

    def attached(image: Path, *options: str) -> str:
        devices.append(run("losetup", "--show", "-f", *options, str(image)).strip())
        return devices[-1]

    yield attached
    for device in devices:
        run("losetup", "-d", device)


def image(path: Path, tree: Path, *options: str) -> Path:
    with path.open("wb") as file:
        file.truncate(8 << 20)
    run("mkfs.ext4", "-q", "-F", "-d", str(tree), *options, str(path))
    return path


def root(tmp_path: Path, fstab: str, machine_id: str = "") -> Path:
    tree = tmp_path / "root"
    for name in ("dev", "etc", "mnt", "proc", "run", "srv", "sys", "tmp", "usr", "var/lib"):
        (tree / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        (tree / name).symlink_to(f"usr/{name}")
    (tree / "etc" / "fstab").write_text(fstab)
    (tree / "etc" / "machine-id").write_text(machine_id)
    return image(tmp_path / "root.img", tree)


def data(tmp_path: Path) -> Path:
    tree = tmp_path / "data"
    tree.mkdir()
    (tree / "kept").write_text("kept")
    (tree / "lost").write_text("lost")
    return image(tmp_path / "data.img", tree, "-U", UUID)


def boot(tmp_path: Path, device: str, *others: str) -> dict[str, Any]:
    place = tmp_path / "place"
    place.mkdir()
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", sys.executable,
         str(Path(__file__).with_name("inside_image.py")), device, str(place), *others],
        check=False, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PATH": SBIN, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def damage(path: Path) -> None:
    """An inode that is used is marked as free: fsck -a mends that."""
    run("debugfs", "-w", "-R", "freei /lost", str(path))
    run("tune2fs", "-E", "force_fsck", str(path))


def ruin(path: Path) -> None:
    """Superblock and group descriptors are gone, and so are all copies."""
    with path.open("r+b") as file:
        file.write(bytes(64 << 10))
        file.seek(0x2000 * 1024)
        file.truncate()


def test_damage_is_mended_and_what_fstab_says_is_mounted(
    tmp_path: Path, attach: Callable[..., str]
) -> None:
    disk = data(tmp_path)
    damage(disk)
    fstab = f"/dev/x / ext4 noatime 0 1\nUUID={UUID} /srv ext4 nodev 0 2\n/srv /mnt none bind\n"
    whole = root(tmp_path, fstab)
    run("tune2fs", "-E", "force_fsck", str(whole))
    found = boot(tmp_path, attach(whole), attach(disk))
    assert found["code"] == 0, found
    assert "fsck /srv: corrected" in found["said"]
    assert "fsck /: " in found["said"]
    assert "root is read-write now" in found["said"]
    assert {"rw", "noatime"} <= set(found["mounts"]["/"])
    assert "nodev" in found["mounts"]["/srv"]
    assert found["files"]["/srv/kept"] == found["files"]["/mnt/kept"] == "kept"
    assert len(found["files"]["/etc/machine-id"]) == 33
    assert "/etc/machine-id" not in found["mounts"]
    assert "/var/lib/unboxed/random-seed" in found["files"]
    assert "clean" in run("dumpe2fs", "-h", str(disk)).partition("Filesystem state:")[2][:20]


@pytest.mark.parametrize("options, code", [("defaults", 1), ("nofail", 0)])
def test_a_ruined_one_fails_the_boot_if_it_insists_on_it(
    tmp_path: Path, attach: Callable[..., str], options: str, code: int
) -> None:
    disk = data(tmp_path)
    device = attach(disk)
    ruin(disk)
    whole = root(tmp_path, f"{device} /srv ext4 {options} 0 2\n")
    found = boot(tmp_path, attach(whole), device)
    assert found["code"] == code, found
    assert f"fsck of {device}" in found["said"]
    assert "/srv" not in found["mounts"]
    assert "rw" in found["mounts"]["/"], "whoever repairs it can write"


def test_a_root_on_a_write_protected_disk_is_survived(
    tmp_path: Path, attach: Callable[..., str]
) -> None:
    whole = root(tmp_path, "/dev/x / ext4 defaults 0 0\ntmpfs /srv tmpfs size=1m\n")
    found = boot(tmp_path, attach(whole, "-r"))
    assert found["code"] == 0, found
    assert "root read-only: cannot mount / anew read-write: " in found["said"]
    assert "/srv" in found["mounts"]
    assert "/etc/machine-id" in found["mounts"], "one for this boot is mounted over it"
    assert len(found["files"]["/etc/machine-id"]) == 33
