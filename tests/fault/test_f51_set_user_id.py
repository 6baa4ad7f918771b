"""Fault 51: a file with the set-user-id bit, the set-group-id bit or capabilities, left behind by a
dynamic user for whoever gets its id next (CVE-2019-3843, CVE-2019-3844): it cannot be made, and one
that is there is worth nothing to anybody."""
from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.kernel.sandbox.facts import facts
from tests.kernel.kit import in_child
from tests.scenario.sandbox.kit import written
from tests.stack import Stack

pytestmark = pytest.mark.skipif(not facts().root, reason="needs root in the first user namespace")
PYTHON = "/usr/bin/python3"
TOP = Path("/var/lib")

MAKE = """
import json, os, shutil, struct
at = os.environ["STATE_DIRECTORY"] + "/"
seen = {}
def tried(name, what, *arguments):
    try:
        what(*arguments)
        seen[name] = "ok"
    except OSError as error:
        seen[name] = error.strerror
shutil.copy("/usr/bin/id", at + "id")
seen["id"] = os.stat(at + "id").st_uid == os.getuid()
tried("mode", os.chmod, at + "id", 0o755)
for name, mode in (("user", 0o4755), ("group", 0o2755), ("both", 0o6755)):
    tried(name, os.chmod, at + "id", mode)
    tried(name + " by descriptor", os.fchmod, os.open(at + "id", os.O_RDONLY), mode)
    tried(name + " at once", os.open, at + "new " + name, os.O_WRONLY | os.O_CREAT, mode)
os.mkdir(at + "folder", 0o6755)  # the kernel drops the bits
tried("node", os.mknod, at + "null", 0o20666, os.makedev(1, 3))
capability = struct.pack("<IIIII", 0x02000001, 1 << 7, 0, 0, 0)
tried("capability", os.setxattr, at + "id", "security.capability", capability)
seen["bits"] = sorted(name for name in os.listdir(at) if os.stat(at + name).st_mode & 0o6000)
seen["effective"] = int(os.popen(at + "id -u").read()) - os.getuid()
seen["capabilities"] = [line for line in open("/proc/self/status") if line.startswith("CapEff")]
print(json.dumps(seen))
"""


@pytest.fixture
def state() -> Iterator[str]:
    """The name of a state directory that only this test has."""
    name = f"unboxed-test-{os.getpid()}"
    yield name
    shutil.rmtree(TOP / "private" / name, ignore_errors=True)
    (TOP / name).unlink(missing_ok=True)


def unit(state: str, level: str, script: Path) -> str:
    return (
        f'kind = "task"\nautostart = false\nuser = "dynamic"\ncommand = ["{PYTHON}", "-I", '
        f'"{script}"]\n[sandbox]\nlevel = "{level}"\nstate = ["{state}"]\n'
    )


def made(home: Path, state: str, level: str) -> dict[str, Any]:
    home.chmod(0o755)
    script = Path("/run") / f"{state}.py"
    script.write_text(MAKE)
    script.chmod(0o644)
    try:
        with Stack(home, {"maker": unit(state, level, script)}) as stack:
            stack.call("Start", units=["maker"], wait=True)
            found: dict[str, Any] = json.loads(written(stack, "maker", "}\n"))
            return found
    finally:
        script.unlink()


def test_level_app_makes_none(state: str, tmp_path: Path) -> None:
    seen = made(tmp_path, state, "app")
    denied = "Operation not permitted"
    assert (seen["id"], seen["mode"], seen["bits"], seen["effective"]) == (True, "ok", [], 0)
    for name in ("user", "group", "both"):
        assert seen[name] == seen[f"{name} by descriptor"] == denied
        assert seen[f"{name} at once"] == denied
    assert seen["node"] == seen["capability"] == denied


def test_at_level_base_it_is_worth_nothing(state: str, tmp_path: Path) -> None:
    """Without promises the bit can be set: the service itself gains nothing by it, other users do
    not get there, and to root it gives an id that no process has."""
    seen = made(tmp_path, state, "base")
    assert seen["user"] == "ok"
    assert "id" in seen["bits"]
    assert seen["effective"] == 0
    assert seen["node"] == seen["capability"] == "Operation not permitted"
    program = TOP / "private" / state / "id"
    program.chmod(0o6755)  # the best that it could have made
    paths = [str(TOP / state / "id"), str(program)]
    assert in_child(lambda: [os.access(path, os.F_OK) for path in paths]) == [True, True]
    assert in_child(lambda: [os.access(path, os.F_OK) for path in paths], 65534) == [False, False]
    owner = program.stat().st_uid
    assert owner != 0
    assert not any(owner == uid for uid in _running())


def _running() -> set[int]:
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found.add(os.stat(f"/proc/{name}").st_uid)
            except OSError:
                continue
    return found
