"""Fault 31: no space left. Units wait; nothing is lost, and all is in order once space returns."""
from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from supervisor.logger.form import ENTRY
from tests.logger_kit import FakeKeeper, ended, segments, wait_until, writer

LINES = 40_000  # of 100 bytes: more than the disk and the pipe together hold


def lines() -> Iterator[bytes]:
    for number in range(LINES):
        yield b"%099d\n" % number


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[FakeKeeper, Path, Path]]:
    """A logger with 3 MiB of space, in its own mount namespace: (keeper, that disk, messages)."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    mount = f'mount -t tmpfs -o size=3m none {mounted} && exec "$@"'
    messages = tmp_path / "messages"
    with messages.open("wb") as file, FakeKeeper(
        mounted / "log", f"keep={1 << 30} segment={256 << 10} compress=0", stderr=file.fileno(),
        more=["--budget", "0"], runtime=tmp_path / "rt",
    ) as keeper:
        pid = keeper.start(*unshare, "sh", "-c", mount, "sh")
        yield keeper, Path(f"/proc/{pid}/root{mounted}"), messages


def content(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in segments(directory))


def wait_for_more(directory: Path) -> None:
    before = len(content(directory))
    wait_until(lambda: len(content(directory)) > before)


def test_f31_a_full_disk_loses_nothing(small_disk: tuple[FakeKeeper, Path, Path]) -> None:
    keeper, disk, messages = small_disk
    end = keeper.stream("web")
    other = keeper.stream("db")
    os.write(other, b"before\n")
    web, db = disk / "log" / "web", disk / "log" / "db"
    wait_until(lambda: db.exists() and content(db) == b"before\n")
    with (disk / "ballast").open("wb") as ballast:
        ballast.write(bytes(2 << 20))
    with writer(end, lines) as pid:
        wait_until(lambda: b"No space left" in messages.read_bytes())
        os.write(other, b"while it was full\n")
        assert not ended(pid, 1.0), "the unit must wait"
        # Two times a little space comes back, and is not enough.
        for size in (1 << 20, 1 << 19):
            os.truncate(disk / "ballast", size)
            wait_for_more(web)
            assert not ended(pid, 0.5)
        # Now somebody takes old segments away: there is enough for the rest.
        saved = b""
        (disk / "ballast").unlink()
        with tempfile.TemporaryFile() as copy:
            while True:
                closed = segments(web)[:-1]
                for path in closed:
                    copy.write(path.read_bytes())
                    path.unlink()
                    path.with_suffix(".idx").unlink()
                if ended(pid, 0.05):
                    break
            wait_until(lambda: content(db) == b"before\nwhile it was full\n")
            wait_until(lambda: content(web).endswith(b"%099d\n" % (LINES - 1)))
            copy.seek(0)
            saved = copy.read() + content(web)
    assert len(saved) == LINES * 100
    for number in range(LINES):
        assert saved[number * 100 : number * 100 + 100] == b"%099d\n" % number

    index = b"".join(path.read_bytes() for path in sorted(web.glob("*.idx")))
    rows = list(ENTRY.iter_unpack(index))
    for (_, begin, length, _, _), (_, following, _, _, _) in pairwise(rows):
        assert begin + length == following

    said = messages.read_text().splitlines()
    complaints = [line for line in said if "cannot write" in line]
    assert len(complaints) == len([line for line in said if "again after" in line])
    assert len(complaints) <= 6, "said once each time, not at each retry"


def test_f31_what_cannot_be_stored_at_the_end_is_said(
    small_disk: tuple[FakeKeeper, Path, Path]
) -> None:
    keeper, disk, messages = small_disk
    end = keeper.stream("web")
    os.write(end, b"x\n")
    wait_until(lambda: (disk / "log" / "web").exists() and content(disk / "log" / "web"))
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        while True:
            try:
                ballast.write(bytes(4096))
            except OSError:
                break
    os.write(end, b"y" * 20_000)
    wait_until(lambda: b"No space left" in messages.read_bytes())
    assert keeper.finish() == 1
    assert "cannot store the last" in messages.read_text()
    assert "bytes of web: out of time; they are lost" in messages.read_text()
