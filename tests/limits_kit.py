"""What tests of [limits] with a whole supervisor share."""
from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.stack import Stack

MIB = 1 << 20
PYTHON = f"{sys.executable} -I -S -c"
SLEEP = 'command = ["/bin/sleep", "1000"]\n'
HOG = "b = []\nwhile True: b.append(bytearray(b'x' * 1000000))"
SPIN = "while True: pass"


def service(code: str, rest: str) -> str:
    words = ", ".join(map(json.dumps, [*PYTHON.split(), code]))
    return f"command = [{words}]\n{rest}"


def hog_after(path: Path) -> str:
    """The hog, as soon as there is such a file."""
    wait = f"import os, time\nwhile not os.path.exists({str(path)!r}): time.sleep(0.01)"
    return f"{wait}\n{HOG}"


def need(controller: str) -> None:
    """Skip where this host gives us no such controller, in either version."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    names = {"io": "blkio"}
    for line in lines:
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        mount = left.split()[4]
        here = names.get(controller, controller) in options.split(",")
        if kind == "cgroup" and here and os.access(mount, os.W_OK):
            return
        if kind == "cgroup2":
            own = Path("/proc/self/cgroup").read_text().splitlines()[-1].partition("::")[2]
            have = Path(f"{mount}{own}/cgroup.controllers")
            if have.exists() and controller in have.read_text().split():
                return
    pytest.skip(f"no {controller} controller is ours here")


def own_groups(pid: int) -> dict[str, Path]:
    """Controller -> directory of the v1 group that a process is in."""
    mounts = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind == "cgroup":
            for name in options.split(","):
                mounts[name] = (left.split()[4], left.split()[3])
    found = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for name in filter(None, names.split(",")):
            if name in mounts:
                mount, root = mounts[name]
                found[name] = Path(mount + path.removeprefix(root if root != "/" else ""))
    return found


def limit_of(stack: Stack, key: str, v2: str, v1: str, controller: str) -> str:
    """What the kernel has written in the file of a limit."""
    described = stack.call("Describe", unit=key)
    unified = Path(described["cgroup"]) / v2
    if unified.exists():
        return unified.read_text().strip()
    group = own_groups(described["status"]["pid"])[controller]
    assert group.name == key.replace("/", "@"), group
    return (group / v1).read_text().strip()


def memory_limit(stack: Stack, key: str) -> str:
    return limit_of(stack, key, "memory.max", "memory.limit_in_bytes", "memory")


def usage(stack: Stack, key: str) -> dict[str, Any]:
    found = stack.call("Describe", unit=key)["status"]["usage"]
    assert isinstance(found, dict)
    return found
