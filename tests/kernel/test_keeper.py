"""The manager's end of the keeper's socket, with the test as the keeper."""

from __future__ import annotations

import array
import os
import socket
import struct
from collections.abc import Iterator

import pytest

from supervisor.kernel import wire
from supervisor.kernel.keeper import LAUNCHES, Child, Frame, Keeper, KeeperGone, child

Sent = tuple[int, int, bytes, int]  # op, tag, payload, descriptors


class Peer:
    """The keeper's end, with a protocol of its own hand."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(5)

    def datagram(self) -> tuple[list[Sent], list[int]]:
        data, control, flags, _ = self.sock.recvmsg(wire.MAX_FRAME, 4096)
        assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
        fds = array.array("i")
        for _, _, rights in control:
            fds.frombytes(rights)
        frames = []
        while data:
            length, op, count, tag = struct.unpack_from("<IHHQ", data)
            frames.append((op, tag, data[16:length], count))
            data = data[length:]
        return frames, list(fds)

    def send(self, *frames: tuple[str, int, bytes, int], fds: tuple[int, ...] = ()) -> None:
        data = b"".join(
            struct.pack("<IHHQ", 16 + len(payload), wire.TO_MANAGER[op], count, tag) + payload
            for op, tag, payload, count in frames
        )
        socket.send_fds(self.sock, [data], fds)


@pytest.fixture
def ends() -> Iterator[tuple[Keeper, Peer]]:
    mine, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    fds = set(os.listdir("/proc/self/fd"))
    with other:
        keeper = Keeper(mine.detach())
        yield keeper, Peer(other)
        assert set(os.listdir("/proc/self/fd")) == fds, "descriptors are left"
        keeper._socket.close()


def fill(keeper: Keeper) -> int:
    """Send until the socket takes no more; how many frames that made."""
    sent = 0
    while keeper.flush():
        keeper.send("PONG", sent, bytes(60_000))
        sent += 1
    return sent


# --- out ---


def test_what_is_queued_leaves_together(ends: tuple[Keeper, Peer]) -> None:
    keeper, peer = ends
    keeper.hello()
    keeper.signal(7, 15)
    keeper.signal(8, 9, group=True)
    keeper.named("DROP", "listen:x", tag=5)
    keeper.send("ACK", 2**63)
    assert keeper.flush()
    ops = wire.TO_KEEPER
    assert peer.datagram() == ([
        (ops["HELLO"], 0, struct.pack("<I", wire.VERSION), 0),
        (ops["SIGNAL"], 7, struct.pack("<iI", 15, 0), 0),
        (ops["SIGNAL"], 8, struct.pack("<iI", 9, 1), 0),
        (ops["DROP"], 5, b"listen:x\0", 0),
        (ops["ACK"], 2**63, b"", 0),
    ], [])
    assert keeper.flush(), "there is nothing left, which is no error"


def test_a_descriptor_has_a_datagram_of_its_own(ends: tuple[Keeper, Peer]) -> None:
    keeper, peer = ends
    keeper.send("ACK", 1)
    memfd = os.memfd_create("x")
    keeper.put("state", memfd)
    keeper.send("ACK", 2)
    keeper.flush()
    assert peer.datagram() == ([(wire.TO_KEEPER["ACK"], 1, b"", 0)], [])
    frames, fds = peer.datagram()
    assert frames == [(wire.TO_KEEPER["PUT"], LAUNCHES + 1, b"state\0", 1)]
    assert keeper.puts == {LAUNCHES + 1: "state"}
    assert os.path.samestat(os.fstat(fds[0]), os.fstat(memfd))
    assert peer.datagram() == ([(wire.TO_KEEPER["ACK"], 2, b"", 0)], [])
    os.close(fds[0])
    os.close(memfd)


def test_many_frames_become_datagrams_of_a_moderate_size(ends: tuple[Keeper, Peer]) -> None:
    keeper, peer = ends
    for tag in range(1000):
        keeper.send("SPAWN", tag, bytes(200))
    seen = 0
    full = not keeper.flush()
    while seen < 1000:
        frames, _ = peer.datagram()
        assert len(frames) > 1
        assert sum(16 + len(payload) for _, _, payload, _ in frames) <= 48 * 1024
        for _, tag, _, _ in frames:
            assert tag == seen
            seen += 1
        if full:
            full = not keeper.flush()


def test_a_full_socket_loses_nothing_and_keeps_the_order(ends: tuple[Keeper, Peer]) -> None:
    keeper, peer = ends
    count = fill(keeper)
    assert not keeper.flush()
    seen: list[int] = []
    while len(seen) < count:
        seen += [tag for _, tag, _, _ in peer.datagram()[0]]
        keeper.flush()
    assert seen == list(range(count))


def test_a_descriptor_may_be_closed_while_it_still_waits(ends: tuple[Keeper, Peer]) -> None:
    keeper, peer = ends
    waiting = fill(keeper)
    memfd = os.memfd_create("x")
    inode = os.fstat(memfd).st_ino
    keeper.put("state", memfd)
    os.close(memfd)
    while waiting:
        waiting -= len(peer.datagram()[0])
        keeper.flush()
    frames, fds = peer.datagram()
    assert frames == [(wire.TO_KEEPER["PUT"], LAUNCHES + 1, b"state\0", 1)]
    assert keeper.puts == {LAUNCHES + 1: "state"}
    assert os.fstat(fds[0]).st_ino == inode
    os.close(fds[0])


def test_the_largest_frame_leaves_and_a_larger_one_could_not(ends: tuple[Keeper, Peer]) -> None:
    keeper, peer = ends
    keeper._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 40_000)
    small = Keeper(os.dup(keeper.fileno()))
    assert 40_000 < small.max_frame < 100_000
    small.send("SPAWN", 1, bytes(small.max_frame - 16))
    assert small.flush()
    frames, _ = peer.datagram()
    assert len(frames[0][2]) == small.max_frame - 16
    with pytest.raises(OSError, match="Message too long"):
        small._socket.send(bytes(small.max_frame + 1))
    small._socket.close()


def test_a_keeper_that_went_away_is_said_to_be_gone(ends: tuple[Keeper, Peer]) -> None:
    keeper, peer = ends
    peer.sock.shutdown(socket.SHUT_RDWR)
    with pytest.raises(KeeperGone):
        keeper.receive()
    keeper.send("ACK", 1)
    with pytest.raises(KeeperGone):
        keeper.flush()


# --- in ---


def test_nothing_there_is_no_frame(ends: tuple[Keeper, Peer]) -> None:
    assert ends[0].receive() == []


def test_frames_of_one_datagram_come_with_their_own_descriptors(
    ends: tuple[Keeper, Peer]
) -> None:
    keeper, peer = ends
    one, two = os.memfd_create("one"), os.memfd_create("two")
    peer.send(
        ("FD", 1, b"one\0", 1), ("RESULT", 2, bytes(4), 0), ("FD", 3, b"two\0", 1),
        fds=(one, two),
    )  # fmt: skip
    first, plain, second = keeper.receive()
    assert plain == Frame("RESULT", 2, bytes(4), ())
    assert (first.op, first.tag, first.payload) == ("FD", 1, b"one\0")
    for mine, frame in ((one, first), (two, second)):
        assert len(frame.fds) == 1
        assert os.path.samestat(os.fstat(mine), os.fstat(frame.fds[0]))
        assert not os.get_inheritable(frame.fds[0])
        os.close(frame.fds[0])
        os.close(mine)


def test_descriptors_that_no_frame_claims_are_closed(ends: tuple[Keeper, Peer]) -> None:
    keeper, peer = ends
    memfd = os.memfd_create("x")
    peer.send(("PING", 0, b"", 0), fds=(memfd, memfd))
    assert keeper.receive() == [Frame("PING", 0, b"", ())]
    os.close(memfd)


@pytest.mark.parametrize(
    "data, ops",
    [
        (b"x", []),
        (struct.pack("<IHHQ", 16, 999, 0, 4), [""]),  # a later keeper's
        (struct.pack("<IHHQ", 0, 40, 0, 4) * 2, ["PING", "PING"]),
        (struct.pack("<IHHQ", 2**32 - 1, 40, 3, 4), ["PING"]),
        (struct.pack("<IHHQ", 16, 40, 0, 4) + b"rest", ["PING"]),
    ],
)
def test_what_cannot_be_read_is_not_there(
    ends: tuple[Keeper, Peer], data: bytes, ops: list[str]
) -> None:
    keeper, peer = ends
    peer.sock.send(data)
    assert [frame.op for frame in keeper.receive()] == ops
    peer.send(("PING", 5, b"", 0))
    assert keeper.receive() == [Frame("PING", 5, b"", ())]


def test_a_child_is_read_field_by_field() -> None:
    layout = struct.pack("<iIQQiiIIIhh", 123, 2, 10**15, 2**63, 1, -7, 11, 12, 13, 21, 2)
    assert len(layout) == 48
    frame = Frame("EXITED", 2**40, layout + b"web/0\0", ())
    assert child(frame) == Child(
        launch=2**40, key="web/0", pid=123, state=2, started_ns=10**15, ended_ns=2**63, code=1,
        status=-7, user_ms=11, system_ms=12, peak_kib=13, step=21, error=2,
    )  # fmt: skip
