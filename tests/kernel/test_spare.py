"""Descriptors kept back: what is opened for a moment can be opened with none left."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
from collections.abc import Iterator

import pytest

from supervisor.kernel import spare
from supervisor.kernel.host import read

KEPT = 4


def look() -> int:
    return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)


@pytest.fixture
def null() -> Iterator[int]:
    """A descriptor to copy; before and afterwards nothing is kept."""
    keep_none()
    fd = look()
    yield fd
    os.close(fd)
    keep_none()


def keep_none() -> None:
    while spare._held:
        os.close(spare._held.pop())


@contextlib.contextmanager
def none_left() -> Iterator[list[int]]:
    """Every number below the limit is taken, and none above is: so each that is closed is room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    gc.collect()  # what other tests forgot to close would make room in the midst of it
    fill = [look()]
    try:
        highest = max(map(int, os.listdir("/proc/self/fd")))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        with contextlib.suppress(OSError):  # EMFILE, sooner or later
            while True:
                fill.append(look())
        yield fill
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in fill:
            os.close(fd)


def test_with_none_left_as_many_can_be_used_as_were_kept(null: int) -> None:
    spare.keep(null)
    with none_left() as taken:
        for _ in range(KEPT):
            taken.append(spare.use(look))
        with pytest.raises(OSError, match="Too many open files"):
            spare.use(look)


def test_what_is_closed_again_can_be_had_for_ever(null: int) -> None:
    spare.keep(null)
    with none_left():
        for _ in range(3 * KEPT):
            assert read("/proc/self/stat")
            spare.keep(null)


def test_other_errors_cost_none(null: int) -> None:
    spare.keep(null)
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        spare.use(os.open, "/nowhere", os.O_RDONLY)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_keeping_takes_what_there_is(null: int) -> None:
    with none_left() as taken:
        spare.keep(null)
        os.close(taken.pop())
        spare.keep(null)
        with pytest.raises(OSError, match="Too many open files"):
            look()
        taken.append(spare.use(look))
