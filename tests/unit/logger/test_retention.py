"""What is kept of one stream and of all: by size, by age, within a budget; and what that costs."""
from __future__ import annotations

import os
import random
import select
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supervisor.logger import retention
from supervisor.logger.compressor import Compressor
from supervisor.logger.directory import LogDirectory
from supervisor.logger.form import (
    INDEX,
    LOG,
    PACKED,
    segment_name,
    segment_start,
    temporary_name,
)
from supervisor.logger.retention import Retention
from tests.unit.logger.source import MakeSource, Source

SECOND = 1_000_000_000
T = 1_800_000_000 * SECOND
SMALL = "keep=65536 segment=4096"


class Rig:
    """A logger's streams and its retention, with a clock of the test's."""

    def __init__(
        self, source: MakeSource, logdir: Path, monkeypatch: pytest.MonkeyPatch, budget: int
    ) -> None:
        self._source = source
        self.logdir = logdir
        self.now_ns = T
        self.sources: dict[str, Source] = {}
        clock = "supervisor.logger.retention.time."
        monkeypatch.setattr(clock + "time_ns", lambda: self.now_ns)
        monkeypatch.setattr(clock + "monotonic_ns", lambda: self.now_ns - T + 1)
        self.directory = LogDirectory(str(logdir))
        compressor = Compressor(select.epoll(), "")
        compressor.not_before_ns = 1 << 62
        self.retention = Retention(self.directory, self.find, budget, compressor)

    def find(self, name: str) -> Any:
        source = self.sources.get(name)
        return source.stream if source else None

    def stream(self, key: str, options: str = SMALL) -> Source:
        made = self._source(key, options)
        made.directory = self.directory
        self.sources[made.path.name] = made
        self.retention.meet(made.stream)
        return made

    def put(self, key: str, size: int) -> None:
        source = self.sources[key.replace("/", "@")]
        while size:
            part = min(size, 4000)
            source.put(b"x" * part, self.now_ns)
            self.retention.grew(source.stream)
            size -= part
        self.work()

    def work(self) -> None:
        for _ in range(10_000):
            due_ns = self.retention.due_ns()
            if not 0 <= due_ns <= self.now_ns - T + 1:
                return
            self.retention.work()
        pytest.fail("there is always something due")

    def wait(self, seconds: float) -> int:
        """Let time pass, working when something is due; how often that was."""
        end_ns = self.now_ns + int(seconds * SECOND)
        woken = 0
        while 0 <= (due_ns := self.retention.due_ns()) <= end_ns - T + 1:
            self.now_ns = max(self.now_ns, due_ns + T - 1)
            self.retention.work()
            woken += 1
            assert woken < 1000
        self.now_ns = end_ns
        return woken

    def held(self, name: str) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in (self.logdir / name).iterdir())

    def starts(self, name: str) -> list[int]:
        found = map(segment_start, os.listdir(self.logdir / name))
        return sorted({start for start in found if start >= 0})


MakeRig = Callable[..., Rig]


@pytest.fixture
def rig(
    source: MakeSource, logdir: Path, monkeypatch: pytest.MonkeyPatch
) -> MakeRig:
    made = []

    def make(budget: int = 0) -> Rig:
        made.append(Rig(source, logdir, monkeypatch, budget))
        return made[-1]

    return make


def gone_unit(logdir: Path, name: str, sizes: list[int], suffix: str = LOG) -> None:
    """What a unit left that is defined no more."""
    (logdir / name).mkdir(parents=True)
    start = 0
    for number, size in enumerate(sizes, 1):
        kind = LOG if number == len(sizes) else suffix
        (logdir / name / segment_name(start, kind)).write_bytes(b"y" * size)
        (logdir / name / segment_name(start, INDEX)).write_bytes(b"")
        start += size


def test_what_is_counted_is_what_is_there(rig: MakeRig) -> None:
    here = rig()
    chance = random.Random(5)
    keys = ["a", "b/0", "b/1", "c"]
    for key in keys:
        here.stream(key, f"keep=20480 segment={chance.choice([4096, 8192])}")
    for _ in range(300):
        here.put(chance.choice(keys), chance.randrange(1, 3000))
        on_disk = {name: here.held(name) for name in os.listdir(here.logdir) if name[0] != "."}
        stocks = here.directory.holdings.stocks
        assert {name: stock.total for name, stock in stocks.items()} == on_disk
        assert here.directory.holdings.total == sum(on_disk.values())
        assert all(size <= 20480 for size in on_disk.values())


def test_nothing_is_listed_unless_something_is_to_be_deleted(
    rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = rig(budget=1 << 30)
    here.stream("web", "keep=1048576 segment=4096")
    here.put("web", 100)
    here.wait(10)
    listed: list[int] = []
    real = os.listdir

    def listdir(home: int) -> list[str]:
        listed.append(home)
        return real(home)

    monkeypatch.setattr("supervisor.logger.holdings.posix.listdir", listdir)
    here.put("web", 500_000)
    assert len(here.starts("web")) > 100
    assert not listed


def test_the_budget_takes_the_oldest_of_the_largest(
    rig: MakeRig, capfd: pytest.CaptureFixture[str]
) -> None:
    here = rig(budget=100_000)
    gone_unit(here.logdir, "gone", [30_000, 30_000, 1000])
    here.stream("big", "keep=1048576 segment=8192")
    here.stream("small", "keep=1048576 segment=8192")
    here.put("small", 20_000)
    here.put("big", 8_000)
    here.wait(5)  # now those are known that nobody writes
    assert here.starts("gone") == [0, 30_000, 60_000]
    assert not capfd.readouterr().err
    here.put("big", 30_000)
    assert here.starts("gone") == [30_000, 60_000], "it was the largest"
    first = here.starts("big")[0]
    here.put("big", 200_000)
    assert here.starts("big")[0] > first
    assert here.directory.holdings.total <= 100_000
    assert sum(map(here.held, ("gone", "big", "small"))) <= 100_000
    assert here.starts("small")[0] == 0, "who holds little is left alone"
    sizes = sorted(map(here.held, ("gone", "big", "small")))
    assert sizes[2] < 60_000, "nor does one have it all"
    assert capfd.readouterr().err.count("their budget of 100000 bytes (--log-budget)") == 1


def test_compressed_sizes_count(rig: MakeRig) -> None:
    here = rig(budget=100_000)
    gone_unit(here.logdir, "packed", [20_000, 20_000, 100], PACKED)
    here.stream("web", "keep=1048576 segment=8192")
    here.put("web", 8_000)
    here.wait(5)
    assert here.directory.holdings.total == here.held("packed") + here.held("web")
    here.put("web", 80_000)
    assert here.starts("packed") == [20_000, 40_000] or here.starts("web")[0] > 0
    assert here.held("packed") + here.held("web") <= 100_000


def test_the_last_segment_of_a_unit_that_is_gone_may_go_and_its_offsets_stay_used(
    rig: MakeRig,
) -> None:
    here = rig(budget=20_000)
    gone_unit(here.logdir, "gone", [50_000])
    here.stream("web")
    here.put("web", 100)
    here.wait(5)
    starts = here.starts("gone")
    assert here.directory.holdings.total <= 20_000
    assert len(starts) == 1
    assert starts[0] >= 50_000
    here.stream("gone")  # it is back
    here.put("gone", 10)
    assert here.starts("gone")[0] >= 50_000


def test_a_single_stream_within_a_small_budget_keeps_most_of_it(rig: MakeRig) -> None:
    here = rig(budget=64_000)
    here.stream("web", "keep=1073741824 segment=16777216")
    here.put("web", 100)
    here.wait(5)
    for _ in range(50):
        here.put("web", 10_000)
        assert here.held("web") <= 64_000
    assert here.held("web") > 40_000


def test_no_budget_is_no_budget(rig: MakeRig) -> None:
    here = rig(budget=0)
    here.stream("web", "keep=1048576 segment=8192")
    here.put("web", 900_000)
    assert here.wait(1000) == 1, "a look at what is there"
    assert here.starts("web")[0] == 0


def test_the_default_budget_is_a_tenth_of_the_file_system(
    rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Small:
        f_blocks, f_frsize = 100, 4096

    monkeypatch.setattr("supervisor.logger.retention.posix.fstatvfs", lambda _: Small)
    here = rig(budget=-1)
    here.stream("web", "keep=1048576 segment=8192")
    here.put("web", 100)
    here.wait(5)
    here.put("web", 300_000)
    assert 20_000 < here.held("web") <= 40_960


def test_what_others_deleted_is_not_deleted_again_from_somebody_else(rig: MakeRig) -> None:
    here = rig(budget=100_000)
    here.stream("web", "keep=1048576 segment=8192")
    here.stream("db", "keep=1048576 segment=8192")
    here.put("db", 40_000)
    here.put("web", 55_000)
    for path in sorted((here.logdir / "web").glob("*"))[:-2]:
        path.unlink()
    here.put("db", 20_000)
    assert here.starts("db")[0] == 0


def test_a_segment_that_is_too_old_goes_and_nothing_wakes_before(rig: MakeRig) -> None:
    here = rig()
    here.stream("web", f"{SMALL} max_age=1000")
    here.put("web", 5000)
    assert here.wait(990) <= 2
    assert here.held("web") > 5000
    here.wait(20)
    assert here.held("web") == 0
    assert here.starts("web") == [5000]
    assert here.retention.due_ns() == -1, "an empty stream has nothing that gets old"
    here.put("web", 7)
    assert here.starts("web") == [5000]
    assert here.held("web") == 7 + 24


def test_nothing_is_kept_longer_than_a_quarter_more(rig: MakeRig) -> None:
    here = rig()
    here.stream("web", f"{SMALL} max_age=1000")
    written: list[int] = []
    for _ in range(400):  # little, all the time: never enough for a segment
        written.append(here.now_ns)
        here.put("web", 8)
        here.wait(10)
        starts = here.starts("web")
        oldest = written[starts[0] // 8] if starts[0] < 8 * len(written) else here.now_ns
        assert here.now_ns - oldest <= 1250 * SECOND + 10 * SECOND
        left = 8 * len(written) - starts[0]
        assert left >= min(len(written), 100) * 8 - 8, "nor are younger ones deleted"


def test_an_old_stream_is_looked_at_when_its_unit_comes_back(rig: MakeRig) -> None:
    before = rig()
    before.stream("web", SMALL)
    before.put("web", 100)
    before.sources["web"].stream.close_tail()
    os.close(before.directory.fd)
    before.directory.fd = -1
    here = rig()
    here.now_ns = before.now_ns + 5000 * SECOND
    here.stream("web", f"{SMALL} max_age=1000")
    here.wait(5)
    assert here.held("web") == 0
    assert here.starts("web")[0] >= 100


def test_a_stream_without_files_wakes_once(rig: MakeRig) -> None:
    here = rig()
    here.stream("web", f"{SMALL} max_age=1000")
    assert here.wait(10_000) <= 1


def test_a_clock_that_is_set_forward_is_noticed(rig: MakeRig) -> None:
    here = rig()
    here.stream("web", f"{SMALL} max_age=100000")
    here.put("web", 100)
    slept = here.retention.due_ns()
    assert 0 < slept <= retention.LONGEST_SLEEP_NS + 1


def test_an_error_is_told_and_tried_again(
    rig: MakeRig, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    here = rig()
    here.stream("web", f"{SMALL} max_age=100")
    here.put("web", 100)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr("supervisor.logger.holdings.posix.unlink", refuse)
        assert here.wait(110) < 10
    assert "cannot delete old logs of web: Operation not permitted" in capfd.readouterr().err
    here.wait(100)
    assert here.held("web") == 0


def test_a_log_directory_that_cannot_be_listed_is_tried_again(
    rig: MakeRig, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    here = rig(budget=20_000)
    gone_unit(here.logdir, "gone", [50_000])
    here.stream("web")
    here.put("web", 100)

    def refuse(_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("supervisor.logger.holdings.posix.listdir", refuse)
        assert here.wait(50) < 5
    assert "within their budget: Input/output error" in capfd.readouterr().err
    here.wait(100)
    assert here.held("gone") == 0


def test_offsets_are_used_once_whatever_is_deleted(rig: MakeRig) -> None:
    """Bytes are written with their offsets in them; any that are left are where they say."""
    here = rig(budget=60_000)
    chance = random.Random(11)
    for key in ("a", "b", "c"):
        here.stream(key, f"keep=40960 segment=4096 max_age={chance.choice([0, 50])}")
    ends = dict.fromkeys("abc", 0)
    for _ in range(250):
        key = chance.choice("abc")
        source = here.sources[key]
        size = 8 * chance.randrange(1, 200)
        for at in range(ends[key], ends[key] + size, 8):
            source.put(b"%08d" % at, here.now_ns)
            here.retention.grew(source.stream)
        ends[key] += size
        here.work()
        if not chance.randrange(8):
            here.wait(chance.randrange(80))
        if not chance.randrange(20):
            source.stream.close_tail()
    for key, end in ends.items():
        for start in here.starts(key):
            data = (here.logdir / key / segment_name(start, LOG)).read_bytes()
            assert start + len(data) <= end
            for at in range(0, len(data), 8):
                assert int(data[at : at + 8]) == start + at
        assert here.sources[key].stream.end == end


def test_what_is_no_segment_is_left_alone_and_hinders_nobody(rig: MakeRig) -> None:
    here = rig(budget=20_000)
    here.stream("web")
    here.put("web", 100)
    temporary = here.logdir / "web" / temporary_name(0)
    others = [here.logdir / "web" / name for name in (".mine.tmp", "notes", "0.log")]
    for path in (temporary, *others):
        path.write_bytes(b"z" * 9000)
    (here.logdir / "web" / temporary_name(7)).mkdir()
    here.sources["web"].crash()
    here.put("web", 100_000)
    assert not temporary.exists()
    assert all(path.exists() for path in others)
    assert here.sources["web"].stream.end >= 100_000
