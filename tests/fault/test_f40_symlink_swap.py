"""Fault 40: names in a unit directory are swapped while it is loaded; nothing outside is opened.

A process exchanges regular files with symbolic links, fifos and directories as fast as it can, and
inotify on what lies outside says whether anybody opened it.
"""
from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.config.load import read_units

SWAPPER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, RENAME_EXCHANGE = -100, 2
pairs = [tuple(map(os.fsencode, pair.split("|"))) for pair in sys.argv[1:]]
print("swapping", flush=True)
while os.getppid() != 1:
    for one, other in pairs:
        if libc.renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE):
            sys.exit(os.strerror(ctypes.get_errno()))
"""
IN_OPEN, IN_ACCESS, IN_NONBLOCK = 0x20, 0x1, os.O_NONBLOCK
INSIDE = 'command = "/bin/inside"\n'
OUTSIDE = 'command = "/bin/outside"\n'


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    (path / "secret.toml").write_text(OUTSIDE)
    return path


@pytest.fixture
def opened(outside: Path) -> Iterator[int]:
    """An inotify descriptor that becomes readable when something outside is opened."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(IN_NONBLOCK)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    for path in (outside, outside / "secret.toml"):
        assert libc.inotify_add_watch(fd, os.fsencode(path), IN_OPEN | IN_ACCESS) >= 0
    yield fd
    os.close(fd)


def _units(tmp_path: Path, outside: Path) -> tuple[Path, list[str]]:
    """A unit directory, and the pairs of paths to exchange in it."""
    units, spare = tmp_path / "units", tmp_path / "spare"
    for path in (units, spare, units / "dropped.toml.d", units / "inner.toml.d"):
        path.mkdir()
    for name in ("link", "fifo", "directory", "dropped", "inner"):
        (units / f"{name}.toml").write_text(INSIDE)
    (units / "inner.toml.d" / "a.toml").write_text("pin = true\n")
    (spare / "link").symlink_to(outside / "secret.toml")
    os.mkfifo(spare / "fifo")
    (spare / "directory").mkdir()
    (spare / "dropped").symlink_to(outside)
    (spare / "inner").symlink_to(outside / "secret.toml")
    swaps = {
        "link": units / "link.toml",
        "fifo": units / "fifo.toml",
        "directory": units / "directory.toml",
        "dropped": units / "dropped.toml.d",
        "inner": units / "inner.toml.d" / "a.toml",
    }
    return units, [f"{spare / name}|{path}" for name, path in swaps.items()]


def test_a_swap_never_leads_outside(tmp_path: Path, outside: Path, opened: int) -> None:
    units, pairs = _units(tmp_path, outside)
    loaded_as_unit: dict[str, int] = {}
    refused: dict[str, int] = {}
    with subprocess.Popen(
        [sys.executable, "-I", "-c", SWAPPER, *pairs], stdout=subprocess.PIPE
    ) as swapper:
        assert swapper.stdout is not None
        assert swapper.stdout.readline() == b"swapping\n"
        try:
            # Until each name was met both ways, so that the race was really run.
            deadline = time.monotonic() + 60
            rounds = 0
            while rounds < 2000 or len(loaded_as_unit) < 5 or len(refused) < 5:
                assert time.monotonic() < deadline, (loaded_as_unit, refused)
                rounds += 1
                loaded = read_units([str(units)])
                for name, unit in loaded.units.items():
                    assert unit.command == ("/bin/inside",)
                    loaded_as_unit[name] = loaded_as_unit.get(name, 0) + 1
                for problem in loaded.problems:
                    name = problem.file.removeprefix(f"{units}/").partition(".")[0]
                    assert "cannot read" in problem.message
                    refused[name] = refused.get(name, 0) + 1
            assert swapper.poll() is None
        finally:
            swapper.kill()
    with pytest.raises(BlockingIOError):
        os.read(opened, 4096)


def test_the_watch_would_have_seen_it(outside: Path, opened: int) -> None:
    """The other test's proof is worth something: an open is noticed."""
    assert (outside / "secret.toml").read_text() == OUTSIDE
    assert os.read(opened, 4096)
