"""Each test in a network namespace of its own."""
from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.network.kit import Place, pyroute2

CLONE_NEWNET = 0x40000000


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    if os.geteuid() != 0:
        pytest.skip("needs root: a network namespace")
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    if libc.unshare(CLONE_NEWNET):
        os.close(home)
        pytest.skip(f"no network namespace: {os.strerror(ctypes.get_errno())}")
    made = None
    try:
        made = Place(tmp_path)
        yield made
    finally:
        if made is not None:
            made.ip.close()
        assert libc.setns(home, CLONE_NEWNET) == 0
        os.close(home)


@pytest.fixture
def cables(place: Place) -> Place:
    try:
        place.cable(0)
        place.cable(1)
    except pyroute2.NetlinkError as error:
        pytest.skip(f"this kernel has no veth: {error}")
    for name in ("b0", "b1"):
        place.ip.link("set", index=place.index(name), state="up")
    return place
