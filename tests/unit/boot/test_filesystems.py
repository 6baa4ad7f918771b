"""Step filesystems on a machine made of files: what it asks which tool for, in which order."""
from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.boot import filesystems
from supervisor.boot._tools import Ended
from tests.unit.boot.machine_kit import Made

ROOT = "/dev/ubda / ext4 defaults 0 1\n"


def fstab(machine: Made, text: str, *devices: str) -> None:
    machine.write("/etc/fstab", text)
    for each in ("/dev/ubda", *devices):
        machine.write(each, "")
    machine.write("/sys/dev/block/98:0/uevent", "MAJOR=98\nDEVNAME=ubda\n")


def fails(machine: Made, program: str, word: str, code: int, text: str = "") -> None:
    """A call of this program that has this word ends so."""
    machine.noted.answer = lambda words: (
        Ended(code, text) if words[0] == program and word in words else None)


def mounted(machine: Made) -> list[str]:
    return [words[1] for words in machine.noted.of("mount") if len(words) == 2]


def test_a_read_only_root_is_checked_by_the_kernels_name_for_it_then_made_writable(
    machine: Made,
) -> None:
    fstab(machine, "UUID=stale / ext4 noatime,errors=remount-ro,x-foo=1 0 1\n")
    machine.mounted(root="ro")
    assert filesystems.run(machine) == 0
    fsck, mount = machine.noted.calls
    assert fsck == ("fsck", "-T", "-l", "-C9", "-a", "/dev/ubda")
    assert mount == ("mount", "-o", "remount,noatime,errors=remount-ro,rw", "/")


def test_a_root_that_is_writable_is_neither_checked_nor_mounted_anew(machine: Made) -> None:
    fstab(machine, ROOT)
    assert filesystems.run(machine) == 0
    assert machine.noted.calls == []


def test_without_an_fstab_root_is_made_writable(machine: Made) -> None:
    machine.mounted(root="ro")
    assert filesystems.run(machine) == 0
    assert machine.noted.calls == [("mount", "-o", "remount,rw", "/")]


def test_a_root_that_fstab_wants_read_only_stays_so(machine: Made) -> None:
    fstab(machine, "/dev/ubda / ext4 ro 0 0\n")
    machine.mounted(root="ro")
    assert filesystems.run(machine) == 0
    assert machine.noted.calls == []
    assert "root is read-only, as fstab says" in machine.told


@pytest.mark.parametrize("kind", ["hostfs", "overlay", "rootfs", "squashfs", "virtiofs"])
def test_a_root_without_a_disk_of_its_own_is_as_its_owner_made_it(
    machine: Made, kind: str
) -> None:
    fstab(machine, ROOT)
    machine.write("/proc/self/mountinfo", f"1 0 0:9 / / ro - {kind} none ro\n")
    assert filesystems.run(machine) == 0
    assert machine.noted.of("mount") == []
    assert f"root is {kind}, read-only: left as it is" in machine.told


def test_a_root_that_stays_read_only_is_told_and_survived(machine: Made) -> None:
    fstab(machine, ROOT)
    machine.mounted(root="ro")
    fails(machine, "mount", "/", 32, "cannot remount /dev/ubda read-write, is write-protected")
    assert filesystems.run(machine) == 0
    assert "root read-only: cannot mount / anew read-write: cannot remount" in machine.said()


def test_what_was_corrected_lets_the_boot_go_on(machine: Made) -> None:
    fstab(machine, ROOT)
    machine.mounted(root="ro")
    fails(machine, "fsck", "/dev/ubda", 1, "/dev/ubda: clearing orphaned inode")
    assert filesystems.run(machine) == 0
    assert "fsck /: corrected" in machine.told
    assert "clearing orphaned inode" in machine.said()


def test_a_root_changed_under_the_kernel_asks_for_a_reboot_and_nothing_else(
    machine: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystems, "_REBOOT_S", 0.0)
    fstab(machine, ROOT + "/dev/ubdb /srv ext4 defaults 0 2\n", "/dev/ubdb")
    machine.mounted(root="ro")
    fails(machine, "fsck", "/dev/ubda", 3)
    assert filesystems.run(machine) == 1
    assert machine.rebooted == 1
    assert machine.noted.of("mount") == []


def test_a_root_with_errors_that_are_left_stays_read_only_for_whoever_repairs_it(
    machine: Made,
) -> None:
    fstab(machine, ROOT + "tmpfs /srv tmpfs\n")
    machine.mounted(root="ro")
    fails(machine, "fsck", "/dev/ubda", 4, "UNEXPECTED INCONSISTENCY")
    assert filesystems.run(machine) == 1
    assert "run `fsck /dev/ubda`" in machine.said()
    assert machine.noted.of("mount") == []


def test_root_is_writable_before_other_devices_are_waited_for(machine: Made) -> None:
    fstab(machine, ROOT + "UUID=1 /srv ext4 x-systemd.device-timeout=1ms 0 2\n")
    machine.mounted(root="ro")
    assert filesystems.run(machine) == 1
    assert [words[0] for words in machine.noted.calls] == ["fsck", "mount", "findfs"]


def test_where_logs_go_is_mounted_before_root_is_writable_and_the_rest_after(
    machine: Made,
) -> None:
    fstab(machine, ROOT + "tmpfs /var/log/x tmpfs\n/dev/ubdb /var/log ext4 defaults 0 2\n"
                          "tmpfs /srv tmpfs\ntmpfs /var tmpfs\n", "/dev/ubdb")
    machine.mounted(root="ro")
    assert filesystems.run(machine) == 0
    done = [(words[0], words[-1]) for words in machine.noted.calls]
    assert done == [
        ("fsck", "/dev/ubda"), ("fsck", "/dev/ubdb"), ("mount", "/var"), ("mount", "/var/log"),
        ("mount", "/"), ("mount", "/var/log/x"), ("mount", "/srv")]


def test_what_a_directory_of_logs_is_bound_from_is_there_before_it(machine: Made) -> None:
    fstab(machine, ROOT + "/data/var /var none bind\n/dev/ubdb /data ext4 defaults 0 2\n"
                          "tmpfs /srv tmpfs\n", "/dev/ubdb")
    machine.mounted(root="ro")
    assert filesystems.run(machine) == 0
    done = [(words[0], words[-1]) for words in machine.noted.calls]
    assert done == [("fsck", "/dev/ubda"), ("fsck", "/dev/ubdb"), ("mount", "/data"),
                    ("mount", "/var"), ("mount", "/"), ("mount", "/srv")]


def test_errors_that_are_left_fail_the_boot_with_the_reason_and_what_to_do(machine: Made) -> None:
    fstab(machine, ROOT + "/dev/ubdb /srv ext4 defaults 0 2\n/srv/a /b none bind\n", "/dev/ubdb")
    fails(machine, "fsck", "/dev/ubdb", 4, "UNEXPECTED INCONSISTENCY")
    assert filesystems.run(machine) == 1
    assert "/srv" not in mounted(machine)
    assert "cannot mount /srv: fsck of /dev/ubdb left errors: UNEXPECTED" in machine.said()
    assert "run `fsck /dev/ubdb`" in machine.said()


def test_errors_of_one_that_nobody_insists_on_leave_it_out(machine: Made) -> None:
    fstab(machine, ROOT + "/dev/ubdb /srv ext4 nofail 0 2\n", "/dev/ubdb")
    fails(machine, "fsck", "/dev/ubdb", 8)
    assert filesystems.run(machine) == 0
    assert mounted(machine) == []


@pytest.mark.parametrize("words, called", [
    ("fsck.mode=skip", None), ("fastboot", None), ("fsck.mode=force", ("-a", "-f")),
    ("forcefsck", ("-a", "-f")), ("fsck.repair=yes", ("-y",)), ("fsck.repair=no", ("-n",)),
])
def test_the_kernel_command_line_says_how_it_is_checked(
    machine: Made, words: str, called: tuple[str, ...] | None
) -> None:
    fstab(machine, ROOT)
    machine.mounted(root="ro")
    machine.write("/proc/cmdline", f"root=/dev/ubda {words}\n")
    assert filesystems.run(machine) == 0
    options = [words[4:-1] for words in machine.noted.of("fsck")]
    assert options == ([called] if called else [])


@pytest.mark.parametrize("name, checks", [("forcefsck", 1), ("fastboot", 0)])
def test_the_files_that_debian_knows_count_for_one_boot(
    machine: Made, name: str, checks: int
) -> None:
    fstab(machine, ROOT)
    machine.mounted(root="ro")
    wish = machine.write(f"/{name}", "")
    assert filesystems.run(machine) == 0
    assert sum("-f" in words for words in machine.noted.of("fsck")) == checks
    assert not wish.exists()


def test_a_type_without_a_checker_is_told_and_mounted(machine: Made) -> None:
    fstab(machine, "/dev/ubdb /srv reiser5 defaults 0 2\n", "/dev/ubdb")
    assert filesystems.run(machine) == 0
    assert machine.noted.of("fsck") == []
    assert mounted(machine) == ["/srv"]
    assert "there is no fsck.reiser5" in machine.said()


def test_without_any_checker_it_is_told_and_mounted(machine: Made) -> None:
    machine.noted.there -= {"fsck"}
    fstab(machine, "/dev/ubdb /srv auto defaults 0 2\n", "/dev/ubdb")
    assert filesystems.run(machine) == 0
    assert mounted(machine) == ["/srv"]
    assert any("there is no fsck" in line for line in machine.told)


def test_mounts_go_by_their_directories_and_not_by_their_lines(machine: Made) -> None:
    fstab(machine, "/srv/a/www /var/www none bind\ntmpfs /srv/a tmpfs\ntmpfs /srv tmpfs\n"
                   "nas:/x /n nfs\n/dev/ubdc /off ext4 noauto\n")
    assert filesystems.run(machine) == 0
    assert mounted(machine) == ["/srv", "/srv/a", "/var/www"]
    assert Path(machine.path("/srv/a")).is_dir(), "a directory to mount on is made"


def test_a_directory_is_made_for_a_bind_unless_what_is_bound_is_a_file(machine: Made) -> None:
    machine.write("/etc/host.conf", "")
    fstab(machine, "/etc/host.conf /a none bind\n/nowhere /b none bind\n")
    filesystems.run(machine)
    assert not machine.exists("/a")
    assert machine.exists("/b"), "so that mount tells of what is really missing"


def test_links_in_their_directories_are_followed(machine: Made) -> None:
    Path(machine.path("/data")).mkdir()
    Path(machine.path("/srv")).symlink_to(machine.path("/data"))
    fstab(machine, "tmpfs /srv/www tmpfs\ntmpfs /data tmpfs\n")
    assert filesystems.run(machine) == 0
    assert mounted(machine) == ["/data", "/srv/www"]


def test_entries_that_wait_for_each_other_go_by_their_lines(machine: Made) -> None:
    fstab(machine, "/a/x /b none bind\n/b/y /a none bind\n")
    assert filesystems.run(machine) == 0
    assert mounted(machine) == ["/b", "/a"]


def test_what_is_mounted_is_left_alone(machine: Made) -> None:
    fstab(machine, "tmpfs /srv tmpfs\n")
    machine.mounted("/srv tmpfs rw")
    assert filesystems.run(machine) == 0
    assert machine.noted.calls == []


def test_what_the_keeper_mounted_gets_the_options_of_fstab(machine: Made) -> None:
    fstab(machine, "proc /proc proc hidepid=2 0 0\ntmpfs /run tmpfs defaults\n")
    machine.mounted("/proc proc rw,relatime", "/run tmpfs rw,nosuid")
    assert filesystems.run(machine) == 0
    assert machine.noted.calls == [("mount", "-o", "remount,hidepid=2,rw", "/proc")]


def test_one_that_cannot_be_mounted_fails_the_boot_and_names_those_inside(machine: Made) -> None:
    fstab(machine, "tmpfs /srv tmpfs\ntmpfs /srv/a tmpfs nofail\ntmpfs /c tmpfs\n")
    fails(machine, "mount", "/srv", 32, "no such type")
    assert filesystems.run(machine) == 1
    assert mounted(machine) == ["/srv", "/c"]
    assert "cannot mount /srv: no such type (exit code 32)" in machine.said()
    assert "cannot mount /srv/a: /srv is not mounted" in machine.said()


def test_a_device_that_does_not_come_fails_the_boot_when_its_time_is_over(machine: Made) -> None:
    fstab(machine, "/dev/ubdb /srv ext4 x-systemd.device-timeout=100ms\n"
                   "/dev/ubdc /d ext4 nofail,x-systemd.device-timeout=10ms\n")
    assert filesystems.run(machine) == 1
    assert "/srv: its device /dev/ubdb did not appear" in machine.said()
    assert "/dev/ubdc (/d) is not there" in machine.said()
    assert mounted(machine) == []


def test_a_device_is_found_by_udevs_link_or_by_findfs(machine: Made) -> None:
    fstab(machine, "LABEL=my\\040disk /srv ext4 rw 0 2\nUUID=1-2 /d ext4 rw 0 2\n",
          r"/dev/disk/by-label/my\x20disk", "/dev/ubdc")
    machine.noted.answer = lambda words: (
        Ended(0, "/dev/ubdc\n") if words == ("findfs", "UUID=1-2") else None)
    assert filesystems.run(machine) == 0
    checked = [words[-1] for words in machine.noted.of("fsck")]
    assert checked == [r"/dev/disk/by-label/my\x20disk", "/dev/ubdc"]
    assert mounted(machine) == ["/srv", "/d"]


def test_the_time_of_those_that_nobody_insists_on_begins_when_devices_are_known(
    machine: Made,
) -> None:
    fstab(machine, "/dev/ubdb /srv ext4 nofail,x-systemd.device-timeout=1ms\n")
    machine.write("/run/udev/control", "")
    machine.settled_at = 3

    def settle(words: tuple[str, ...]) -> None:
        if words[:2] == ("udevadm", "settle"):
            machine.write("/dev/ubdb", "")

    machine.noted.answer = settle
    assert filesystems.run(machine) == 0
    assert machine.asked == 3
    assert mounted(machine) == ["/srv"]


def test_nobody_is_asked_where_all_devices_are_there(machine: Made) -> None:
    fstab(machine, "/dev/ubdb /srv ext4 nofail\n", "/dev/ubdb")
    assert filesystems.run(machine) == 0
    assert machine.asked == 0


def test_swap_that_cannot_be_used_is_told(machine: Made) -> None:
    fstab(machine, "/swapfile none swap sw 0 0\n")
    fails(machine, "swapon", "-a", 255, "it appears to have holes")
    assert filesystems.run(machine) == 0
    assert "cannot use all swap: it appears to have holes (exit code 255)" in machine.said()


def test_identity_follows_only_where_file_systems_are_there(
    machine: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    fstab(machine, "tmpfs /srv tmpfs\n")
    fails(machine, "mount", "/srv", 32)
    assert filesystems._both(machine) == 1
    assert not Path(machine.path("/etc/machine-id")).exists()
    machine.noted.answer = lambda _: None
    assert filesystems._both(machine) == 0
    assert Path(machine.path("/etc/machine-id")).exists()
