from __future__ import annotations

import pytest

from supervisor.boot._fstab import Entry, parse, span_s, unescaped


def entry(line: str) -> Entry:
    entries, wrong = parse(line)
    assert not wrong
    (found,) = entries
    return found


def test_comments_and_blank_lines_are_no_entries() -> None:
    assert parse("# UNCONFIGURED FSTAB\n\n   # none\n") == ([], [])


def test_a_line_has_its_fields_and_what_is_left_out_has_its_default() -> None:
    found = entry("UUID=ab-cd  /srv\text4  noatime,nofail 0 2")
    assert (found.spec, found.target, found.type) == ("UUID=ab-cd", "/srv", "ext4")
    assert (found.options, found.checked) == (("noatime", "nofail"), 2)
    short = entry("tmpfs /tmp/ tmpfs")
    assert (short.target, short.options, short.checked) == ("/tmp", ("defaults",), 0)


def test_blanks_are_written_in_octal_and_labels_in_quotes() -> None:
    found = entry(r'LABEL="my" /srv/a\040b\134c ext4 defaults')
    assert (found.spec, found.target) == ("LABEL=my", "/srv/a b\\c")


@pytest.mark.parametrize("word, plain", [(r"a\040b", "a b"), (r"a\04", r"a\04"), (r"\x", r"\x"),
                                         ("\\", "\\"), (r"\134040", r"\040")])
def test_only_three_octal_digits_are_an_escape(word: str, plain: str) -> None:
    assert unescaped(word) == plain


def test_what_cannot_be_understood_is_told_with_its_line_and_left_out() -> None:
    entries, wrong = parse("/dev/sda1 /\n/dev/sda2 srv ext4\n/dev/sda3 /ok ext4\n")
    assert [each.target for each in entries] == ["/ok"]
    assert [each.partition(": ")[0] for each in wrong] == ["/etc/fstab:1", "/etc/fstab:2"]


def test_of_two_lines_for_one_directory_the_first_counts() -> None:
    entries, wrong = parse("/dev/sda1 /a ext4\n/dev/sda2 /a/ ext4\n/dev/sdb /cd udf noauto\n"
                           "/dev/sdc /cd udf noauto\n/dev/sda5 none swap\n/dev/sda6 none swap\n")
    assert [each.spec for each in entries] == [
        "/dev/sda1", "/dev/sdb", "/dev/sdc", "/dev/sda5", "/dev/sda6"]
    assert [each.partition(": ")[0] for each in wrong] == ["/etc/fstab:2"]


def test_swap_has_no_directory() -> None:
    found = entry("/dev/sda2 none swap sw 0 0")
    assert found.swap
    assert found.target == ""


def test_the_root_directory_keeps_its_name() -> None:
    assert entry("/dev/sda1 / ext4 defaults 0 1").target == "/"


@pytest.mark.parametrize("options, automatic, insisted", [
    ("defaults", True, True), ("noauto", False, True), ("nofail", True, False),
    ("noauto,x-systemd.automount", True, False),
])
def test_what_is_mounted_at_boot_and_what_a_boot_fails_without(
    options: str, automatic: bool, insisted: bool
) -> None:
    found = entry(f"/dev/sda1 /a ext4 {options}")
    assert (found.automatic, found.insisted) == (automatic, insisted)


@pytest.mark.parametrize("line, network", [
    ("nas:/x /a nfs4 rw", True), ("//nas/x /a cifs rw", True), ("/dev/sdb /a ext4 _netdev", True),
    ("u@nas: /a fuse.sshfs rw", True), ("/dev/sdb /a ext4 rw", False), ("share /a 9p rw", False),
])
def test_what_is_on_the_network_is_told_by_its_type_or_its_option(line: str, network: bool) -> None:
    assert entry(line).network is network


@pytest.mark.parametrize("line, device", [
    ("UUID=1 /a ext4", True), ("/dev/vg/a /a ext4", True), ("tmpfs /a tmpfs", False),
    ("/dev/x /a none bind", False), ("/img /a ext4 loop", False),
])
def test_only_devices_are_waited_for(line: str, device: bool) -> None:
    assert entry(line).device is device


@pytest.mark.parametrize("text, seconds", [
    (None, None), ("10", 10), ("1min 30s", 90), ("500ms", 0.5), ("1.5h", 5400), ("soon", None),
    ("infinity", float("inf")), ("0", float("inf")), (".", None), ("1.2.3", None),
])
def test_spans_of_time_are_as_systemd_writes_them(text: str | None, seconds: float | None) -> None:
    assert span_s(text) == seconds


def test_how_long_a_device_is_waited_for() -> None:
    assert entry("/dev/a /a ext4").device_s == 90
    assert entry("/dev/a /a ext4 nofail").device_s == 1
    assert entry("/dev/a /a ext4 nofail,x-systemd.device-timeout=7").device_s == 7
    assert entry("/dev/a /a ext4 nofail,x-systemd.device-timeout=infinity").device_s == 10
    assert entry("/dev/a /a ext4 x-systemd.mount-timeout=3").mount_s == 3
