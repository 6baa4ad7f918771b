"""Fault 31 with `on_full = "drop"`: no space left, and units go on. What is dropped is counted to
the byte, also when loggers are killed meanwhile, and declared once there is space again."""
from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.logger.form import ERROR, LOSS, OUTPUT
from tests.logger_kit import (
    FakeKeeper,
    arrivals,
    check_all,
    ended,
    numbered,
    wait_until,
    writer,
)

LINES = 60_000  # of 100 bytes: two times what the disk holds
SIZE = 3 << 20

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk for several loggers")


class Disk:
    """A small one, which lives until `close`. `wrapper`: a command that has its arguments see it,
    `seen` where it is for us."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        script = f"mount -t tmpfs -o size={SIZE} none {path} && echo ready && exec sleep 1000"
        self.holder = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE
        )
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == b"ready\n"
        self.wrapper = ("nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", "--")
        self.seen = Path(f"/proc/{self.holder.pid}/root{path}")
        self.ballast = self.seen / "ballast"

    def fill(self) -> None:
        with self.ballast.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)) == 4096:
                    pass
            except OSError:
                return

    def grow(self) -> None:
        command = [*self.wrapper, "mount", "-o", "remount,size=64m", str(self.path)]
        subprocess.run(command, check=True)

    def close(self) -> None:
        self.holder.kill()
        self.holder.wait()
        assert self.holder.stdout is not None
        self.holder.stdout.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "disk")
    yield made
    made.close()


@pytest.fixture
def keeper(tmp_path: Path, disk: Disk) -> Iterator[FakeKeeper]:
    options = f"keep={1 << 30} segment={256 << 10} compress=0 full=drop"
    with (tmp_path / "messages").open("wb") as said, FakeKeeper(
        tmp_path / "disk" / "log", options, said.fileno(), ["--budget", "0"], tmp_path / "rt"
    ) as made:
        made.start(*disk.wrapper)
        yield made


def lines() -> Iterator[bytes]:
    for number in range(LINES):
        yield b"%099d\n" % number


def test_f31_units_go_on_and_each_byte_is_stored_or_counted(
    tmp_path: Path, disk: Disk, keeper: FakeKeeper
) -> None:
    end = keeper.stream("web")
    with writer(end, lines) as pid:
        assert ended(pid, 20), "it does not wait"
    messages = tmp_path / "messages"
    assert b"No space left" in messages.read_bytes()
    wait_until(lambda: keeper.figures()["web"][1])
    stored, lost, losses, _ = keeper.figures()["web"]
    assert stored < SIZE
    assert stored + lost <= LINES * 100
    assert losses == 1
    disk.grow()
    os.write(end, numbered(LINES * 100, 100))
    wait_until(lambda: b"bytes were lost" in messages.read_bytes())
    assert keeper.finish() == 0
    written, _ = check_all(disk.seen / "log" / "web", numbered)
    assert written == LINES * 100 + 100
    kept = arrivals(disk.seen / "log" / "web")
    (record,) = [json.loads(data) for kind, data in kept if kind == LOSS]
    assert record["reason"] == "full"
    assert record["from"] < record["to"]
    assert record["bytes"] >= lost
    assert kept[-1][1].endswith(numbered(LINES * 100, 100))


def hurried_lines() -> Iterator[bytes]:
    for number in range(40, LINES, 40):
        yield numbered(number * 100, 4000)
        time.sleep(0.001)


def test_f31_loggers_that_are_killed_while_they_drop_lose_no_count(
    disk: Disk, keeper: FakeKeeper
) -> None:
    web, chance = disk.seen / "log" / "web", random.Random(31)
    end = keeper.stream("web")
    os.write(end, numbered(0, 4000))
    wait_until(web.exists)
    disk.fill()
    kills = 0
    with writer(end, hurried_lines) as pid:
        while not ended(pid, 0.05 + chance.random() / 5):
            keeper.kill()
            if chance.random() < 0.3:  # some find space, for a while
                disk.ballast.unlink()
                keeper.start(*disk.wrapper)
                time.sleep(0.1 + chance.random() / 10)
                disk.fill()
            else:
                keeper.start(*disk.wrapper)
            kills += 1
    disk.grow()
    assert keeper.finish() == 0
    written, lost = check_all(web, numbered)
    print(f"{kills} kills, {lost} bytes lost")
    assert written == LINES * 100
    assert lost > 0


def test_f31_both_pipes_of_a_unit_are_accounted_for(disk: Disk, keeper: FakeKeeper) -> None:
    web = disk.seen / "log" / "web"
    ends = {OUTPUT: keeper.stream("web"), ERROR: keeper.stream("web!err")}
    for kind, end in ends.items():
        os.write(end, b"%d\n" % kind)
    wait_until(lambda: web.exists() and len(arrivals(web)) == 2)
    disk.fill()
    share = LINES // 2
    with (
        writer(ends[OUTPUT], lambda: (b"out %094d\n" % n for n in range(share))) as one,
        writer(ends[ERROR], lambda: (b"err %094d\n" % n for n in range(share))) as other,
    ):
        assert ended(one, 20)
        assert ended(other, 20)
    disk.ballast.unlink()
    assert keeper.finish() == 0
    found = {OUTPUT: b"", ERROR: b"", LOSS: b""}
    for kind, data in arrivals(web):
        found[kind] += data
    lost = sum(json.loads(line)["bytes"] for line in found[LOSS].splitlines())
    assert lost > 0
    assert len(found[OUTPUT]) + len(found[ERROR]) + lost == LINES * 99 + 4
    for kind, word in ((OUTPUT, b"out "), (ERROR, b"err ")):
        assert {line[:4] for line in found[kind][2:].splitlines() if len(line) == 98} == {word}
