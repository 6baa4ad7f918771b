"""Facts of this host, and of hosts that are none of ours."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from supervisor.kernel import host


def test_small_files_are_read_and_missing_ones_are_empty(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a\xffb")
    assert host.read_bytes(str(path)) == b"a\xffb"
    assert host.read(str(path)) == "a\ufffdb"
    assert host.read(str(path), 1) == "a"
    assert host.read(str(tmp_path)) == ""
    assert host.read(str(tmp_path / "none")) == ""
    assert host.read_long(str(tmp_path / "none")) == ""


def test_a_fifo_that_nobody_writes_to_does_not_hold_us_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert host.read(str(tmp_path / "fifo")) == ""
    assert host.read_long(str(tmp_path / "fifo")) == ""


def test_a_list_of_the_kernel_is_read_to_its_end() -> None:
    """/proc/kallsyms is a seq_file of many pages, of which one read(2) gives one."""
    text = host.read_long("/proc/kallsyms", 1 << 16)
    assert len(host.read("/proc/kallsyms", 1 << 16)) < 8192 < 1 << 16 <= len(text)
    assert text == Path("/proc/kallsyms").read_text()[: len(text)]


def test_names_and_numbers_are_those_of_the_standard_library() -> None:
    assert host.host_name() == socket.gethostname()
    assert host.cores() == len(os.sched_getaffinity(0)) > 0
    assert " ".join(host.kernel_cmdline()).split() == Path("/proc/cmdline").read_text().split()
    assert host.virtualization() in ("container", "vm", "none")


@pytest.mark.parametrize(
    "there, files, kind",
    [
        ({}, {}, "none"),
        ({}, {"/proc/cpuinfo": "processor: 0\nflags\t\t: fpu hypervisor lm\n"}, "vm"),
        ({}, {"/proc/cpuinfo": "processor: 0\nflags\t\t: fpu hypervisors lm\n"}, "none"),
        ({}, {"/proc/cpuinfo": "vendor_id: User Mode Linux\n"}, "vm"),
        ({"/proc/xen"}, {}, "vm"),
        ({"/.dockerenv"}, {"/proc/cpuinfo": "flags: a hypervisor b\n"}, "container"),
        ({"/run/.containerenv"}, {}, "container"),
        ({}, {"/proc/1/environ": "PATH=/bin\0container=lxc\0"}, "container"),
        ({}, {"/proc/1/environ": "container=lxc\0"}, "container"),
        ({}, {"/proc/1/environ": "xcontainer=lxc\0"}, "none"),
    ],
)
def test_where_it_runs_is_told_by_what_is_there(
    monkeypatch: pytest.MonkeyPatch, there: set[str], files: dict[str, str], kind: str
) -> None:
    monkeypatch.setattr(host, "read", lambda path, _limit=0: files.get(path, ""))
    monkeypatch.setattr(os.path, "exists", lambda path: path in there)
    assert host.virtualization() == kind


@pytest.mark.parametrize(
    "text, first", [("", True), ("uninitialized\n", True), ("0123456789abcdef\n", False)]
)
def test_a_first_boot_is_one_without_a_machine_id(
    monkeypatch: pytest.MonkeyPatch, text: str, first: bool
) -> None:
    monkeypatch.setattr(host, "read", lambda path: text if path == "/etc/machine-id" else "?")
    assert host.first_boot() is first
