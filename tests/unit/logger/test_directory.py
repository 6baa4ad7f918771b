from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from supervisor.logger.directory import LogDirectory


def path_of(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")


def test_parents_are_made(tmp_path: Path) -> None:
    path = tmp_path / "var" / "log" / "unboxed"
    assert path_of(LogDirectory(str(path)).refresh()) == str(path)


def test_the_same_directory_is_opened_once(tmp_path: Path) -> None:
    directory = LogDirectory(str(tmp_path / "log"))
    assert directory.refresh() == directory.refresh()


def test_a_removed_log_directory_is_made_again(tmp_path: Path) -> None:
    directory = LogDirectory(str(tmp_path / "log"))
    directory.refresh()
    shutil.rmtree(tmp_path / "log")
    os.close(directory.enter("web"))
    assert (tmp_path / "log" / "web").is_dir()


@pytest.mark.parametrize("below", [False, True])
@pytest.mark.parametrize("kind", ["link", "dangling link", "file"])
def test_what_takes_a_directorys_place_is_moved_aside(
    tmp_path: Path, kind: str, below: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    log = tmp_path / "log"
    directory = LogDirectory(str(log))
    directory.refresh()
    place = log / "web" if below else log
    if not below:
        shutil.rmtree(log)
    if kind == "file":
        place.write_text("somebody's")
    else:
        place.symlink_to(victim if kind == "link" else tmp_path / "nowhere")
    fd = directory.enter("web")
    assert path_of(fd) == str(log / "web")
    os.close(fd)
    assert not list(victim.iterdir())
    aside = list(place.parent.glob(f".{place.name}.moved-*"))
    assert len(aside) == 1
    assert aside[0].is_symlink() == (kind != "file")
    assert f"{place.name} is no directory" in capfd.readouterr().err


def test_links_above_the_log_directory_are_the_administrators(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "var").symlink_to(tmp_path / "disk")
    LogDirectory(str(tmp_path / "var" / "log")).refresh()
    assert (tmp_path / "disk" / "log").is_dir()


def test_two_loggers_never_share_a_directory(tmp_path: Path) -> None:
    first = LogDirectory(str(tmp_path / "log"))
    second = LogDirectory(str(tmp_path / "log"))
    os.close(first.enter("web"))
    with pytest.raises(OSError, match="another supervisor logs there"):
        second.refresh()
    os.close(first.fd)
    os.close(second.enter("web"))
    os.close(second.fd)


def test_descriptors_do_not_pile_up(tmp_path: Path) -> None:
    directory = LogDirectory(str(tmp_path / "log"))
    os.close(directory.enter("web"))
    before = len(os.listdir("/proc/self/fd"))
    for number in range(50):
        (tmp_path / "log").rename(tmp_path / str(number))
        os.close(directory.enter("web"))
        assert directory.holds("other", (0, 0)) is False
    assert len(os.listdir("/proc/self/fd")) == before
