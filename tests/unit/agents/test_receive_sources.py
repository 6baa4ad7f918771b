"""Where messages come from: sockets, with descriptors that nobody wants, and the kernel."""
from __future__ import annotations

import array
import fcntl
import os
import socket
from collections.abc import Iterator
from errno import EINVAL, EPIPE
from pathlib import Path

import pytest

from supervisor.agents.receive import journal, syslog
from supervisor.agents.receive.cursor import Cursor
from supervisor.agents.receive.datagrams import Datagrams, bind
from supervisor.agents.receive.kernel import Kernel
from supervisor.agents.receive.sender import Senders, key, top

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "log")


@pytest.fixture
def messages(path: str) -> Iterator[Datagrams]:
    source = Datagrams(bind(path), "journal", journal.parse, Senders(), journal.sealed)
    yield source
    source.close()


def memfd(data: bytes, seals: int) -> int:
    fd = os.memfd_create("message", os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def send(path: str, data: bytes, *fds: int) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(path)
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sock.sendmsg([data], control)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_who_sent_a_message_is_what_the_kernel_says(messages: Datagrams, path: str) -> None:
    send(path, b"MESSAGE=hello\nSYSLOG_PID=1\n_PID=1\n")
    assert messages.read(10)[0] | {"unit": None} == {
        "priority": 6, "facility": None, "message": "hello", "said_pid": 1, "left_out": 1,
        "ident": Path("/proc/self/comm").read_text().strip(), "pid": os.getpid(),
        "uid": os.getuid(), "unit": None, "source": "journal"}
    assert messages.read(10) == []


def test_a_large_message_comes_in_a_sealed_memfd(messages: Datagrams, path: str) -> None:
    fd = memfd(b"MESSAGE=" + b"x" * 300_000 + b"\n", SEALS)
    before = descriptors()
    send(path, b"", fd)
    found = messages.read(10)[0]
    assert found["message"] == "x" * 48 * 1024
    assert found["cut"] == 300_000
    assert descriptors() == before
    os.close(fd)


def test_other_files_are_not_read_and_no_descriptor_stays_open(
    messages: Datagrams, path: str, tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    plain = os.open(tmp_path, os.O_RDONLY)
    unsealed = memfd(b"MESSAGE=no\n", 0)
    before = descriptors()
    for fds in ((reader,), (writer,), (plain,), (unsealed,), (unsealed,) * 3, (reader,) * 200):
        send(path, b"", *fds)
        found = messages.read(10)
        assert [one["message"].partition(":")[0] for one in found] == [
            "cannot read what was sent in a file"]
        assert found[0]["pid"] == os.getpid()
    send(path, b"MESSAGE=with one\n", unsealed)
    assert messages.read(10)[0]["message"] == "with one"
    assert descriptors() == before
    for fd in (reader, writer, plain, unsealed):
        os.close(fd)


def test_what_comes_faster_than_it_is_read_comes_later(messages: Datagrams, path: str) -> None:
    for number in range(8):
        send(path, b"MESSAGE=%d\n" % number)
    assert [one["message"] for one in messages.read(5)] == ["0", "1", "2", "3", "4"]
    assert [one["message"] for one in messages.read(5)] == ["5", "6", "7"]


def test_a_path_is_taken_over_from_who_is_gone_and_from_nobody_else(
    path: str, tmp_path: Path
) -> None:
    first = bind(path)
    with pytest.raises(OSError, match="in use"):
        bind(path)
    first.close()
    bind(path).close()
    (tmp_path / "file").write_text("precious")
    with pytest.raises(OSError, match="in use"):
        bind(str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "precious"


# --- whose process it is ---


@pytest.mark.parametrize("group,found", [
    ("/top/web", "web"), ("/top/web@3", "web/3"), ("/top/+slice/+deeper/web@0/its/own", "web/0"),
    ("/elsewhere/web", None), ("/topper/web", None), ("/top", None), ("/", None), ("", None),
])
def test_a_unit_is_found_by_the_group_beside_our_own(group: str, found: str | None) -> None:
    for own in ("/top/syslog", "/top/+system/syslog"):
        assert key(group, top(own)) == found


def test_without_a_group_of_our_own_nobody_is_a_unit() -> None:
    assert top("") is None
    assert key("/top/web", None) is None


def test_a_process_that_is_gone_is_nobody(tmp_path: Path) -> None:
    for pid, group in (("self", "/top/syslog"), ("7", "/top/web")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cgroup").write_text(f"1:name=x:/\n0::{group}\n")
        (tmp_path / pid / "comm").write_text("nginx\n")
    senders = Senders(str(tmp_path))
    assert senders.find(7) == ("web", "nginx")
    assert senders.find(8) == (None, "")
    assert senders.find(0) == (None, "")


# --- the kernel's log ---


class Device:
    """What read(2) of /dev/kmsg does, one thing after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: list[bytes | OSError] = []
        monkeypatch.setattr(os, "read", self._read)

    def _read(self, _fd: int, _size: int) -> bytes:
        if not self.answers:
            raise BlockingIOError
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    def has(self, *numbers: int) -> None:
        self.answers += [b"6,%d,1000,-;record %d\n" % (number, number) for number in numbers]


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    return Device(monkeypatch)


def opened(tmp_path: Path, boot: str = "boot-1") -> Kernel:
    return Kernel("/dev/null", Cursor(str(tmp_path / "cursor"), boot))


def told(source: Kernel) -> list[str]:
    found = [one["message"] for one in source.read(100)]
    source.written()
    return found


def test_records_are_told_once_across_restarts_and_anew_after_a_boot(
    device: Device, tmp_path: Path
) -> None:
    device.has(500, 501)
    first = opened(tmp_path)
    assert told(first) == ["record 500", "record 501"], "what was before is nobody's loss"
    first.close()
    device.has(500, 501, 502)
    second = opened(tmp_path)
    assert told(second) == ["record 502"]
    second.close()
    device.has(0, 1)
    third = opened(tmp_path, "boot-2")
    assert told(third) == ["record 0", "record 1"]
    third.close()


def test_what_was_overwritten_is_told_with_how_many(device: Device, tmp_path: Path) -> None:
    source = opened(tmp_path)
    device.has(5)
    device.answers.append(OSError(EPIPE, "overwritten"))
    device.has(9)
    device.answers.append(OSError(EINVAL, "too long"))
    device.answers.append(b"nonsense")
    device.has(10)
    lost = "3 records of the kernel's log were overwritten before they were read"
    too_long = (
        "cannot read a record of the kernel's log: it is longer than any may be; it is left out")
    assert told(source) == ["record 5", lost, "record 9", too_long, "record 10"]
    source.close()
    device.has(14)
    again = opened(tmp_path)
    assert told(again)[0].startswith("3 records"), "also what was lost while nobody read"
    again.close()


def test_records_that_were_not_written_yet_are_told_again(device: Device, tmp_path: Path) -> None:
    device.has(1, 2)
    first = opened(tmp_path)
    assert len(first.read(1)) == 1
    first.written()
    assert len(first.read(1)) == 1
    first.close()
    device.answers = []
    device.has(1, 2)
    second = opened(tmp_path)
    assert told(second) == ["record 2"]
    second.close()


@pytest.mark.parametrize(
    "text", ["", "boot-1", "boot-1 x\n", "boot-1 5 6\n", "\xff\xfe", "boot-2 5"])
def test_a_cursor_that_is_none_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "cursor").write_text(text, encoding="latin-1")
    cursor = Cursor(str(tmp_path / "cursor"), "boot-1")
    assert cursor.sequence == -1
    cursor.save(7)
    cursor.close()
    assert Cursor(str(tmp_path / "cursor"), "boot-1").sequence == 7


def test_syslog_and_journal_entries_carry_their_source(path: str) -> None:
    source = Datagrams(bind(path), "syslog", syslog.parse, Senders())
    send(path, b"<11>app: broken")
    entry = source.read(1)[0]
    assert (entry["source"], entry["ident"], entry["priority"]) == ("syslog", "app", 3)
    send(path, b"")
    assert source.read(1) == [], "nothing was said"
    source.close()
