"""An agent is killed 100 times during a million numbered lines, and with it its feed and the
logger: each line arrives, and once only if (unit, instance, seq) tells which was had before."""
from __future__ import annotations

import os
import random
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.feed_kit import Feed
from tests.logger_kit import FakeKeeper, wait_until, writer

KILLS = 100
LINES = {"web": 700_000, "api/1": 300_000}  # of 60 bytes
BATCH = 50
AGENT = str(Path(__file__).parent / "noting_agent.py")
LINE_BYTES = 60
FED = re.compile(
    rb'"unit":"(\w+)","instance":(\d),"stream":"output","message":"(\d{59})","seq":(\d+),')


def numbered(count: int) -> Iterator[bytes]:
    for begin in range(0, count, BATCH):
        yield b"".join(b"%059d\n" % number for number in range(begin, begin + BATCH))


class Agent:
    """One after the other, on the pipes that the feed has."""

    def __init__(self, feed: Feed, out: Path) -> None:
        self.feed = feed
        self.out = out
        out.touch()

    def start(self) -> None:
        self.pid = os.posix_spawn(
            sys.executable, [sys.executable, "-I", "-S", AGENT, str(self.out)],
            {**os.environ, "UNBOXED_ACK_FD": "5"}, file_actions=[
                (os.POSIX_SPAWN_DUP2, self.feed.lines, 0),
                (os.POSIX_SPAWN_DUP2, self.feed.acks, 5),
            ])

    def kill(self) -> None:
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)

    def size(self) -> int:
        return self.out.stat().st_size


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_a_hundred_killed_agents_get_each_line(tmp_path: Path) -> None:
    chance = random.Random(100)
    share = 230 * sum(LINES.values()) // KILLS  # of the agent's file
    keeper = FakeKeeper(tmp_path / "log", f"keep={1 << 30} segment={4 << 20}")
    feed = Feed(tmp_path, "web", "api", cursor=True)
    agent = Agent(feed, tmp_path / "had")
    with keeper, feed:
        keeper.start()
        ends = {name: keeper.stream(name) for name in LINES}
        with (
            writer(ends["web"], lambda: numbered(LINES["web"])),
            writer(ends["api/1"], lambda: numbered(LINES["api/1"])),
        ):
            wait_until((tmp_path / "log" / "web").exists)
            for kill in range(KILLS):
                feed.start()
                agent.start()
                most = agent.size() + chance.randrange(2 * share)
                deadline = time.monotonic() + 0.5  # or whatever it had by then
                while agent.size() < most and time.monotonic() < deadline:
                    time.sleep(0.001)
                if kill % 3 == 0:
                    feed.kill()
                    feed.start()
                    time.sleep(chance.random() * 0.05)
                if kill % 10 == 0:
                    keeper.kill()
                    keeper.start()
                agent.kill()
                assert feed.cut() == 0
            feed.start()
            agent.start()
            os.close(feed.into)
            sizes = {name: count * LINE_BYTES for name, count in LINES.items()}
            wait_until(lambda: feed.progress()["acknowledged"] == sizes, 60)
            feed.end()
            assert feed.wait() == 0
            os.waitpid(agent.pid, 0)

    had: dict[str, dict[int, int]] = defaultdict(dict)  # by stream: number by seq
    repeated = 0
    for unit, instance, number, seq in FED.findall(agent.out.read_bytes()):
        key = f"{unit.decode()}/{int(instance)}"
        repeated += int(seq) in had[key]
        assert had[key].setdefault(int(seq), int(number)) == int(number)
    assert [had["web/0"][at] for at in sorted(had["web/0"])] == list(range(LINES["web"]))
    assert [had["api/1"][at] for at in sorted(had["api/1"])] == list(range(LINES["api/1"]))
    print(f"{KILLS} kills, {repeated} lines were sent more than once")
