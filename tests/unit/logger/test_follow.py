"""Following: what comes is seen at once, in order, once, whatever happens to the files."""
from __future__ import annotations

import errno
import os
import select
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor.logger.follow import Follower
from supervisor.logger.form import ERROR, OUTPUT
from supervisor.logger.lines import Record
from supervisor.logger.read import records
from tests.unit.logger.made import make
from tests.unit.logger.source import MakeSource

SECOND = 1_000_000_000
T = 1_800_000_000 * SECOND


def no_inotify(*_: object) -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@pytest.fixture(params=["inotify", "no instance left", "no watches left"])
def open_follower(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, logdir: Path
) -> Iterator[Callable[..., Follower]]:
    if request.param == "no instance left":
        monkeypatch.setattr("supervisor.logger.news.Watch", no_inotify)
    elif request.param == "no watches left":
        monkeypatch.setattr("supervisor.logger.news.Watch.add", no_inotify)
    opened = []

    def opener(*patterns: str, **limits: object) -> Follower:
        opened.append(Follower(str(logdir), patterns, **limits))  # type: ignore[arg-type]
        return opened[-1]

    yield opener
    for follower in opened:
        follower.close()


def take(follower: Follower, count: int, seconds: float = 20) -> list[Record]:
    """Wait for that many records."""
    found: list[Record] = []
    deadline = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < deadline:
        follower.wait()
        found += follower.poll()
    return found


def texts(found: list[Record]) -> list[bytes]:
    return [record[3] for record in found]


def test_new_lines_of_known_and_new_streams(
    open_follower: Callable[..., Follower], source: MakeSource
) -> None:
    web = source("web")
    web.put(b"old\n", T)
    follower = open_follower()
    assert texts(list(follower.stored())) == [b"old"]
    web.put(b"new\n", T + 1)
    assert take(follower, 1) == [(T + 1, "web", 1, b"new", 4, 8)]
    db = source("db", share=web)
    db.put(b"hello\n", T + 2)
    assert take(follower, 1) == [(T + 2, "db", 1, b"hello", 0, 6)]
    web.put(b"one\n", T + 3)
    db.put(b"two\n", T + 4)
    web.put(b"three\n", T + 5)
    assert sorted(record[:4] for record in take(follower, 3)) == [
        (T + 3, "web", 1, b"one"), (T + 4, "db", 1, b"two"), (T + 5, "web", 1, b"three")
    ]


def test_only_what_matches(open_follower: Callable[..., Follower], source: MakeSource) -> None:
    web = source("web/0")
    web.put(b"old\n", T)
    follower = open_follower("web", last_n=0)
    assert list(follower.stored()) == []
    source("db", share=web).put(b"no\n", T)
    source("web/1", share=web).put(b"yes\n", T + 1)
    assert texts(take(follower, 1)) == [b"yes"]
    assert follower.poll() == []


def test_the_last_lines_come_first(
    open_follower: Callable[..., Follower], source: MakeSource
) -> None:
    web = source("web")
    for number in range(100):
        web.put(b"%d\n" % number, T + number)
    follower = open_follower(last_n=3)
    assert texts(list(follower.stored())) == [b"97", b"98", b"99"]
    web.put(b"100\n", T + 100)
    assert texts(take(follower, 1)) == [b"100"]
    since = open_follower(since_ns=T + 99)
    assert texts(list(since.stored())) == [b"99", b"100"]
    later = open_follower(since_ns=T + 1000)
    assert texts(list(later.stored())) == []
    web.put(b"101\n", T + 101)
    assert texts(take(later, 1)) == [b"101"]


def test_every_line_once_over_rotation_and_restarts(
    open_follower: Callable[..., Follower], source: MakeSource
) -> None:
    web = source("web", options="keep=1000000000 segment=4096")
    web.put(b"%063d\n" % 0, T)
    follower = open_follower(last_n=0)
    list(follower.stored())
    found: list[Record] = []
    for number in range(1, 2000):
        web.put(b"%063d\n" % number, T + number)
        if number % 100 == 0:
            web.crash()
        if number % 7 == 0:
            found += follower.poll()
    found += take(follower, 1999 - len(found))
    assert [int(text) for text in texts(found)] == list(range(1, 2000))
    assert [record[0] for record in found] == [T + number for number in range(1, 2000)]


def test_a_line_in_parts_is_one_line(
    open_follower: Callable[..., Follower], source: MakeSource
) -> None:
    web = source("web")
    web.put(b"begun ", T)
    follower = open_follower(last_n=0)
    list(follower.stored())
    assert follower.poll() == []
    web.put(b"and ended\n", T + 1)
    assert take(follower, 1) == [(T, "web", 1, b"begun and ended", 0, 16)]


def test_a_line_whose_end_does_not_come_is_shown_all_the_same(
    open_follower: Callable[..., Follower], source: MakeSource
) -> None:
    web = source("web")
    follower = open_follower()
    list(follower.stored())
    web.put(b"Password: ", T)
    begun = time.monotonic()
    assert texts(take(follower, 1)) == [b"Password: "]
    assert 0.5 < time.monotonic() - begun < 10


def test_bytes_that_never_get_an_entry_are_shown_all_the_same(
    open_follower: Callable[..., Follower], source: MakeSource
) -> None:
    web = source("web")
    web.put(b"x\n", T)
    follower = open_follower(last_n=0)
    list(follower.stored())
    with next(web.path.glob("*.log")).open("ab") as log:
        log.write(b"the logger died here\n")
    assert texts(take(follower, 1)) == [b"the logger died here"]
    web.crash()
    web.put(b"on\n", T + 9)
    assert texts(take(follower, 1)) == [b"on"]


def test_a_directory_that_is_removed_and_made_again(
    open_follower: Callable[..., Follower], source: MakeSource, logdir: Path
) -> None:
    web = source("web")
    web.put(b"one\n", T)
    follower = open_follower(last_n=0)
    list(follower.stored())
    shutil.rmtree(web.path)
    web.put(b"two\n", T + 1)
    web.move(T + 1)
    assert texts(take(follower, 1)) == [b"two"]
    shutil.rmtree(logdir)
    web.put(b"three\n", T + 2)
    web.move(T + 2)
    assert texts(take(follower, 1)) == [b"three"]
    web.put(b"four\n", T + 3)
    assert texts(take(follower, 1)) == [b"four"]


def test_offsets_that_begin_anew(
    open_follower: Callable[..., Follower], source: MakeSource
) -> None:
    web = source("web")
    web.put(b"x" * 5000 + b"\n", T)
    follower = open_follower(last_n=0)
    list(follower.stored())
    shutil.rmtree(web.path)
    web.crash()  # a new logger does not know how far the stream had come
    web.put(b"anew\n", T + 1)
    assert texts(take(follower, 1)) == [b"anew"]


def test_a_log_directory_that_is_not_there_yet(
    open_follower: Callable[..., Follower], source: MakeSource
) -> None:
    follower = open_follower()
    assert list(follower.stored()) == []
    assert follower.poll() == []
    source("web").put(b"first\n", T)
    assert texts(take(follower, 1)) == [b"first"]


def test_a_quiet_log_wakes_nobody(source: MakeSource, logdir: Path) -> None:
    web = source("web")
    web.put(b"x\n", T)
    with Follower(str(logdir), last_n=0) as follower:
        list(follower.stored())
        follower.poll()
        while select.select([follower], [], [], 0)[0]:
            follower.poll()
        assert follower.timeout() is None


def test_a_flood_is_read_in_turns(
    open_follower: Callable[..., Follower], source: MakeSource
) -> None:
    web = source("web")
    follower = open_follower()
    list(follower.stored())
    for number in range(60):
        web.put(b"%099d\n" % number * 600, T + number)
    db = source("db", share=web)
    db.put(b"me too\n", T + 99)
    found = follower.poll()
    while b"me too" not in texts(found):
        assert len(found) < 30_000
        follower.wait()
        found = follower.poll()
    assert len(found) < 30_000


def test_no_descriptor_is_left(source: MakeSource, logdir: Path) -> None:
    web = source("web")
    web.put(b"x\n", T)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with Follower(str(logdir)) as follower:
            list(follower.stored())
            follower.poll()
        following = records(str(logdir), follow=True)
        assert next(following)[3] == b"x"
        following.close()  # type: ignore[attr-defined]
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_prompt_is_shown_though_errors_come_all_the_time(
    open_follower: Callable[..., Follower], logdir: Path
) -> None:
    arrivals = [(T, OUTPUT, b"Password: ")]
    make(logdir, "web", arrivals)
    follower = open_follower()
    list(follower.stored())
    found: list[Record] = []
    deadline = time.monotonic() + 20
    while b"Password: " not in texts(found) and time.monotonic() < deadline:
        arrivals.append((T + len(arrivals), ERROR, b"waiting\n"))
        make(logdir, "web", arrivals)
        found += take(follower, 1)
    assert (T, OUTPUT, b"Password: ") in [(r[0], r[2], r[3]) for r in found]
    arrivals.append((T + len(arrivals), OUTPUT, b"\ngranted\n"))
    make(logdir, "web", arrivals)
    assert texts(take(follower, 1)) == [b"granted"]


def test_only_lines_that_are_wanted_are_followed(
    open_follower: Callable[..., Follower], source: MakeSource
) -> None:
    web = source("web")
    web.put(b"no\nyes 1\nno\n", T)
    follower = open_follower(last_n=1, keep=lambda record: record[3].startswith(b"yes"))
    assert texts(list(follower.stored())) == [b"yes 1"]
    web.put(b"no\nyes 2\n", T + 1)
    assert texts(take(follower, 1)) == [b"yes 2"]
