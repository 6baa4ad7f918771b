"""Fault 30 with `rate`: of a unit that says more than it may, each byte is stored or counted, also
when loggers are killed meanwhile; one that is within its rate loses nothing."""
from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

from supervisor.logger.form import LOSS
from tests.logger_kit import FakeKeeper, arrivals, check_all, ended, numbered, wait_until, writer

RATE = 200_000  # bytes a second
BYTES = 10_000_000


def flood() -> Iterator[bytes]:
    """Ten megabytes a second."""
    for at in range(0, BYTES, 20_000):
        yield numbered(at, 20_000)
        time.sleep(0.002)


def wake_ups(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("\nvoluntary_ctxt_switches:")[1].split()[0])


def declared(keeper: FakeKeeper) -> bool:
    return keeper.figures()["web"][1] > 0 and not list((keeper.runtime / "logger").iterdir())


def test_f30_beyond_the_rate_all_is_counted_by_whoever_lives(tmp_path: Path) -> None:
    chance, web = random.Random(30), tmp_path / "log" / "web"
    with FakeKeeper(tmp_path / "log", f"rate={RATE} compress=0") as keeper:
        keeper.start()
        end = keeper.stream("web")
        began, kills = time.monotonic(), 0
        with writer(end, flood) as pid:
            while not ended(pid, chance.random() / 4):
                keeper.kill()
                keeper.start()
                kills += 1
        took = time.monotonic() - began
        wait_until(lambda: declared(keeper))  # when the burst is over
        written, lost = check_all(web, numbered)
        print(f"{kills} kills in {took:.1f} s, {lost} bytes lost")
        assert written == BYTES
        assert BYTES - lost <= RATE * (took + 1 + kills), "each logger begins with a full bucket"
        os.write(end, numbered(BYTES, 100))
        assert keeper.finish() == 0
        assert check_all(web, numbered) == (BYTES + 100, lost)
        assert not list((tmp_path / "rt" / "logger").iterdir())


def test_f30_a_loss_is_one_record_a_second_and_comes_in_time(tmp_path: Path) -> None:
    web = tmp_path / "log" / "web"
    options = f"rate={RATE} compress=0"
    with FakeKeeper(tmp_path / "log", options, more=["--budget", "0"]) as keeper:
        pid = keeper.start()
        end, began = keeper.stream("web"), time.monotonic()
        with writer(end, lambda: (numbered(at, 20_000) for at in range(0, 3_000_000, 20_000))) as u:
            assert ended(u, 20)
        over_ns = time.time_ns()
        wait_until(lambda: declared(keeper))
        assert time.time_ns() - over_ns < 3_000_000_000
        took = time.monotonic() - began
        records = [json.loads(data) for kind, data in arrivals(web) if kind == LOSS]
        assert {record["reason"] for record in records} == {"rate"}
        assert 1 <= len(records) <= took + 1
        assert records[0]["from"] <= records[0]["to"]
        stored, lost, losses, _ = keeper.figures()["web"]
        assert (stored + lost, losses) == (3_000_000, len(records))
        assert check_all(web, numbered) == (3_000_000, lost)
        assert RATE <= stored < RATE * (took + 1)
        time.sleep(0.1)  # until the pipe is calm
        before = wake_ups(pid)
        time.sleep(1)
        assert wake_ups(pid) == before, "nothing is polled for"
