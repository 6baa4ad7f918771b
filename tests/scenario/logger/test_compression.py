"""A real logger compresses what it has closed, while units write and readers read."""
from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor.logger.form import BOOTS
from supervisor.logger.read import records
from tests.logger_kit import ROOT, SITE, FakeKeeper, ended, segments, wait_until, writer
from tests.stack import children

SEGMENT = 128 << 10
LINES = 30_000  # of 100 bytes: some 20 segments
OPTIONS = f"keep={1 << 30} segment={SEGMENT}"


def lines(first: int = 0, last: int = LINES) -> Callable[[], Iterator[bytes]]:
    def make() -> Iterator[bytes]:
        for at in range(first, last, 500):
            yield b"".join(b"%099d\n" % number for number in range(at, min(at + 500, last)))

    return make


def packed(directory: Path) -> bool:
    """Whether all closed segments are, and nothing else is left."""
    found = [path.suffix for path in segments(directory)]
    others = {path.suffix for path in directory.iterdir()} - {".log", ".zst", ".idx"}
    return len(found) > 10 and found == [".zst"] * (len(found) - 1) + [".log"] and not others


def compressed(directory: Path) -> bool:
    """Whether all closed segments are."""
    closed = segments(directory)[:-1]
    return bool(closed) and all(path.suffix == ".zst" for path in closed)


def numbers(logdir: Path, **limits: int) -> list[int]:
    return [int(record[3]) for record in records(str(logdir), ["web"], **limits)]  # type: ignore[arg-type]


def test_closed_segments_are_compressed_and_read_as_before(tmp_path: Path) -> None:
    logdir = tmp_path / "log"
    with FakeKeeper(logdir, OPTIONS) as keeper:
        keeper.start()
        with writer(keeper.stream("web"), lines()):
            wait_until(lambda: (logdir / "web").exists() and packed(logdir / "web"), 20)
            wait_until(lambda: newest(logdir / "web") == LINES * 100)
        assert keeper.finish() == 0
    assert numbers(logdir) == list(range(LINES))
    assert numbers(logdir, last_n=5000) == list(range(LINES - 5000, LINES))
    assert sum(path.stat().st_size for path in (logdir / "web").iterdir()) < LINES * 100 / 5
    for path in segments(logdir / "web")[:-1]:
        assert path.stat().st_mode & 0o777 == 0o640
        assert path.with_name(path.name[:16] + ".idx").exists()
    if shutil.which("zstd"):
        whole = b"".join(b"%099d\n" % number for number in range(LINES))
        found = [str(path) for path in segments(logdir / "web")[:-1]]
        read = subprocess.run(["zstd", "-dc", *found], stdout=subprocess.PIPE, check=True).stdout
        assert whole.startswith(read)
        assert len(read) > LINES * 50
    assert (logdir / BOOTS).read_text().count("\n") == 1


def test_who_follows_sees_each_line_once_while_files_are_replaced(tmp_path: Path) -> None:
    logdir = tmp_path / "log"
    with FakeKeeper(logdir, OPTIONS) as keeper:
        keeper.start()
        end = keeper.stream("web")
        os.write(end, b"%099d\n" % 0)
        wait_until((logdir / "web").exists)
        found = []
        following = records(str(logdir), ["web"], follow=True)
        found.append(int(next(following)[3]))
        for first in range(1, LINES, 5000):
            last = min(first + 5000, LINES)
            with writer(end, lines(first, last)):
                while found[-1] < last - 1:
                    found.append(int(next(following)[3]))
            before = segments(logdir / "web")
            wait_until(lambda: compressed(logdir / "web"), 20)
            assert len(before) >= 4
        assert found == list(range(LINES))


def test_a_reader_far_behind_reads_on_where_files_were_replaced(tmp_path: Path) -> None:
    logdir = tmp_path / "log"
    with FakeKeeper(logdir, OPTIONS) as keeper:
        keeper.start()
        reading: Iterator[int] = iter(())
        with writer(keeper.stream("web"), lines()):
            wait_until(lambda: len(list((logdir / "web").glob("*.idx"))) > 10)
            reading = (int(record[3]) for record in records(str(logdir), ["web"]))
            begun = [next(reading) for _ in range(10)]
            wait_until(lambda: packed(logdir / "web"), 20)
        rest = list(reading)
        assert [*begun, *rest] == list(range(10 + len(rest)))
        assert len(rest) * 100 > 8 * SEGMENT


@pytest.mark.parametrize("who", ["child", "logger", "both"])
def test_killed_compressors_and_loggers_leave_nothing_wrong(tmp_path: Path, who: str) -> None:
    logdir, chance = tmp_path / "log", random.Random(who)
    with FakeKeeper(logdir, OPTIONS) as keeper:
        end = keeper.stream("web")
        keeper.start()
        for first in range(0, LINES, LINES // 3):
            with writer(end, lines(first, first + LINES // 3)) as pid:
                assert ended(pid, 20)
            # It may be over before it was seen.
            wait_until(lambda: children(keeper.pid) or compressed(logdir / "web"), 20)
            found = children(keeper.pid)
            time.sleep(chance.random() * 0.03)
            with contextlib.suppress(ProcessLookupError):  # it was faster
                if who != "logger" and found:
                    os.kill(found[0], signal.SIGKILL)
            if who != "child" or first:  # a child that was killed is followed by a long pause
                keeper.kill()
                keeper.start()
        os.write(end, b"%099d\n" % LINES)
        wait_until(lambda: packed(logdir / "web"), 20)
        assert keeper.finish() == 0
    assert numbers(logdir) == list(range(LINES + 1))


def test_without_the_library_segments_stay_and_that_is_said_once(tmp_path: Path) -> None:
    logdir, messages = tmp_path / "log", tmp_path / "messages"
    with messages.open("wb") as file, FakeKeeper(logdir, OPTIONS, file.fileno()) as keeper:
        keeper.more = ["--site", "/nonexistent"]
        keeper.start()
        with writer(keeper.stream("web"), lines()):
            wait_until(lambda: b"zstandard is not installed" in messages.read_bytes())
        with writer(keeper.stream("db"), lines()):
            wait_until(lambda: newest(logdir / "db") == LINES * 100)
        assert keeper.finish() == 0
    assert messages.read_text().count("zstandard") == 1
    assert {path.suffix for path in segments(logdir / "web")} == {".log"}


def test_who_does_not_want_it_is_not_compressed(tmp_path: Path) -> None:
    logdir = tmp_path / "log"
    with FakeKeeper(logdir, f"{OPTIONS} compress=0") as keeper:
        keeper.start()
        with writer(keeper.stream("plain"), lines()):
            wait_until(lambda: len(segments(logdir / "plain")) > 10)
        keeper.options = OPTIONS
        with writer(keeper.stream("web"), lines()):
            wait_until(lambda: (logdir / "web").exists() and packed(logdir / "web"), 20)
        assert keeper.finish() == 0
    assert {path.suffix for path in segments(logdir / "plain")} == {".log"}


def test_all_logs_stay_within_the_budget(tmp_path: Path) -> None:
    logdir = tmp_path / "log"
    budget = 1 << 20
    with FakeKeeper(logdir, f"{OPTIONS} compress=0", more=["--budget", str(budget)]) as keeper:
        keeper.start()
        ends = [keeper.stream(name) for name in ("a", "b")]
        for end in ends:
            with writer(end, lines()) as pid:
                assert ended(pid, 20)
        wait_until(lambda: newest(logdir / "a") == newest(logdir / "b") == LINES * 100)
        wait_until(lambda: held(logdir) <= budget)
        assert held(logdir) > budget / 2
        assert keeper.finish() == 0
    kept = [int(record[3]) for record in records(str(logdir), ["b"])]
    assert kept == list(range(LINES - len(kept), LINES))


def newest(directory: Path) -> int:
    found = segments(directory)
    return int(found[-1].name[:16], 16) + found[-1].stat().st_size if found else 0


def held(logdir: Path) -> int:
    total = 0
    for path in logdir.glob("*/*"):
        with contextlib.suppress(FileNotFoundError):  # deleted since it was listed
            total += path.stat().st_size
    return total


def test_who_awaits_a_line_finds_it_in_a_compressed_segment(tmp_path: Path) -> None:
    logdir = tmp_path / "log"
    with FakeKeeper(logdir, OPTIONS) as keeper:
        keeper.start()
        with writer(keeper.stream("web"), lines()):
            wait_until(lambda: (logdir / "web").exists() and packed(logdir / "web"), 20)
        assert keeper.finish() == 0
    program = ROOT / "supervisor" / "logger" / "await_line.py"
    command = [sys.executable, "-I", "-S", str(program), "--site", SITE, "--log-dir", str(logdir)]
    found = subprocess.run([*command, "web", "0", "0000001000$"], timeout=20, check=False)
    assert found.returncode == 0


def test_a_segment_that_somebody_has_locked_is_not_tried_without_end(tmp_path: Path) -> None:
    logdir = tmp_path / "log"
    with FakeKeeper(logdir, OPTIONS) as keeper:
        keeper.start()
        end = keeper.stream("web")
        os.write(end, b"%099d\n" % 0)
        wait_until((logdir / "web").exists)
        with segments(logdir / "web")[0].open("rb") as file, writer(end, lines(1, 3000)):
            fcntl.flock(file, fcntl.LOCK_EX)
            wait_until(lambda: children(keeper.pid))
            wait_until(lambda: not children(keeper.pid))
            wait_until(lambda: segments(logdir / "web")[1].suffix == ".zst")
            time.sleep(0.3)
            assert not children(keeper.pid)
        assert segments(logdir / "web")[0].suffix == ".log"
        assert keeper.finish() == 0


def test_a_logger_that_ends_takes_its_compressor_with_it(tmp_path: Path) -> None:
    logdir = tmp_path / "log"
    with FakeKeeper(logdir, OPTIONS) as keeper:
        keeper.start()
        with writer(keeper.stream("web"), lines()) as pid:
            wait_until(lambda: children(keeper.pid))
            child = children(keeper.pid)[0]
            assert ended(pid, 20)
        assert keeper.finish() == 0
        assert not Path(f"/proc/{child}").exists()
    assert not list((logdir / "web").glob(".*"))
    assert numbers(logdir) == list(range(LINES))
