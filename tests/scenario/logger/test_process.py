"""The logger process as the keeper knows it: streams come and go, loggers too."""
from __future__ import annotations

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.logger.form import ENTRY_BYTES
from supervisor.logger.read import records
from tests.logger_kit import PROGRAM, PYTHON, FakeKeeper, frame, segments, wait_until


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[FakeKeeper]:
    with tempfile.TemporaryFile() as messages:
        with FakeKeeper(tmp_path / "log", stderr=messages.fileno()) as made:
            yield made
        messages.seek(0)
        assert messages.read() == b"", "the logger complained"


def noted(directory: Path) -> int:
    """Arrivals so far."""
    return sum(path.stat().st_size for path in directory.glob("*.idx")) // ENTRY_BYTES


def pss_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(text.split("\nPss:")[1].split()[0])


def switches(pid: int) -> list[str]:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return [line for line in status if "ctxt_switches" in line]


def test_lines_of_many_streams_are_stored_and_read(keeper: FakeKeeper) -> None:
    keeper.start()
    ends = [keeper.stream(f"unit/{number}") for number in range(20)]
    for number, end in enumerate(ends):
        os.write(end, b"from %d\n" % number)
    wait_until(lambda: len(list(keeper.log_dir.glob("*/*.idx"))) == 20)
    assert keeper.finish() == 0
    found = list(records(str(keeper.log_dir)))
    assert sorted(record[3] for record in found) == sorted(b"from %d" % n for n in range(20))
    assert all(abs(time.time_ns() - record[0]) < 60 * 10**9 for record in found)


def test_a_stream_that_is_gone_is_drained_first(keeper: FakeKeeper) -> None:
    pid = keeper.start()
    end = keeper.stream("task")
    before = keeper.stream("other")
    os.write(before, b"x")
    wait_until(lambda: keeper.stored("other"))
    files = len(os.listdir(f"/proc/{pid}/fd"))
    os.kill(pid, signal.SIGSTOP)
    os.write(end, b"last words\n" * 5000)
    keeper.close(end)
    keeper.drop("task")
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: len(os.listdir(f"/proc/{pid}/fd")) == files - 1)
    assert keeper.stored("task") == b"last words\n" * 5000


def test_a_name_may_come_back_before_its_old_pipe_is_empty(keeper: FakeKeeper) -> None:
    pid = keeper.start()
    os.kill(pid, signal.SIGSTOP)
    for number in range(4):
        end = keeper.stream("task")
        os.write(end, b"%d" % number * 9000)
        keeper.close(end)
        keeper.drop("task")
    end = keeper.stream("task")
    os.write(end, b"end")
    os.kill(pid, signal.SIGCONT)
    expected = b"".join(b"%d" % number * 9000 for number in range(4)) + b"end"
    wait_until(lambda: keeper.stored("task") == expected)


def test_the_same_stream_told_twice_is_one_stream(keeper: FakeKeeper) -> None:
    pid = keeper.start()
    end = keeper.stream("web")
    os.write(end, b"one")
    wait_until(lambda: keeper.stored("web"))
    files = len(os.listdir(f"/proc/{pid}/fd"))
    keeper.announce("web")
    os.write(end, b"two")
    wait_until(lambda: keeper.stored("web") == b"onetwo")
    wait_until(lambda: len(os.listdir(f"/proc/{pid}/fd")) == files)


def test_what_is_in_the_pipes_when_the_keeper_ends_is_stored(keeper: FakeKeeper) -> None:
    pid = keeper.start()
    ends = [keeper.stream(f"unit-{number}") for number in range(50)]
    os.kill(pid, signal.SIGSTOP)
    for end in ends:
        os.write(end, b"bye" * 10_000)
    os.kill(pid, signal.SIGCONT)
    assert keeper.finish() == 0
    assert all(keeper.stored(f"unit-{number}") == b"bye" * 10_000 for number in range(50))


def test_the_next_logger_stores_what_came_meanwhile(keeper: FakeKeeper) -> None:
    keeper.start()
    end = keeper.stream("web")
    os.write(end, b"first\n")
    wait_until(lambda: keeper.stored("web"))
    keeper.kill()
    os.write(end, b"meanwhile\n")
    keeper.start()
    wait_until(lambda: keeper.stored("web") == b"first\nmeanwhile\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_signals_to_the_whole_group_do_not_end_it(keeper: FakeKeeper, number: int) -> None:
    pid = keeper.start()
    end = keeper.stream("web")
    os.write(end, b"before ")
    wait_until(lambda: keeper.stored("web"))
    os.kill(pid, number)
    os.write(end, b"after")
    wait_until(lambda: keeper.stored("web") == b"before after")


def test_frames_it_does_not_know_change_nothing(keeper: FakeKeeper) -> None:
    keeper.start()
    end = keeper.stream("web")
    assert keeper.socket
    keeper.socket.send(frame("STREAM_GONE", b"never heard of\0"))
    keeper.socket.send(b"\x01")
    keeper.socket.send(b"\xff" * 5000)
    os.write(end, b"still here")
    wait_until(lambda: keeper.stored("web") == b"still here")


def test_a_thousand_streams_fit_in_16_mb_and_cost_nothing_while_idle(keeper: FakeKeeper) -> None:
    pid = keeper.start()
    ends = [keeper.stream(f"unit-{number}") for number in range(1000)]
    for end in ends:
        os.write(end, b"a line like many others\n")
    wait_until(lambda: len(list(keeper.log_dir.glob("*/*.idx"))) == 1000)
    wait_until(lambda: Path(f"/proc/{pid}/wchan").read_text() in {"ep_poll", "do_epoll_wait", "0"})
    assert pss_kib(pid) < 16_000
    before = switches(pid)
    assert select.select([], [], [], 1.0) == ([], [], [])
    assert switches(pid) == before


def test_a_flood_becomes_few_large_arrivals(keeper: FakeKeeper) -> None:
    """Each line's page taken as it comes would cost ten times the CPU."""
    keeper.options = f"keep={1 << 30}"
    keeper.start()
    end = keeper.stream("web")
    lines = 200_000
    subprocess.run(
        ["dd", "if=/dev/zero", "bs=100", f"count={lines}", "status=none"], stdout=end, check=True
    )
    assert keeper.finish() == 0
    assert sum(path.stat().st_size for path in segments(keeper.log_dir / "web")) == 100 * lines
    assert noted(keeper.log_dir / "web") < lines / 20


def test_wrong_usage_is_explained(tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        command = ["sh", "-c", 'exec "$@" 3>/dev/null', "sh", PYTHON, "-I", "-S", PROGRAM]
        ran = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        return ran.returncode, ran.stderr

    for words in ("", "--log-dir", "--log x", "--log-dir x y"):
        status, said = run(*words.split())
        assert status == 2
        assert "usage: --log-dir DIR" in said
    status, said = run("--log-dir", str(tmp_path))
    assert status == 2
    assert "cannot use descriptor 3" in said
