"""Fault 49: io_uring, x32 and 32-bit calls, clone3, openat2, ptrace and user namespaces, by which
filters were passed: denied to every unit with promises, of any user."""
from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from tests.native import units
from tests.native.boxes import BOXES

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a unit of another user")

# ENOSYS: a C library goes on with the older call. By another ABI's number nothing is answered.
DOORS = {
    "io-uring": "ENOSYS", "clone3": "ENOSYS", "openat2": "ENOSYS", "be-traced": "EPERM",
    "trace-peer": "EPERM", "trace-parent": "EPERM", "read-peer-memory": "EPERM",
    "unshare-user": "EPERM", "clone-user": "EPERM",
}  # fmt: skip
if platform.machine() == "x86_64":
    DOORS |= {"int80": "killed SIGSYS", "x32": "killed SIGSYS"}
# The last has promises that open some of them: the others stay shut.
TRIED = ("app", "app, root", "app, log", "strict, files", "strict, all")
OPENED = {
    "strict, all": ("be-traced", "trace-parent", "unshare-user", "clone-user"),
    # While it is learned, what a word would permit is permitted.
    "app, log": ("be-traced", "trace-parent", "unshare-user", "clone-user", "clone3", "openat2"),
}


def test_doors_past_a_filter_are_shut(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    known = units.host()
    free = known.bare["root"]
    assert "ok" == free["clone3"] == free["openat2"] == free["be-traced"] == free["unshare-user"]
    boxes = {name: BOXES[name] for name in TRIED if not BOXES[name].missing(known)}
    assert {"app", "app, root"} <= boxes.keys()
    seen = units.try_all(tmp_path, boxes)
    for name in boxes:
        shut = {door: end for door, end in DOORS.items() if door not in OPENED.get(name, ())}
        assert {door: seen[name].ends[door] for door in shut} == shut, name
        # Whoever tries the newer call first goes on with the older one.
        assert (seen[name].ends["thread"], seen[name].ends["read"]) == ("ok", "ok"), name
