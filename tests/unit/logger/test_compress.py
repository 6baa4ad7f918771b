"""What a closed segment goes through: whole for readers at every instant, whoever is killed."""
from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from supervisor.logger import compress as program
from supervisor.logger.compress import compress
from supervisor.logger.form import INDEX, LOG, PACKED, segment_name, temporary_name
from supervisor.logger.holdings import Holdings
from supervisor.logger.segment import Segment, starts

TEXT = b"".join(b"line %07d of a log that says much the same\n" % n for n in range(20_000))
START = 0x500
CALLS = ("open", "close", "pread", "write", "fchmod", "utime", "fsync", "rename", "unlink", "fstat")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[int]:
    fill(tmp_path)
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def fill(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()
    plain = directory / segment_name(START, LOG)
    plain.write_bytes(TEXT)
    plain.chmod(0o640)
    os.utime(plain, ns=(7, 1_700_000_000_123_456_789))
    (directory / segment_name(START, INDEX)).write_bytes(b"")


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def read(directory: Path) -> bytes:
    assert starts(str(directory)) == [START]
    segment = Segment(str(directory), START)
    try:
        return segment.read(START, len(TEXT) + 1)
    finally:
        segment.close()


DONE = [segment_name(START, INDEX), segment_name(START, PACKED)]
BEFORE = [segment_name(START, INDEX), segment_name(START, LOG)]


def test_a_segment_is_replaced_and_keeps_its_time_and_mode(tmp_path: Path, home: int) -> None:
    compress(home, START)
    assert names(tmp_path) == DONE
    assert read(tmp_path) == TEXT
    found = (tmp_path / DONE[1]).stat()
    assert found.st_mtime_ns == 1_700_000_000_123_456_789
    assert found.st_mode & 0o777 == 0o640
    assert found.st_size < len(TEXT) / 5
    compress(home, START)  # again: there is nothing to do
    assert names(tmp_path) == DONE


def test_its_bytes_are_on_disk_before_the_others_go(
    tmp_path: Path, home: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for name in ("write", "fsync", "rename", "unlink"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, noting(done, name, real))
    compress(home, START)
    steps = [step for step, _ in groupby(done)]
    assert steps == ["unlink", "write", "fsync", "rename", "fsync", "unlink"]


def noting(done: list[str], name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        done.append(name)
        return real(*args, **kwargs)

    return call


def killed_at(number: int, home: int, *, after: bool) -> bool:
    """Compress in a child that is killed at its call of that number; False if it ends before."""
    pid = os.fork()
    if pid == 0:
        left = number

        def deadly(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0 and not after:
                    os.kill(os.getpid(), signal.SIGKILL)
                try:
                    return real(*args, **kwargs)
                finally:
                    if left < 0:
                        os.kill(os.getpid(), signal.SIGKILL)

            return call

        for name in CALLS:
            setattr(os, name, deadly(getattr(os, name)))
        compress(home, START)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("after", [False, True])
def test_a_compressor_that_is_killed_at_any_call_leaves_the_segment_whole(
    tmp_path: Path, home: int, *, after: bool
) -> None:
    number = 0
    left: set[tuple[str, ...]] = set()
    while killed_at(number, home, after=after):
        left.add(tuple(names(tmp_path)))
        assert read(tmp_path) == TEXT
        holdings = Holdings()
        holdings.packs.add("web")
        holdings.look("web", home)  # as the logger does when it hears of that
        assert temporary_name(START) not in names(tmp_path)
        assert holdings.total == sum(path.stat().st_size for path in tmp_path.iterdir())
        compress(home, START)
        assert names(tmp_path) == DONE
        assert read(tmp_path) == TEXT
        fill(tmp_path)
        number += 1
    assert number > 15
    both = tuple(sorted([*BEFORE, DONE[1]]))
    assert {tuple(BEFORE), tuple(sorted([*BEFORE, temporary_name(START)])), both} <= left


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_an_error_leaves_the_segment_as_it_is(
    tmp_path: Path, home: int, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match=os.strerror(number)):
            compress(home, START)
    assert names(tmp_path) == BEFORE
    assert read(tmp_path) == TEXT


def test_what_is_deleted_meanwhile_stays_deleted(
    tmp_path: Path, home: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(*args: Any, **kwargs: Any) -> None:
        for name in BEFORE:
            (tmp_path / name).unlink()
        real(*args, **kwargs)

    real = os.rename
    monkeypatch.setattr(os, "rename", rename)
    compress(home, START)
    assert names(tmp_path) == []


def test_a_second_compressor_lets_the_first_do_it(tmp_path: Path, home: int) -> None:
    """A logger was killed; its child lives, and the next logger has one of its own."""
    with (tmp_path / BEFORE[1]).open("rb") as source:
        fcntl.flock(source, fcntl.LOCK_EX)
        compress(home, START)
    assert names(tmp_path) == BEFORE


def test_a_compressor_whose_file_was_cleaned_up_gives_way(
    tmp_path: Path, home: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def fsync(fd: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            (tmp_path / temporary_name(START)).unlink()
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    compress(home, START)
    assert names(tmp_path) == BEFORE


def test_links_are_not_followed(tmp_path: Path, home: int) -> None:
    (tmp_path / BEFORE[1]).rename(tmp_path / "elsewhere")
    (tmp_path / BEFORE[1]).symlink_to("elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        compress(home, START)
    (tmp_path / BEFORE[1]).unlink()
    (tmp_path / "elsewhere").rename(tmp_path / BEFORE[1])
    (tmp_path / "victim").write_bytes(b"not ours")
    (tmp_path / temporary_name(START)).symlink_to("victim")
    compress(home, START)
    assert (tmp_path / "victim").read_bytes() == b"not ours"
    assert read(tmp_path) == TEXT


def test_bad_usage_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    assert program.main([]) == 2
    assert "usage" in capfd.readouterr().err


def test_it_works_when_nobody_else_does() -> None:
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        program.step_back()
        said = f"{os.sched_getscheduler(0)} {os.nice(0)}"
        os.write(writable, said.encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writable)
    with os.fdopen(readable) as file:
        assert file.read() == f"{os.SCHED_IDLE} 19"
