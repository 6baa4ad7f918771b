"""Finding the call for which a filter killed a process, in what the kernel wrote of it."""
from __future__ import annotations

import os
import struct
import threading
import time
from pathlib import Path

import pytest

from supervisor.kernel.sandbox import violation

X86, ARM, I386 = 0xC000003E, 0xC00000B7, 0x40000003


@pytest.fixture(autouse=True)
def first_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise PermissionError(1, "Operation not permitted", "the audit")

    monkeypatch.setattr(violation, "_listen", refuse)
    monkeypatch.setattr(violation, "_FIRST_PID_NAMESPACE", os.readlink("/proc/self/ns/pid"))
    monkeypatch.setattr(violation._Patience, "ms", violation._Patience.short_ms)


def record(pid: int, number: int, arch: int, age: float = 0.0, *, kills: bool = True) -> bytes:
    return (
        b"5,32876,23915989402,-;audit: type=1326 audit(%.3f:16875): auid=4294967295 uid=0 gid=0"
        b' ses=4294967295 pid=%d comm="x pid=7" exe="/bin/x" sig=%d arch=%x syscall=%d compat=0'
        b" ip=0x7f5e7e2f34f7 code=0x%x\n"
        % (time.time() - age, pid, 31 if kills else 0, arch, number,
           0x80000000 if kills else 0x7FFC0000)
    )  # fmt: skip


def log(path: Path, pid: int, number: int, arch: int = X86, age: float = 0.0) -> str:
    path.write_bytes(record(pid, number, arch, age))
    return str(path)


def test_a_record_that_comes_late_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(violation._Patience, "ms", 10_000)
    path = tmp_path / "kmsg"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    late = threading.Timer(0.05, os.write, (writer, record(4711, 161, X86)))
    late.start()
    assert violation.killed_for(4711, "x86_64", str(path)) == "chroot"
    late.join()
    assert violation._Patience.ms == violation._Patience.long_ms
    assert violation.killed_for(4711, "x86_64", str(path)) == ""
    assert violation._Patience.ms == violation._Patience.short_ms  # it will not tell soon
    os.close(writer)


def test_what_was_allowed_or_killed_is_found_from_now_on(tmp_path: Path) -> None:
    path = tmp_path / "kmsg"
    path.write_bytes(record(1, 161, X86, kills=False))
    fd = violation.watch(str(path))
    with path.open("ab", buffering=0) as file:
        file.write(record(4711, 161, X86, kills=False))
    assert list(violation.news(fd, "x86_64")) == [(4711, "chroot", False)]
    with path.open("ab", buffering=0) as file:
        file.write(record(4712, 161, X86))
    assert list(violation.news(fd, "x86_64")) == [(4712, "chroot", True)]
    os.close(fd)


def test_records_of_the_audit_are_read_and_those_of_other_types_are_not() -> None:
    reader, writer = os.pipe2(os.O_DIRECT | os.O_NONBLOCK)  # as a socket, one at a time
    text = record(4711, 161, X86).partition(b"type=1326 ")[2]
    for kind in (1100, 1326):  # AUDIT_USER, AUDIT_SECCOMP
        os.write(writer, struct.pack("<IHHII", 10, kind, 0, 0, 0) + text)  # 10: "\n"
    assert list(violation.news(reader, "x86_64")) == [(4711, "chroot", True)]
    os.close(reader)
    os.close(writer)


def test_the_call_of_that_pid_is_named(tmp_path: Path) -> None:
    path = tmp_path / "kmsg"
    assert violation.killed_for(4711, "x86_64", log(path, 4711, 161)) == "chroot"
    assert violation.killed_for(4711, "aarch64", log(path, 4711, 51, ARM)) == "chroot"


def test_what_another_process_or_an_earlier_one_did_is_not_taken_for_it(tmp_path: Path) -> None:
    path = tmp_path / "kmsg"
    assert violation.killed_for(4712, "x86_64", log(path, 4711, 161)) == ""
    assert violation.killed_for(4711, "x86_64", log(path, 4711, 161, age=3600)) == ""


def test_the_name_of_another_architectures_call_is_not_guessed(tmp_path: Path) -> None:
    found = violation.killed_for(4711, "x86_64", log(tmp_path / "kmsg", 4711, 20, I386))
    assert found == "system call 20 of another architecture"


def test_no_log_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert violation.killed_for(4711, "x86_64", str(tmp_path / "none")) == ""
    path = log(tmp_path / "kmsg", 4711, 161)
    monkeypatch.setattr(violation, "_FIRST_PID_NAMESPACE", "pid:[1]")
    assert violation.killed_for(4711, "x86_64", path) == ""  # pids here are not those of the log


def test_words_name_the_promises_that_would_allow_it() -> None:
    assert violation.words("ptrace", "web").endswith('"debug" would allow it')
    assert violation.words("reboot", "web") == "reboot is in none of its promises, nor in any other"
    assert "`unboxed learn web`" in violation.words("", "web")
