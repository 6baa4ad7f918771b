"""The runtime directory in /tmp is ours alone, or it is not used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from supervisor.manager import runtime

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="giving files away needs root")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_it_is_made_for_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "unboxed-1"
    runtime._make_private(str(path))
    assert mode(path) == 0o700
    runtime._make_private(str(path))


def test_one_of_our_own_that_others_may_look_into_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "unboxed-1"
    path.mkdir()
    path.chmod(0o755)
    runtime._make_private(str(path))
    assert mode(path) == 0o700


@pytest.mark.parametrize("bits", [0o777, 0o1777, 0o770])
def test_one_that_others_could_write_is_refused(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "unboxed-1"
    path.mkdir()
    path.chmod(bits)
    with pytest.raises(runtime.CannotBegin, match="others could change it; nothing was started"):
        runtime._make_private(str(path))
    assert mode(path) == bits


@needs_root
def test_one_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "unboxed-1"
    path.mkdir(mode=0o700)
    os.chown(path, 65534, 65534)
    with pytest.raises(runtime.CannotBegin, match="belongs to uid 65534 with mode 700"):
        runtime._make_private(str(path))


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "unboxed-1"
    target.mkdir()
    target.chmod(0o755)
    path.symlink_to(target)
    with pytest.raises(NotADirectoryError):
        runtime._make_private(str(path))
    assert mode(target) == 0o755


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "unboxed-1"
    path.write_text("precious")
    with pytest.raises(NotADirectoryError):
        runtime._make_private(str(path))
