"""Fault 50: a working directory by way of somebody's descriptors leads out of a view
(CVE-2024-21626): refused, also behind symbolic links; and where a service is, is inside."""
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenario.sandbox.kit import written
from tests.stack import Stack

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a unit's own view")
LEVELS = {
    "app": '[sandbox]\nlevel = "app"\n',
    "hide": '[sandbox]\nread = ["/usr", "/lib", "/lib64", "/bin"]\n',
    "strict": '[sandbox]\nlevel = "strict"\npromises = ["stdio", "rpath"]\nread = ["/usr"]\n',
}


@pytest.fixture
def links(tmp_path: Path) -> Iterator[Path]:
    """Of root's, where a view has them too."""
    folder = Path("/run") / f"unboxed-test-{os.getpid()}"
    folder.mkdir()
    try:
        (folder / "link").symlink_to("/proc/self/fd/7")
        (folder / "again").symlink_to("link")
        (folder / "root").symlink_to("/proc/1/root")
        (folder / "inner").mkdir()
        yield folder
    finally:
        for path in folder.iterdir():
            path.rmdir() if path.name == "inner" else path.unlink()
        folder.rmdir()


def unit(directory: str, keys: str, *command: str) -> str:
    words = list(command or ("/bin/pwd", "-P"))
    return (
        f'kind = "task"\nautostart = false\ncommand = {words}\ndirectory = "{directory}"\n'
        f'[restart]\nwhen = "never"\n{keys}'
    ).replace("'", '"')


@pytest.mark.parametrize("level", LEVELS)
def test_a_descriptor_is_no_working_directory(level: str, links: Path, tmp_path: Path) -> None:
    names = [f"/proc/self/fd/{fd}" for fd in range(3, 20)]
    names += ["/proc/thread-self/fd/7", "/dev/fd/8", str(links / "link"), str(links / "again"),
              str(links / "link/.."), "/proc/1/root", "/proc/1/cwd", "/proc/self/root/proc/self/fd"]
    names.append(str(links / "root"))
    units = {f"to{n}": unit(name, LEVELS[level]) for n, name in enumerate(names)}
    with Stack(tmp_path, units) as stack:
        done = stack.call("Start", units=list(units), wait=True)["results"]
        said = {one["key"]: one for one in done}
        as_links = 0
        for n, name in enumerate(names):
            row = stack.wait(f"to{n}", "failed")
            assert not said[f"to{n}"]["ok"], name
            assert row["reason"].startswith("cannot enter its directory: "), row["reason"]
            # Those that are open then are refused as what they are, not for lack of them.
            as_links += "Too many levels of symbolic links" in row["reason"]
            assert not any(path.stat().st_size for path in (stack.log / f"to{n}").glob("*.log"))
        assert as_links >= 3


def test_an_ordinary_directory_is_one(links: Path, tmp_path: Path) -> None:
    """What is refused is not every directory."""
    keys = LEVELS["app"]
    with Stack(tmp_path, {"ok": unit(str(links / "inner"), keys)}) as stack:
        stack.call("Start", units=["ok"], wait=True)
        assert written(stack, "ok", "\n") == f"{links}/inner\n"
