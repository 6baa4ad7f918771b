"""Steps modules and network-filesystems on a machine made of files."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from supervisor.boot import _modules, _sysctl, modules, network_filesystems
from supervisor.boot._drop_ins import files
from supervisor.boot._tools import Ended
from tests.unit.boot.machine_kit import Made


def modular(machine: Made, *loaded: str) -> None:
    machine.write("/proc/modules", "")
    for name in loaded:
        machine.write(f"/sys/module/{name}/x", "")


def test_a_file_hides_those_of_its_name_in_directories_of_lower_rank(machine: Made) -> None:
    for path in ("/usr/lib/x.d/b.conf", "/usr/lib/x.d/a.conf", "/etc/x.d/b.conf",
                 "/run/x.d/c.conf", "/usr/local/lib/x.d/c.conf", "/etc/x.d/README"):
        machine.write(path, "")
    assert files(machine, "x.d") == ["/usr/lib/x.d/a.conf", "/etc/x.d/b.conf", "/run/x.d/c.conf"]


def test_modules_are_loaded_once_in_their_order_and_those_there_are_not(machine: Made) -> None:
    modular(machine, "kvm_intel")
    machine.write("/etc/modules-load.d/b.conf", "; no\nloop\nkvm-intel\n")
    machine.write("/usr/lib/modules-load.d/a.conf", "# no\ndm-mod\nloop\n")
    machine.write("/etc/modules", "dummy numdummies=2\n")
    machine.write("/proc/cmdline", "modules-load=tun,loop quiet\n")
    said = _modules.load(machine)
    assert machine.noted.calls == [
        ("modprobe", "-a", "-b", "dm-mod", "loop", "tun"),
        ("modprobe", "-b", "dummy", "numdummies=2")]
    assert said == "modules: dm-mod, loop, dummy, tun"


def test_a_module_that_there_is_not_is_told_and_fails_nothing(machine: Made) -> None:
    modular(machine)
    machine.write("/etc/modules", "nosuch\n")
    machine.noted.answer = lambda _: Ended(1, "Module nosuch not found")
    assert modules.run(machine) == 0
    assert "cannot load all of nosuch: Module nosuch not found" in machine.said()


def test_a_kernel_without_modules_is_asked_for_none(machine: Made) -> None:
    machine.write("/etc/modules", "loop\n")
    assert modules.run(machine) == 0
    assert machine.noted.calls == []


def test_settings_are_set_by_procps_and_what_it_says_is_told(machine: Made) -> None:
    machine.write("/etc/sysctl.d/a.conf", "a = 1\n")
    machine.noted.answer = lambda _: Ended(0, "sysctl: cannot stat /proc/sys/a: No such file")
    assert modules.run(machine) == 0
    assert machine.noted.calls == [("sysctl", "-q", "--system")]
    assert "cannot set all sysctls: sysctl: cannot stat" in machine.said()


def test_busybox_is_given_each_file_in_its_rank(machine: Made) -> None:
    machine.write("/usr/lib/sysctl.d/a.conf", "a = 1\n")
    machine.write("/etc/sysctl.conf", "b = 1\n")
    box = machine.write("/bin/busybox", "")
    link = Path(machine.path("/sbin"))
    link.mkdir()
    (link / "sysctl").symlink_to(box)
    machine.noted.find = lambda name: str(link / name)  # type: ignore[method-assign]
    _sysctl.apply(machine)
    paths = [machine.path(each) for each in ("/usr/lib/sysctl.d/a.conf", "/etc/sysctl.conf")]
    assert machine.noted.calls == [("sysctl", "-e", "-q", "-p", *paths)]


def test_settings_without_a_program_are_told(machine: Made) -> None:
    machine.write("/etc/sysctl.conf", "a = 1\n")
    machine.noted.there.clear()
    assert modules.run(machine) == 0
    assert "there is no sysctl program (Debian: procps)" in machine.said()


def test_a_machine_that_asks_for_nothing_is_done_at_once(machine: Made) -> None:
    assert modules.run(machine) == 0
    assert machine.told == ["nothing is asked for"]
    assert machine.noted.calls == []


def test_nodes_of_modules_that_load_when_opened_are_asked_for(
    machine: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, int, int]] = []
    machine.write(f"/lib/modules/{os.uname().release}/modules.devname",
                  "# Device nodes\nfuse fuse c10:229\ntun net/tun c10:200\nodd odd x1:2\nbad x 1\n")

    def mknod(path: str, mode: int, device: int) -> None:
        made.append((path.removeprefix(machine.root), mode & 0o777, device))
        Path(path).touch()

    monkeypatch.setattr(os, "mknod", mknod)
    assert _modules.static_nodes(machine) == 2
    assert made == [("/dev/fuse", 0o666, os.makedev(10, 229)),
                    ("/dev/net/tun", 0o666, os.makedev(10, 200))]


def test_the_kernels_own_file_systems_are_mounted_where_it_has_them(machine: Made) -> None:
    machine.write("/proc/filesystems", "nodev\tsecurityfs\nnodev\tbpf\nnodev\tmqueue\n\text4\n")
    for path in ("/sys/kernel/security", "/sys/kernel/debug", "/sys/fs/bpf"):
        Path(machine.path(path)).mkdir(parents=True)
    machine.mounted("/sys/fs/bpf bpf rw")
    assert modules.run(machine) == 0
    table = machine.path("/run/unboxed/boot/kernel.fstab")
    assert machine.noted.calls == [("mount", "-a", "-T", table)]
    assert Path(table).read_text() == (
        "securityfs /sys/kernel/security securityfs nosuid,nodev,noexec 0 0\n"
        "mqueue /dev/mqueue mqueue nosuid,nodev,noexec 0 0\n")
    assert machine.told == ["kernel file systems: 2"]


# --- network-filesystems ---

FSTAB = ("/dev/sda1 / ext4 defaults\nnas:/a /a nfs defaults\nnas:/b /a/b nfs nofail\n"
         "/dev/sdb /iscsi ext4 _netdev\ntmpfs /t tmpfs\nnas:/c /c nfs noauto\n")


def test_only_what_is_on_the_network_is_mounted(machine: Made) -> None:
    machine.write("/etc/fstab", FSTAB)
    assert network_filesystems.mount(machine) == 0
    assert [words[1] for words in machine.noted.calls] == ["/a", "/iscsi", "/a/b"]


def test_one_that_is_insisted_on_fails_the_unit_and_one_with_nofail_does_not(machine: Made) -> None:
    machine.write("/etc/fstab", FSTAB)
    machine.noted.answer = lambda words: Ended(32, "timed out") if words[1] == "/a/b" else None
    assert network_filesystems.mount(machine) == 0
    assert "cannot mount /a/b from nas:/b: timed out" in machine.said()
    machine.noted.answer = lambda words: Ended(32, "timed out") if words[1] == "/a" else None
    assert network_filesystems.mount(machine) == 1


def test_the_last_is_unmounted_first_and_one_in_use_is_detached(machine: Made) -> None:
    machine.write("/etc/fstab", FSTAB)
    machine.stays.append("network-filesystems")
    machine.mounted("/a nfs4 rw", "/home tmpfs rw", "/a/b nfs4 rw", "/iscsi ext4 rw",
                    "/mnt fuse.sshfs rw")
    machine.noted.answer = lambda words: (
        Ended(32, "target is busy") if words == ("umount", "/a") else None)
    assert network_filesystems.unmount(machine) == 0
    assert machine.noted.calls == [
        ("umount", "/mnt"), ("umount", "/iscsi"), ("umount", "/a/b"), ("umount", "/a"),
        ("umount", "-f", "-l", "/a")]
    assert machine.stays == []


def test_a_process_stays_where_there_is_something_to_unmount(machine: Made) -> None:
    machine.write("/etc/fstab", "nas:/a /a nfs\n")
    machine.mounted("/a nfs rw")
    assert network_filesystems.mount(machine) == 0
    assert machine.stays == ["network-filesystems"]


def test_no_process_stays_where_there_is_nothing(machine: Made) -> None:
    machine.write("/etc/fstab", "tmpfs /t tmpfs\n")
    assert network_filesystems.mount(machine) == 0
    assert machine.stays == []
    assert machine.told == ["fstab has nothing on the network"]
