"""The shipped units of the early boot, in a machine of its own: two of its lives."""
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.vm.booted import (
    FSTAB,
    UNBOXED,
    Booted,
    image,
    needs_disk,
    on_disk,
    root_image,
    shipped,
)
from tests.vm.household import assert_whole
from tests.vm.machine import needs_machine

pytestmark = [needs_machine, needs_disk, pytest.mark.slow]

UNITS = ("boot", "coldplug", "filesystems", "lvm", "network-filesystems", "saved-state",
         "udev")  # fmt: skip
LOG = "cat /var/log/unboxed/{}/*.log"
LINES = FSTAB + """\
/dev/ubdb /var ext4 nodev 0 2
/var/lib/www /srv none bind
/dev/ubdd none swap sw
/dev/ubdc /far ext4 _netdev
tmpfs /scratch tmpfs size=1m
UUID=0b0cefa1-0000-4000-8000-00000000000b /gone ext4 nofail 0 2
"""


def debugfs(disk: Path, request: str) -> None:
    subprocess.run(["/sbin/debugfs", "-w", "-R", request, disk], check=True, capture_output=True)


def damage(disk: Path, file: str) -> None:
    debugfs(disk, f"freei {file}")
    debugfs(disk, "ssv state 2")  # to be looked at


def damaged_var(home: Path) -> Path:
    tree = home / "var"
    for name in ("lib/www", "log", "tmp"):
        (tree / name).mkdir(parents=True)
    (tree / "lib/www/page").write_text("page")
    (tree / "log/wtmp").touch()
    disk = image(home / "var.img", 16, tree)
    damage(disk, "/lib/www/page")
    return disk


def swap_area(home: Path) -> Path:
    disk = home / "swap.img"
    disk.write_bytes(bytes(1 << 20))
    subprocess.run(["/sbin/mkswap", disk], check=True, capture_output=True)
    return disk


def test_two_lives_of_a_machine_with_four_file_systems_and_swap(tmp_path: Path) -> None:
    var, far = damaged_var(tmp_path), image(tmp_path / "far.img", 8)
    root = root_image(tmp_path, {
        "etc/fstab": LINES, "etc/machine-id": "", "etc/sysctl.d/a.conf": "kernel.panic = 7\n",
    })  # fmt: skip
    damage(root, "/etc/hostname")
    units = {name: shipped(name) for name in UNITS}
    units["network-filesystems"] = units["network-filesystems"].replace('wants = ["online"]', "")
    units["boot"] = units["boot"].replace(', { unit = "tmpfiles", until = "finished" }', "")
    units["late"] = 'command = "/bin/sleep 1000"\n[needs]\nrequires = ["network-filesystems"]\n'
    disks = [f"ubd1={var}", f"ubd2={far}", f"ubd3={swap_area(tmp_path)}"]
    with Booted(tmp_path / "1", units, root=root, args=on_disk(), words=disks) as machine:
        pid = machine.wait("late", "running")["pid"]
        assert "fsck changed /dev/ubda, the root file system: rebooting" in machine.console()
        rows = machine.rows()
        assert rows["network-filesystems"]["state"] == "running"
        assert rows["udev"]["state"] in ("skipped", "running")
        mounts = machine.sh("cat /proc/mounts")
        for line in ("/dev/root / ext4 rw", "/dev/ubdb /var ext4 rw,nodev", "/dev/ubdb /srv ext4",
                     "/dev/ubdc /far ext4", "tmpfs /scratch tmpfs"):  # fmt: skip
            assert line in mounts
        assert machine.sh("cat /srv/page /proc/sys/kernel/panic") == "page7\n"
        assert "/dev/ubdd" in machine.sh("cat /proc/swaps")
        assert "system boot" in machine.sh("who -b")
        said = machine.sh(LOG.format("filesystems"))
        for words in ("fsck /: clean", "fsck /var: corrected", "(/gone) is not there",
                      "root is read-write now", "random seed: there was none"):  # fmt: skip
            assert words in said, "of before /var was mounted, too"
        machine.sh(f"{UNBOXED} restart filesystems")
        assert machine.rows()["late"]["pid"] == pid
        again = machine.sh(LOG.format("filesystems"))[len(said) :]
        assert "mounted" not in again
        assert "random seed" not in again
        identity = machine.sh("cat /etc/machine-id")
        machine.power("off")
    for disk in (root, var, far):
        assert_whole(disk)
    with Booted(tmp_path / "2", units, root=root, args=on_disk(), words=disks) as machine:
        machine.wait("late", "running")
        assert "unmounted /far" in machine.sh(LOG.format("network-filesystems"))
        said = machine.sh(LOG.format("filesystems"))
        assert "fsck /: clean" in said
        assert said.rstrip().endswith("random seed: 512 bytes"), "it counts"
        assert machine.sh("cat /etc/machine-id") == identity
        records = machine.sh("last -x -f /var/log/wtmp")
        assert records.count("system boot") == 2
        assert records.count("system down") == 1
        machine.power("off")
