"""Fault 52: a dynamic id that is dealt out again opens none of its former owner's files."""
from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.kernel.sandbox import dynamic
from supervisor.kernel.sandbox.facts import facts
from tests.kernel.kit import in_child
from tests.stack import Stack

pytestmark = pytest.mark.skipif(not facts().root, reason="needs root in the first user namespace")
TRIES = 20  # other supervisors of this host may be given the id first


@pytest.fixture
def state() -> Iterator[str]:
    """The name of a state directory that only this test has."""
    name = f"unboxed-test-{os.getpid()}"
    yield name
    top = Path("/var/lib")
    shutil.rmtree(top / "private" / name, ignore_errors=True)
    (top / name).unlink(missing_ok=True)


def owner(state: str, level: str) -> str:
    """Adds a line that anybody may read, as far as its own mode says, to a file in its state."""
    script = "umask 0; echo line >> $STATE_DIRECTORY/file; exec sleep 1000"
    return (
        f"command = ['/bin/sh', '-c', '{script}']\nuser = 'dynamic'\n"
        f"[sandbox]\nlevel = '{level}'\nstate = ['{state}']\n"
    )


def uid(stack: Stack, key: str) -> int:
    return os.stat(f"/proc/{stack.row(key)['pid']}").st_uid


def opens(paths: list[str]) -> list[str]:
    """What of these can be opened, by whoever asks."""
    found = []
    for path in paths:
        try:
            os.close(os.open(path, os.O_RDONLY))
        except OSError:
            continue
        found.append(path)
    return found


def test_it_leaves_nothing_where_others_look(tmp_path: Path) -> None:
    """At level base too: no file, no set-user-id program (CVE-2019-3843, CVE-2019-3844)."""
    tops = ["/tmp", "/var/tmp", "/dev/shm"]
    name = f"unboxed-test-{os.getpid()}"
    script = f"for d in {' '.join(tops)}; do cp /bin/true $d/{name} && chmod 4755 $d/{name}; done"
    text = f"command = ['/bin/sh', '-c', '{script}; exec sleep 1000']\nuser = 'dynamic'\n"
    with Stack(tmp_path, {"one": text}) as stack:
        pid = stack.wait("one", "running")["pid"]
        stack.until(lambda: os.path.basename(os.readlink(f"/proc/{pid}/exe")) == "sleep", "it")
        assert os.path.exists(f"/proc/{pid}/root/var/tmp/{name}")
        assert not [top for top in tops if os.path.exists(f"{top}/{name}")]


@pytest.mark.parametrize("level", ["base", "app"])
def test_the_next_owner_of_an_id_opens_no_file_of_the_last(
    level: str, state: str, tmp_path: Path
) -> None:
    after = 'command = ["/bin/sleep", "1000"]\nuser = "dynamic"\n'
    units = {"first": owner(state, level), "second": after}
    paths = [f"/var/lib/{state}", f"/var/lib/{state}/file", f"/var/lib/private/{state}/file"]
    with Stack(tmp_path, units, start=["first"]) as stack:
        stack.wait("first", "running")
        number = uid(stack, "first")
        file = Path(paths[2])
        stack.until(lambda: file.exists() and file.read_text(), "its file")
        assert file.stat().st_uid != number  # on disk it is nobody's who runs
        assert opens(paths) == paths  # root does
        stack.call("Stop", units=["first"])
        stack.wait("first", "stopped")
        before = str(number - 1 if number > dynamic.FIRST else dynamic.LAST)
        for _ in range(TRIES):  # as after all others had their turn
            Path(dynamic.DIRECTORY, "1", "last").write_text(before)
            stack.call("Start", units=["second"])
            stack.wait("second", "running")
            if uid(stack, "second") == number:
                break
            stack.call("Stop", units=["second"])
            stack.wait("second", "stopped")
        else:
            pytest.skip("another supervisor has that id now")
        assert in_child(lambda: opens(paths), number) == []
        stack.call("Start", units=["first"])
        stack.wait("first", "running")
        assert uid(stack, "first") != number
        stack.until(lambda: file.read_text() == "line\nline\n", "its old file under its new id")
