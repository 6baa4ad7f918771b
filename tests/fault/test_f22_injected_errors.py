"""Fault 22: each system call of the keeper fails once: the error is reported, and it recovers."""

from __future__ import annotations

import errno
import shutil
import subprocess
from typing import Self

import pytest

from tests.keeper.keeperclient import Keeper, Peer, frame, log_step, plan, text
from tests.stack import own

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")

# (call, errno, what a launch may be refused with then; 0: it may also succeed)
AT_LAUNCH = [
    ("pipe2", errno.EMFILE, {errno.EMFILE}),
    ("pipe2", errno.ENFILE, {errno.ENFILE}),
    ("open,openat", errno.ENOMEM, {errno.ENOMEM}),
    ("fcntl", errno.EMFILE, {errno.EMFILE}),
    ("wait4", errno.EINTR, {0}),
    ("read", errno.EINTR, {0}),
    ("recvmsg", errno.ENOMEM, {0}),
    ("recvmsg", errno.EINTR, {0}),
    ("sendmsg", errno.ENOBUFS, {0}),
    ("sendmsg", errno.ENOMEM, {0}),
    ("sendmsg", errno.EAGAIN, {0}),
    ("epoll_wait,epoll_pwait", errno.EINTR, {0}),
    ("close", errno.EINTR, {0}),
]


class Injection:
    """strace, attached to the keeper alone (its children are not followed), or to its spawners."""

    def __init__(
        self, keeper: Keeper, calls: str, error: int, when: str, *, spawners: bool = False
    ) -> None:
        spec = f"inject={calls}:error={errno.errorcode[error]}:when={when}"
        self.strace = subprocess.Popen(
            [
                "strace",
                "-p",
                ",".join(map(str, own(keeper.pid) if spawners else [keeper.pid])),
                "-e",
                f"trace={calls}",
                "-e",
                spec,
                "-e",
                "signal=none",
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.strace.stderr
        first = self.strace.stderr.readline()
        if "attached" not in first:
            pytest.skip(f"cannot trace: {first.strip()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.strace.terminate()
        with self.strace:
            assert self.strace.stderr
            self.seen = self.strace.stderr.read()


def attempt(manager: Peer, launch: int) -> int:
    """One launch with a stream of its own; 0 if it ran and ended well, else why it was refused."""
    manager.spawn(launch, f"unit{launch}", plan("/bin/true", steps=log_step(f"unit{launch}")))
    answer = manager.started(launch)
    if answer.op == "REFUSED":
        return answer.ints("i")[0]
    assert answer.op == "EXECED"
    record = manager.exited(launch)
    return record.status


@pytest.mark.parametrize(
    "calls, error, allowed",
    AT_LAUNCH,
    ids=[f"{c}-{errno.errorcode[e]}" for c, e, _ in AT_LAUNCH],
)
def test_launch_reports_an_injected_error_and_the_next_one_works(
    calls: str, error: int, allowed: set[int]
) -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        assert attempt(manager, 1) == 0
        launch = 1
        for when in range(1, 4):
            with Injection(keeper, calls, error, str(when)) as injection:
                results = [attempt(manager, n) for n in range(launch + 1, launch + 4)]
            launch += 4
            assert set(results) <= allowed | {0}, injection.seen
            assert "(INJECTED)" in injection.seen
            if when == 1 and 0 not in allowed:
                assert results[0] == error, injection.seen
            assert attempt(manager, launch) == 0  # and all is well again
        assert manager.hello()[0] == []
        assert keeper.process.poll() is None


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.ENOMEM])
def test_a_spawner_that_can_make_no_child_says_so_and_the_next_launch_works(error: int) -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        assert attempt(manager, 1) == 0
        with Injection(keeper, "clone", error, "1", spawners=True) as injection:
            assert attempt(manager, 2) == error
        assert "(INJECTED)" in injection.seen
        assert attempt(manager, 3) == 0


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.ENOMEM])
def test_a_keeper_that_can_make_no_spawner_says_so_and_the_next_launch_works(error: int) -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        with Injection(keeper, "clone", error, "1") as injection:
            assert attempt(manager, 1) == error
        assert "(INJECTED)" in injection.seen
        assert attempt(manager, 2) == 0


def test_cgroup_that_cannot_be_made_is_reported() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        with open("/dev/null", "rb") as file:
            assert manager.put("cgroup", file.fileno()) == 0
        step = b"\x01\0\0\0\x04\0\0\0" + text("web")
        manager.spawn(1, "web", plan("/bin/true", steps=step))
        assert manager.expect("REFUSED", tag=1).ints("i") == (errno.ENOTDIR,)


@pytest.mark.parametrize("calls", ["socketpair", "clone", "setsockopt", "epoll_ctl", "fcntl"])
def test_peer_that_cannot_be_started_is_tried_again(calls: str) -> None:
    with Keeper() as keeper:
        first = keeper.manager()
        with Injection(keeper, calls, errno.ENOMEM, "1..2"):
            first.sock.close()  # the keeper sees the end of it, and ends the process
            second = keeper.manager()
            second.run(1, "web", plan("/bin/true"))
            second.exited(1)
        assert keeper.process.poll() is None


@pytest.mark.parametrize(
    "calls", ["epoll_create1", "signalfd4", "memfd_create", "ftruncate", "mmap", "prctl"]
)
def test_keeper_that_cannot_begin_says_so(calls: str) -> None:
    """Only before there is anything to lose."""
    inject = [
        "strace",
        "-o",
        "/dev/null",
        "-e",
        f"trace={calls}",
        "-e",
        f"inject={calls}:error=ENOMEM:when=1+",
    ]
    with Keeper(prefix=inject) as keeper:
        assert keeper.process.wait(20) == 1
        assert "cannot start: Cannot allocate memory" in keeper.said()


def test_request_whose_descriptor_cannot_be_taken_is_answered() -> None:
    with Keeper() as keeper:
        manager = keeper.manager()
        with open("/dev/null", "rb") as file:
            with Injection(keeper, "fcntl", errno.EMFILE, "1"):
                manager.send(frame("PUT", 1, text("x"), 1), fds=[file.fileno()])
                assert manager.expect("RESULT").ints("i") == (errno.EMFILE,)
            assert manager.put("x", file.fileno()) == 0
