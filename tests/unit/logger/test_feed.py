"""The feed as its agent sees it: a real process, its pipes, and stores written by hand."""
from __future__ import annotations

import json
import os
import select
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from supervisor.logger.feed_line import loss
from supervisor.logger.form import BOOT_BYTES, ERROR, LOSS
from supervisor.logger.lines import PIECE_BYTES
from tests.feed_kit import ROOT, Feed, Store

MakeFeed = Callable[..., Feed]


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[MakeFeed]:
    (tmp_path / "log").mkdir()
    with ExitStack() as opened:
        yield lambda *patterns, **more: opened.enter_context(Feed(tmp_path, *patterns, **more))


def texts(lines: list[dict[str, Any]]) -> list[str]:
    return [line["message"] for line in lines]


def quiet(feed: Feed, seconds: float = 0.3) -> bool:
    return not select.select([feed.lines], [], [], seconds)[0]


def sleeps(pid: int) -> int:
    """How often it went to sleep."""
    text = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("volunt"))


def memory_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM"))


# --- what comes, and from whom ---

def test_what_is_stored_comes_and_then_what_is_written(tmp_path: Path, feed: MakeFeed) -> None:
    web = Store(tmp_path, "web")
    web.put(b"one\ntwo\n")
    one = feed()
    one.begin()
    first = one.take(2)
    assert texts(first) == ["one", "two"]
    assert [line["seq"] for line in first] == [0, 4]
    assert [line["cursor"] for line in first] == ["web@4", "web@8"]
    web.put(b"three\n", kind=ERROR)
    (line,) = one.take(1)
    assert (line["message"], line["stream"], line["seq"]) == ("three", "error", 8)


def test_a_unit_that_appears_is_fed_too_and_one_that_does_not_match_is_not(
    tmp_path: Path, feed: MakeFeed
) -> None:
    one = feed("web*", "db")
    one.begin()
    Store(tmp_path, "other").put(b"not for it\n")
    Store(tmp_path, "web/1").put(b"an instance\n")
    Store(tmp_path, "db").put(b"a name\n")
    assert sorted(texts(one.take(2))) == ["a name", "an instance"]
    assert quiet(one)


def test_what_the_agent_says_itself_is_not_fed_to_it(tmp_path: Path, feed: MakeFeed) -> None:
    Store(tmp_path, "shipper/0").put(b"own\n")
    Store(tmp_path, "shipper/1").put(b"its brother's\n")
    Store(tmp_path, "web").put(b"another's\n")
    one = feed(key="shipper/0")
    one.begin()
    assert texts(one.take(1)) == ["another's"]
    assert quiet(one)


def test_since_leaves_out_what_was_before(tmp_path: Path, feed: MakeFeed) -> None:
    web = Store(tmp_path, "web")
    web.put(b"long ago\n", time_ns=1_000)
    web.put(b"lately\n", time_ns=3_000)
    one = feed()
    one.begin("--since", "2000")
    assert texts(one.take(1)) == ["lately"]
    Store(tmp_path, "db").put(b"first\n", time_ns=1_500)  # a stream that is new has all it says
    assert texts(one.take(1)) == ["first"]


def test_a_directory_that_is_removed_begins_anew(tmp_path: Path, feed: MakeFeed) -> None:
    web = Store(tmp_path, "web")
    web.put(b"before, and longer\n")
    one = feed()
    one.begin()
    assert texts(one.take(1)) == ["before, and longer"]
    shutil.rmtree(web.path)
    web.begin()
    web.put(b"after\n")
    assert texts(one.take(1)) == ["after"]


def test_a_stream_that_began_anew_and_grew_longer_is_found_out(
    tmp_path: Path, feed: MakeFeed
) -> None:
    web = Store(tmp_path, "web")
    web.put(b"old\n")
    one = feed()
    one.begin()
    assert texts(one.take(1)) == ["old"]
    os.kill(one.pid, signal.SIGSTOP)
    web.path.rename(tmp_path / "aside")
    web.begin()
    web.put(b"new, and longer\n")
    os.kill(one.pid, signal.SIGCONT)
    assert texts(one.take(1)) == ["new, and longer"]


def test_a_directory_that_the_logger_makes_again_goes_on(tmp_path: Path, feed: MakeFeed) -> None:
    web = Store(tmp_path, "web")
    web.put(b"old\n")
    one = feed()
    one.begin()
    assert texts(one.take(1)) == ["old"]
    web.path.rename(tmp_path / "aside")
    web.begin(web.offset)
    web.put(b"new\n")
    (line,) = one.take(1)
    assert (line["message"], line["seq"]) == ("new", 4)


def test_a_log_directory_that_comes_later_is_found(tmp_path: Path, feed: MakeFeed) -> None:
    one = feed()
    (tmp_path / "log").rmdir()
    one.begin()
    Store(tmp_path, "web").put(b"there\n")
    assert texts(one.take(1)) == ["there"]


def test_compressed_segments_are_read_too(tmp_path: Path, feed: MakeFeed) -> None:
    web = Store(tmp_path, "web")
    web.put(b"packed\nin the mid")
    web.rotate()
    web.put(b"dle\nnot packed\n")
    web.compress()
    one = feed()
    one.begin()
    assert texts(one.take(3)) == ["packed", "in the middle", "not packed"]


def test_logs_that_cannot_be_read_are_told_of(tmp_path: Path, feed: MakeFeed) -> None:
    web = Store(tmp_path, "web")
    web.put(b"packed\n")
    web.rotate()
    web.put(b"not packed\n")
    web.compress()
    one = feed()
    one.arguments[1] = "/nowhere"  # as if zstandard was not installed
    with (tmp_path / "stderr").open("wb") as said:
        one.start(stderr=said.fileno())
        assert one.wait() == 1
    assert "cannot read the logs" in (tmp_path / "stderr").read_text()


def test_what_is_no_units_is_left_alone(tmp_path: Path, feed: MakeFeed) -> None:
    for name in ("caf\u00e9", os.fsdecode(b"\xff")):
        Store(tmp_path, name).put(b"whose?\n")
    (tmp_path / "log" / "lost+found").mkdir()
    (tmp_path / "log" / ".boots").write_text("")
    Store(tmp_path, "web").put(b"mine\n")
    one = feed()
    one.begin()
    assert texts(one.take(1)) == ["mine"]
    assert quiet(one)


def test_without_inotify_logs_are_looked_at(tmp_path: Path, feed: MakeFeed) -> None:
    program = tmp_path / "without_inotify.py"
    program.write_text(f"""if True:
        import sys
        sys.path.insert(0, {str(ROOT)!r})
        from supervisor.logger import feeder, news
        def nothing_left():
            raise OSError(24, "Too many open files")
        news.Watch = nothing_left
        sys.exit(feeder.main(sys.argv[1:]))
    """)
    web = Store(tmp_path, "web")
    web.put(b"stored\n")
    one = feed()
    one.program = str(program)
    one.begin()
    assert texts(one.take(1)) == ["stored"]
    web.put(b"new\n")
    Store(tmp_path, "db").put(b"another's\n")
    assert sorted(texts(one.take(2))) == ["another's", "new"]
    one.end()
    assert one.rest() == []
    assert one.wait() == 0


# --- lines ---

def test_a_long_line_comes_in_pieces(tmp_path: Path, feed: MakeFeed) -> None:
    Store(tmp_path, "web").put(b"x" * (2 * PIECE_BYTES + 10) + b"\nshort\n")
    one = feed()
    one.begin()
    lines = one.take(4)
    assert [line.get("partial", False) for line in lines] == [True, True, False, False]
    assert [len(line["message"]) for line in lines] == [PIECE_BYTES, PIECE_BYTES, 10, 5]
    assert [line["seq"] for line in lines[:3]] == [0, PIECE_BYTES, 2 * PIECE_BYTES]


def test_a_line_without_an_end_comes_after_a_while_and_is_partial(
    tmp_path: Path, feed: MakeFeed
) -> None:
    web = Store(tmp_path, "web")
    web.put(b"password: ")
    one = feed()
    one.begin()
    assert quiet(one, 0.5)
    (line,) = one.take(1)
    assert (line["message"], line["partial"], line["seq"]) == ("password: ", True, 0)
    web.put(b"secret\n")
    (line,) = one.take(1)
    assert (line["message"], line.get("partial"), line["seq"]) == ("secret", None, 10)


def test_bytes_that_nobody_noted_come_too(tmp_path: Path, feed: MakeFeed) -> None:
    web = Store(tmp_path, "web")
    web.put(b"noted\n")
    web.put(b"not noted\n", note=False)
    one = feed()
    one.begin()
    assert texts(one.take(2)) == ["noted", "not noted"]


def test_a_loss_that_the_logger_declared_is_passed_on(tmp_path: Path, feed: MakeFeed) -> None:
    web = Store(tmp_path, "web")
    web.put(b"cut o")
    web.put(loss(1, 2, 77, "full") + b"\n", kind=LOSS)
    web.put(b"whole\n")
    one = feed()
    one.begin()
    lines = one.take(3)
    assert [line["stream"] for line in lines] == ["output", "lost", "output"]
    assert (lines[1]["bytes"], lines[1]["reason"]) == (77, "full")


# --- acknowledgements ---

def test_what_was_acknowledged_does_not_come_again_and_the_rest_does(
    tmp_path: Path, feed: MakeFeed
) -> None:
    Store(tmp_path, "web").put(b"1\n2\n3\n")
    Store(tmp_path, "db").put(b"4\n5\n")
    one = feed(cursor=True)
    one.start()
    lines = {line["message"]: line for line in one.take(5)}
    one.acknowledge(lines["2"], lines["4"])
    one.wait_progress(acknowledged={"web": 4, "db": 2})
    assert one.progress()["behind_bytes"] == 4
    assert one.cut() == 0
    one.start()
    assert sorted(texts(one.take(2))) == ["3", "5"]


def test_an_acknowledgement_sent_with_the_last_breath_counts(
    tmp_path: Path, feed: MakeFeed
) -> None:
    Store(tmp_path, "web").put(b"1\n2\n")
    one = feed(cursor=True)
    one.start()
    one.acknowledge(*one.take(2))
    assert one.cut() == 0
    assert one.cursor_path.read_text() == "web@4\n"


def test_a_line_that_waits_for_its_end_is_not_acknowledged_with_another_kinds(
    tmp_path: Path, feed: MakeFeed
) -> None:
    web = Store(tmp_path, "web")
    web.put(b"out, ")
    web.put(b"oops\n", kind=ERROR)
    one = feed(cursor=True)
    one.start()
    (line,) = one.take(1)
    assert (line["message"], line["stream"], line["cursor"]) == ("oops", "error", "web@0")
    one.acknowledge(line)
    assert one.cut() == 0
    web.put(b"and its end\n")
    one.start()
    lines = {line["seq"]: line["message"] for line in one.take(2)}
    assert lines == {0: "out, and its end", 5: "oops"}
    one.acknowledge({"cursor": "web@16"})
    one.wait_progress(acknowledged={"web": 22}, behind_bytes=0)


@pytest.mark.parametrize("ack", [
    b"web@ffff\n", b"web@-1\n", b"other@1\n", b"web\n", b"@@@\n", b"\xff\0\n", b"web@2",
])
def test_what_was_never_sent_cannot_be_acknowledged(
    tmp_path: Path, feed: MakeFeed, ack: bytes
) -> None:
    Store(tmp_path, "web").put(b"1\n2\n")
    one = feed(cursor=True)
    one.start()
    one.take(2)
    os.write(one.acks, ack)
    assert one.cut() == 0
    assert not one.cursor_path.exists()
    one.start()
    assert texts(one.take(2)) == ["1", "2"]


def test_a_cursor_file_that_is_damaged_means_that_all_comes(
    tmp_path: Path, feed: MakeFeed
) -> None:
    Store(tmp_path, "web").put(b"1\n2\n")
    one = feed(cursor=True)
    one.cursor_path.parent.mkdir(parents=True)
    one.cursor_path.write_bytes(b"\0\0\xff\n@\nweb@zz")
    one.start()
    assert texts(one.take(2)) == ["1", "2"]


def test_a_stream_shorter_than_its_cursor_goes_on_with_what_came_since(
    tmp_path: Path, feed: MakeFeed
) -> None:
    web = Store(tmp_path, "web")
    web.put(b"old\n", time_ns=1_000)
    web.put(b"new\n")
    one = feed(cursor=True)
    one.cursor_path.parent.mkdir(parents=True)
    one.cursor_path.write_text("web@1000\n")
    one.start()
    assert texts(one.take(1)) == ["new"]


def test_what_was_acknowledged_of_a_directory_that_was_removed_is_forgotten(
    tmp_path: Path, feed: MakeFeed
) -> None:
    web = Store(tmp_path, "web")
    web.put(b"before, and longer\n")
    one = feed(cursor=True)
    one.start()
    one.acknowledge(*one.take(1))
    one.wait_progress(acknowledged={"web": 19})
    shutil.rmtree(web.path)
    web.begin()
    web.put(b"after\n")
    one.take(1)
    one.wait_progress(delivered={"web": 6}, acknowledged={}, behind_bytes=6)
    assert one.cut() == 0
    assert one.cursor_path.read_text() == ""
    one.start()
    (line,) = one.take(1)
    assert line["message"] == "after"
    one.acknowledge(line)
    one.wait_progress(acknowledged={"web": 6}, behind_bytes=0)


# --- what was deleted before it was had ---

def test_what_retention_deleted_before_the_agent_had_it_is_a_loss(
    tmp_path: Path, feed: MakeFeed
) -> None:
    web = Store(tmp_path, "web")
    web.put(b"had\n")
    one = feed(cursor=True)
    one.start()
    one.acknowledge(*one.take(1))
    assert one.cut() == 0
    web.put(b"never seen\n")
    web.rotate()
    web.put(b"left\n")
    web.expire()
    one.start()
    lost, left = one.take(2)
    assert (lost["stream"], lost["reason"], lost["bytes"]) == ("lost", "expired", 11)
    assert (lost["seq"], lost["cursor"]) == (4, "web@f")
    assert (left["message"], left["seq"]) == ("left", 15)
    one.acknowledge(lost)
    assert one.cut() == 0
    one.start()
    assert texts(one.take(1)) == ["left"]


def test_what_was_deleted_before_an_agents_first_start_is_no_loss(
    tmp_path: Path, feed: MakeFeed
) -> None:
    web = Store(tmp_path, "web")
    web.put(b"gone\n")
    web.rotate()
    web.put(b"left\n")
    web.expire()
    one = feed(cursor=True)
    one.start()
    assert texts(one.take(1)) == ["left"]


def test_offsets_that_a_boot_leaves_out_are_no_loss(tmp_path: Path, feed: MakeFeed) -> None:
    web = Store(tmp_path, "web")
    web.put(b"before\n")
    one = feed(cursor=True)
    one.start()
    one.acknowledge(*one.take(1))
    assert one.cut() == 0
    web.begin(BOOT_BYTES)
    web.put(b"after\n")
    one.start()
    assert texts(one.take(1)) == ["after"]
    one.wait_progress(behind_bytes=6)


# --- a feed that is replaced ---

@pytest.mark.parametrize("cursor", [False, True])
def test_a_replaced_feed_begins_with_a_newline_and_goes_on(
    tmp_path: Path, feed: MakeFeed, cursor: bool
) -> None:
    web = Store(tmp_path, "web")
    web.put(b"1\n2\n")
    one = feed(cursor=cursor)
    one.start()
    lines = one.take(2)
    if cursor:
        one.acknowledge(*lines)
    one.wait_progress(delivered={"web": 4}, acknowledged={"web": 4} if cursor else {})
    one.kill()
    os.write(one.into, b'{"time":"2026-')  # what it was about to say
    web.put(b"3\n")
    one.start()
    assert texts(one.take(1)) == ["3"]


def test_the_first_feed_of_a_pipe_begins_with_a_line(tmp_path: Path, feed: MakeFeed) -> None:
    Store(tmp_path, "web").put(b"1\n")
    one = feed()
    for _ in range(2):
        one.start()
        assert os.read(one.lines, 1) == b"{"
        one.cut()


# --- the end ---

def test_at_the_end_all_comes_and_the_pipe_is_closed(tmp_path: Path, feed: MakeFeed) -> None:
    web = Store(tmp_path, "web")
    one = feed()
    one.begin()
    web.put(b"line\nlast words")
    one.end()
    lines = one.rest()
    assert texts(lines) == ["line", "last words"]
    assert one.wait() == 0


def test_at_the_end_the_feed_waits_until_all_is_acknowledged(
    tmp_path: Path, feed: MakeFeed
) -> None:
    Store(tmp_path, "web").put(b"1\n2\n")
    one = feed(cursor=True)
    one.begin()
    one.end()
    first, second = one.rest()  # the end is told before, so that nobody waits for more
    one.acknowledge(first)
    assert os.waitpid(one.pid, os.WNOHANG) == (0, 0)
    one.acknowledge(second)
    assert one.wait() == 0
    assert one.cursor_path.read_text() == "web@4\n"


@pytest.mark.parametrize("cursor", [False, True])
def test_the_end_comes_though_units_go_on_writing(
    tmp_path: Path, feed: MakeFeed, cursor: bool
) -> None:
    web = Store(tmp_path, "web")
    web.put(b"at first\n")
    one = feed(cursor=cursor)
    one.begin()
    one.end()
    lines: list[dict[str, Any]] = []
    for number in range(1_000_000):
        web.put(b"%d\n" % number * 100)
        if not quiet(one, 0.001):
            new = one.read()
            if not new:
                break
            lines += new
    if cursor:
        one.acknowledge(lines[-1])
    assert one.wait() == 0
    assert lines[-1]["seq"] < web.offset


def test_at_the_end_what_is_in_the_pipe_is_waited_for(tmp_path: Path, feed: MakeFeed) -> None:
    Store(tmp_path, "web").put(b"1\n")
    one = feed()
    one.start()
    one.end()
    assert select.select([one.lines], [], [], 10)[0]
    time.sleep(0.5)  # longer than a feed with nothing to wait for takes to end
    assert os.waitpid(one.pid, os.WNOHANG) == (0, 0)
    assert texts(one.take(1)) == ["1"]
    assert one.wait() == 0


def test_a_feed_whose_agent_is_gone_ends(tmp_path: Path, feed: MakeFeed) -> None:
    one = feed(cursor=True)
    one.start()
    one.wait_progress(behind_bytes=0)
    assert one.cut() == 0


@pytest.mark.parametrize("arguments", [
    [], ["web"], ["--log-dir", "/x", "web"], ["--log-dir", "/x", "--progress", "/y"],
    ["--log-dir", "/x", "--progress", "/y", "--since", "now", "web"],
    ["--log-dir", "/x", "--progress", "/y", "--what", "web"],
])
def test_wrong_arguments_are_refused(tmp_path: Path, arguments: list[str]) -> None:
    one = Feed(tmp_path)
    one.arguments, one.patterns = arguments[:-1], tuple(arguments[-1:])
    with one, (tmp_path / "stderr").open("wb") as said:
        if arguments[-1:] == ["/y"]:
            one.arguments, one.patterns = arguments, ()
        one.start(stderr=said.fileno())
        assert one.wait() == 2
    assert (tmp_path / "stderr").read_text().startswith("unboxed feed: cannot ")


# --- cost ---

def test_a_feed_with_nothing_to_do_sleeps(tmp_path: Path, feed: MakeFeed) -> None:
    web = Store(tmp_path, "web")
    web.put(b"1\n")
    one = feed(cursor=True)
    one.start()
    one.acknowledge(*one.take(1))
    one.wait_progress(acknowledged={"web": 2}, behind_bytes=0)
    time.sleep(0.7)  # the last look, cursor and progress
    slept = set()
    for _ in range(3):  # on a busy machine the last things are done late
        before = sleeps(one.pid)
        time.sleep(1)
        slept.add(sleeps(one.pid) - before)
        if 0 in slept:
            return
    raise AssertionError(slept)


def test_an_agent_that_takes_nothing_costs_neither_memory_nor_reading(
    tmp_path: Path, feed: MakeFeed
) -> None:
    for number in range(1000):
        Store(tmp_path, f"unit{number}").put(b"\n" * 1_000 + b"x" * 10_000 + b"\n")
    one = feed()
    one.start()
    one.wait_progress(behind_bytes=1000 * 11_001)
    time.sleep(0.5)
    before = sleeps(one.pid)
    Store(tmp_path, "unit0").path.joinpath("0000000000000000.log").touch()
    time.sleep(0.7)
    assert sleeps(one.pid) - before < 10
    assert memory_kib(one.pid) < 32 << 10
    count = 0
    while count < 1000 * 1_001:
        count += os.read(one.lines, 1 << 20).count(b"\n")
    assert memory_kib(one.pid) < 32 << 10


def test_progress_is_replaced_whole_and_rarely(tmp_path: Path, feed: MakeFeed) -> None:
    web = Store(tmp_path, "web")
    one = feed()
    one.start()
    seen: set[int] = set()
    deadline = time.monotonic() + 2.2
    number = 0
    while time.monotonic() < deadline:
        web.put(b"%d\n" % number)
        number += 1
        if not quiet(one, 0.01):
            one.read()
        if one.progress_path.exists():
            seen.add(one.progress_path.stat().st_mtime_ns)
            json.loads(one.progress_path.read_bytes())
    assert 2 <= len(seen) <= 7
