"""Fault 33: log directories are removed, or replaced by links, under a working logger."""
from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.logger_kit import FakeKeeper, ended, segments, wait_until, writer

LINES = 400_000  # of 100 bytes


def lines() -> Iterator[bytes]:
    for number in range(LINES):
        yield b"%099d\n" % number


class Scene:
    """A unit that floods, and the descriptors of its old segments, kept to see what they held."""

    def __init__(self, tmp_path: Path) -> None:
        self.log = tmp_path / "log"
        self.web = self.log / "web"
        self.victim = tmp_path / "victim"
        self.victim.mkdir()
        self.old: list[tuple[int, int]] = []
        self.lines = LINES

    def keep_hold(self) -> None:
        for path in segments(self.web):
            self.old.append((int(path.stem, 16), os.open(path, os.O_RDONLY)))

    def working(self) -> bool:
        return self.web.is_dir() and not self.web.is_symlink() and not self.log.is_symlink()

    def check(self) -> None:
        """Every byte is in a segment that was removed, or in one that is there; none is missing."""
        parts = [(start, os.pread(fd, 1 << 30, 0)) for start, fd in self.old]
        for _, fd in self.old:
            os.close(fd)
        parts += [(int(path.stem, 16), path.read_bytes()) for path in segments(self.web)]
        whole = bytearray(self.lines * 100)
        reached = 0
        for start, data in sorted(parts):
            assert start <= reached, "bytes are missing"
            whole[start : start + len(data)] = data
            reached = max(reached, start + len(data))
        assert reached == len(whole)
        assert bytes(whole) == b"".join(b"%099d\n" % number for number in range(self.lines))
        assert list(self.victim.iterdir()) == []


def remove_stream(scene: Scene) -> None:
    shutil.rmtree(scene.web)


def remove_everything(scene: Scene) -> None:
    shutil.rmtree(scene.log)


def link_for_stream(scene: Scene) -> None:
    shutil.rmtree(scene.web)
    scene.web.symlink_to(scene.victim)


def link_for_everything(scene: Scene) -> None:
    shutil.rmtree(scene.log)
    scene.log.symlink_to(scene.victim)


def move_and_link(scene: Scene) -> None:
    scene.log.rename(scene.log.with_name("moved"))
    scene.log.symlink_to(scene.victim)


def file_for_stream(scene: Scene) -> None:
    shutil.rmtree(scene.web)
    scene.web.write_text("in the way")


@pytest.mark.parametrize(
    "harm",
    [remove_stream, remove_everything, link_for_stream, link_for_everything, move_and_link,
     file_for_stream],
)
def test_f33_directories_come_back_and_links_are_not_followed(tmp_path: Path, harm: object) -> None:
    scene = Scene(tmp_path)
    with (tmp_path / "messages").open("wb") as messages, FakeKeeper(
        scene.log, f"keep={1 << 30} segment={1 << 30}", stderr=messages.fileno()
    ) as keeper:
        keeper.start()
        end = keeper.stream("web")
        with writer(end, lines) as pid:
            wait_until(lambda: sum(path.stat().st_size for path in segments(scene.web)) > 1 << 20)
            scene.keep_hold()
            while True:
                try:
                    assert callable(harm)
                    harm(scene)
                    break
                except OSError:  # the logger made it anew while it was being removed: again
                    scene.keep_hold()
            assert ended(pid, 60)
            # What was moved away still takes bytes, until the logger looks a second later.
            while not scene.working():
                os.write(end, b"%099d\n" % scene.lines)
                scene.lines += 1
                time.sleep(0.01)
        assert keeper.finish() == 0
    assert scene.log.is_dir()
    assert not scene.log.is_symlink()
    scene.check()


def said(keeper: FakeKeeper, line: bytes) -> bool:
    return line in keeper.stored("web")


def test_f33_an_idle_logger_finds_its_directory_gone_at_the_next_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with FakeKeeper(log) as keeper:
        keeper.start()
        end = keeper.stream("web")
        for number in range(5):
            line = b"line %d\n" % number
            os.write(end, line)
            wait_until(partial(said, keeper, line))
            shutil.rmtree(log)
        assert not log.exists()
        os.write(end, b"last\n")
        wait_until(lambda: keeper.stored("web") == b"last\n")
        assert [path.name for path in segments(log / "web")] == [f"{5 * 7:016x}.log"]
