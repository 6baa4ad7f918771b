"""sd_notify datagrams: what is believed, what is dropped, and that no descriptor is left."""

from __future__ import annotations

import array
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.kernel import notify
from tests.kernel.kit import NOBODY, in_child

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changing the user needs root")


class Box:
    """An instance's notify socket, and a service that writes to it."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.fd = notify.open_socket(self.path, -1, -1)
        self.sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)

    def send(self, data: bytes, fds: list[int] | None = None) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds or []))]
        self.sender.sendmsg([data], rights if fds else [], 0, self.path)

    def take(self) -> notify.Message | None:
        message = notify.peek(self.fd)
        if message is not None:
            notify.drop(self.fd)
        return message


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path / "notify")
    before = open_fds()
    yield made
    assert open_fds() == before, "descriptors are left"
    made.sender.close()
    os.close(made.fd)


def open_fds() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_a_message_comes_with_its_senders_ids(box: Box) -> None:
    box.send(b"READY=1\nSTATUS=two words")
    message = box.take()
    assert message is not None
    assert message == (os.getpid(), os.geteuid(), {"READY": "1", "STATUS": "two words"}, [], False)
    assert box.take() is None


def test_a_message_stays_until_it_is_dropped(box: Box) -> None:
    box.send(b"READY=1")
    box.send(b"STATUS=next")
    first = notify.peek(box.fd)
    assert first == notify.peek(box.fd)
    notify.drop(box.fd)
    second = box.take()
    assert second is not None
    assert second.fields == {"STATUS": "next"}
    notify.drop(box.fd)  # of nothing
    assert box.take() is None


def test_descriptors_arrive_closed_on_exec_and_are_the_receivers(box: Box) -> None:
    reader, writer = os.pipe()
    box.send(b"FDSTORE=1\nFDNAME=x", [reader, writer])
    message = box.take()
    assert message is not None
    assert len(message.fds) == 2
    os.write(message.fds[1], b"through")
    assert os.read(reader, 9) == b"through"
    assert not any(map(os.get_inheritable, message.fds))
    notify.close([*message.fds, reader, writer])


def test_253_descriptors_come_through(box: Box) -> None:
    """SCM_MAX_FD: what one message can carry at most."""
    null = os.open("/dev/null", os.O_RDONLY)
    box.send(b"FDSTORE=1", [null] * 253)
    message = box.take()
    assert message is not None
    assert len(set(message.fds)) == 253
    notify.close([*message.fds, null])


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\0", b"READY", b"=1", b"READY=1\nnonsense", b"READY=1\0STATUS=x", b"\xff\xfe=1",
        b"STATUS=\x1b[2J", b"READY=1\r\n", b"A B=1", b"A-B=1",
        b"STATUS=" + b"x" * notify.MAX_BYTES, b"X=" + b"y" * 200_000,
    ],
)  # fmt: skip
def test_what_is_no_message_is_dropped_with_its_descriptors(box: Box, data: bytes) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    box.send(data, [null, null])
    message = box.take()
    assert message is not None
    assert message.fields == {}
    assert message.fds == []
    os.close(null)
    box.send(b"READY=1")
    after = box.take()
    assert after is not None
    assert after.fields == {"READY": "1"}


def test_the_longest_message_is_one(box: Box) -> None:
    box.send(b"STATUS=" + b"x" * (notify.MAX_BYTES - 7))
    message = box.take()
    assert message is not None
    assert len(message.fields["STATUS"]) == notify.MAX_BYTES - 7


def test_a_message_without_credentials_is_from_nobody(tmp_path: Path) -> None:
    """As if the kernel had not been asked for them."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bare:
        bare.bind(str(tmp_path / "bare"))
        bare.setblocking(False)
        null = os.open("/dev/null", os.O_RDONLY)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null]))]
            sender.sendmsg([b"READY=1"], rights, 0, str(tmp_path / "bare"))
        before = open_fds()
        assert notify.peek(bare.fileno()) == (0, -1, {}, [], False)
        assert open_fds() == before
        os.close(null)


@needs_root
def test_only_the_services_user_may_write(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o011 != 0o011:
            folder.chmod(folder.stat().st_mode | 0o011)

    def send() -> str:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            try:
                sock.sendto(b"READY=1", path)
            except PermissionError:
                return "refused"
        return "sent"

    path = str(tmp_path / "notify")
    fd = notify.open_socket(path, NOBODY, NOBODY)
    assert stat.S_IMODE(os.lstat(path).st_mode) == 0o600
    assert in_child(send, NOBODY) == "sent"
    assert in_child(send, 12345) == "refused"
    message = notify.peek(fd)
    assert message is not None
    assert message.uid == NOBODY
    os.close(fd)


def test_the_socket_of_an_earlier_run_is_replaced_and_a_link_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "notify"
    victim.write_text("precious")
    path.symlink_to(victim)
    for _ in range(2):
        os.close(notify.open_socket(str(path), -1, -1))
        assert stat.S_ISSOCK(path.lstat().st_mode)
    assert victim.read_text() == "precious"


# --- the text ---

_NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,20}", fullmatch=True)
_VALUES = st.text(st.characters(codec="utf-8", min_codepoint=0x20)).filter(
    lambda text: not text.endswith("\0")
)


@given(st.binary())
def test_any_bytes_are_fields_or_nothing(data: bytes) -> None:
    for name, value in notify.parse(data).items():
        assert name.isidentifier()
        assert not any(c < " " and c != "\t" for c in value)


@given(st.dictionaries(_NAMES, _VALUES, min_size=1))
def test_fields_are_read_as_they_were_written(fields: dict[str, str]) -> None:
    data = "\n".join(f"{name}={value}" for name, value in fields.items()).encode()
    assert notify.parse(data) == fields
    assert notify.parse(data + b"\n\0\0") == fields, "a C string with its end"


@given(st.dictionaries(_NAMES, _VALUES, min_size=1), st.sampled_from("\0\1\r\v\f\x1b\x1f"))
def test_one_control_character_voids_the_whole(fields: dict[str, str], control: str) -> None:
    name = next(iter(fields))
    damaged = {**fields, name: control + fields[name] + "."}
    data = "\n".join(f"{key}={value}" for key, value in damaged.items()).encode()
    assert notify.parse(data) == {}
