"""Room for the pipes of one datagram: told before it is taken."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator

import pytest

from supervisor.kernel.wire import MAX_FDS
from supervisor.logger.room import Room

MOST = 200


@pytest.fixture
def taken() -> Iterator[list[int]]:
    """Descriptors to fill, with a limit that is soon reached."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fds = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (MOST, hard))
    yield fds
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for fd in fds:
        os.close(fd)


def test_there_is_room_until_a_datagram_might_not_fit(taken: list[int]) -> None:
    room = Room(MOST)
    while room.is_there(taken[0]):
        taken.append(os.dup(taken[0]))
    free = MOST - 1 - max(taken)
    assert free == MAX_FDS - 1
    os.close(taken.pop())
    assert room.is_there(taken[0])


def test_there_is_none_while_the_limit_is_lower(taken: list[int]) -> None:
    room = Room(MOST)
    assert room.is_there(taken[0])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (MOST // 2, hard))
    assert not room.is_there(taken[0])
    resource.setrlimit(resource.RLIMIT_NOFILE, (MOST, hard))
    assert room.is_there(taken[0])
