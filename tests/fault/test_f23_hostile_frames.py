"""Fault 23: random and hostile frames neither end the keeper nor touch a service."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import struct

import pytest

from supervisor.kernel import wire
from tests.keeper.keeperclient import (
    Keeper,
    Peer,
    execute,
    frame,
    log_step,
    open_fds,
    plan,
    step,
    text,
    wait_until,
)

# These do what they say.
FORBIDDEN = {wire.TO_KEEPER[name] for name in ("EXIT", "EXIT_BY", "REEXEC")}
EMSGSIZE, EINVAL = 90, 22


def everything(number: int) -> list[bytes]:
    """One good frame of each kind, none of which concerns launch 1."""
    steps = log_step("noise") + step("FD", "i", 5, texts=["held"]) + step("SENT_FD", "iI", 6, 0)
    return [
        frame("SPAWN", number, text(f"noise{number}") + plan("/bin/true", steps=steps), 1),
        frame("SIGNAL", number, struct.pack("<iI", 15, 0)),
        frame("ACK", number),
        frame("PUT", number, text("held"), 1),
        frame("GET", number, text("held")),
        frame("DROP", number, text("held")),
        frame("STREAM", number, text("noise") + text("keep=1")),
        frame("PONG", number),
        frame("ADOPT", number, struct.pack("<i", 1)),
        frame("HELLO", number, struct.pack("<I", 1)),
        execute("/bin/true"),
    ]


def mutated(data: bytes, source: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(source.choice([0, 1, 1, 2, 8])):
        kind, at = source.randrange(5), source.randrange(len(changed) or 1)
        if kind == 0 and changed:
            changed[at] = source.randrange(256)
        elif kind == 1:
            del changed[at : at + source.randrange(8)]
        elif kind == 2:
            changed[at:at] = source.randbytes(source.randrange(8))
        elif kind == 3 and len(changed) >= 4:
            struct.pack_into(
                "<I",
                changed,
                at % (len(changed) - 3),
                source.choice([0, 1, 15, 16, 255, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]),
            )
        else:
            changed += changed[at:]
    return bytes(changed)


def harmless(data: bytes) -> bool:
    """Whether no frame in it would end the keeper or signal launch 1, in any reading."""
    for at in range(max(len(data) - 15, 0)):
        op, _, tag = struct.unpack_from("<HHQ", data, at + 4)
        if op in FORBIDDEN or (op == wire.TO_KEEPER["SIGNAL"] and tag == 1):
            return False
    return len(data) < wire.MAX_FRAME


def drain(manager: Peer) -> None:
    manager.sock.setblocking(False)
    try:
        while True:
            manager.fetch()
    except BlockingIOError:
        pass
    finally:
        manager.sock.settimeout(20)
    for got in manager.queue:
        for fd in got.fds:
            os.close(fd)
    manager.queue.clear()


@pytest.mark.parametrize("seed", range(4))
def test_random_frames_change_nothing(seed: int) -> None:
    source = random.Random(seed)
    with Keeper() as keeper, open("/dev/null", "rb") as file:
        manager = keeper.manager()
        service = manager.run(1, "service", plan("/bin/sleep", "1000"))
        manager.hello()
        keeper.logger()  # its socket is among them
        fds = open_fds(keeper.pid)
        number = 10
        for _ in range(3000):
            number += source.randrange(2)
            if source.random() < 0.3:
                data = source.randbytes(source.randrange(200))
            else:
                data = mutated(
                    b"".join(source.sample(everything(number), source.randrange(1, 4))), source
                )
            if data and harmless(data):
                manager.send(data, fds=[file.fileno()] * source.choice([0, 0, 1, 1, 2, 32]))
            drain(manager)
        drain(manager)
        assert manager.drop("*") == 0

        def only_service() -> bool:
            children, _, _ = manager.hello()
            for child in children:
                if child.launch != 1:
                    manager.send(frame("ACK", child.launch))
            drain(manager)
            return [(c.key, c.pid) for c in children] == [("service", service)]

        wait_until(only_service)
        wait_until(lambda: manager.get("nothing") == -2 and open_fds(keeper.pid) == fds)
        assert keeper.process.poll() is None


def test_manager_that_dies_leaves_thousands_of_wrong_frames() -> None:
    """They are all looked at, and answered to nobody."""
    with Keeper() as keeper, open("/dev/null", "rb") as file:
        manager = keeper.manager()
        service = manager.run(1, "service", plan("/bin/sleep", "1000"))
        manager.hello()
        keeper.logger()
        before = len(open_fds(keeper.pid))
        os.kill(keeper.pid, signal.SIGSTOP)
        manager.sock.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError, OSError):  # full, or too many descriptors
            for _ in range(4000):
                manager.send(b"x", fds=[file.fileno()] * 33)
                sent += 1
        with contextlib.suppress(BlockingIOError):
            for _ in range(4000):
                manager.send(b"x")
                sent += 1
        os.kill(manager.pid, signal.SIGKILL)
        manager.sock.close()
        os.kill(keeper.pid, signal.SIGCONT)
        second = keeper.manager()
        assert sent > 100
        assert [c.pid for c in second.hello()[0]] == [service]
        wait_until(lambda: len(open_fds(keeper.pid)) == before)


def test_each_kind_of_wrong_frame_is_answered() -> None:
    with Keeper() as keeper, open("/dev/null", "rb") as file:
        manager = keeper.manager()
        null = file.fileno()

        def answered(data: bytes, count: int = 0) -> int:
            manager.send(data, fds=[null] * count)
            return manager.expect("RESULT").ints("i")[0]

        assert answered(b"x") == EMSGSIZE
        assert answered(frame("PONG")[:-1]) == EMSGSIZE
        assert answered(struct.pack("<IHHQ", 15, 9, 0, 0)) == EMSGSIZE
        assert answered(struct.pack("<IHHQ", 0xFFFFFFFF, 9, 0, 0)) == EMSGSIZE
        assert answered(frame("PONG") + b"rest") == EMSGSIZE
        assert answered(frame(0)) == EINVAL
        assert answered(frame(999)) == EINVAL
        assert answered(frame("PONG", 0, b"more")) == EINVAL
        assert answered(frame("HELLO", 0, b"abc")) == EINVAL
        assert answered(frame("HELLO", 0, struct.pack("<I", 77))) == 93  # EPROTONOSUPPORT
        assert answered(frame("GET", 0, b"no end")) == EINVAL
        assert answered(frame("GET", 0, text("a") + b"more")) == EINVAL
        assert answered(frame("PUT", 0, text("a"), 1)) == EINVAL
        assert answered(frame("PUT", 0, text("a"), 2), 2) == EINVAL
        assert answered(frame("PONG", 0, b"", 1), 1) == EINVAL
        assert answered(frame("PONG", 0, b"", 9), 1) == EINVAL
        assert answered(frame("PONG"), 33) == EINVAL
        manager.send(b"x" * 200_000)
        assert manager.expect("RESULT").ints("i")[0] == EMSGSIZE
        before = open_fds(keeper.pid)
        manager.send(frame("PONG"), frame("GET", 3, text("x")), fds=[null] * 5)  # that nobody takes
        assert manager.expect("RESULT", tag=3).ints("i")[0] == 2  # ENOENT
        manager.get("nothing")
        assert open_fds(keeper.pid) == before
        assert keeper.said() == ""
