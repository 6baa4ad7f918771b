from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count

import pytest

from supervisor.kernel import cgroup
from tests.kernel.kit import Groups, Reaper

_number = count()


@pytest.fixture
def groups() -> Iterator[Groups]:
    """Groups of our own, gone afterwards; skips where there is no cgroup v2 to write to."""
    tracker, why_not = cgroup.find(f"unboxed-test-{os.getpid()}-{next(_number)}")
    if tracker is None:
        pytest.skip(f"no cgroups: {why_not}")
    made = Groups(tracker)
    yield made
    made.clear()
    assert not os.path.exists(os.path.dirname(tracker.base))


@pytest.fixture
def reaper() -> Iterator[Reaper]:
    made = Reaper()
    yield made
    made.close()
