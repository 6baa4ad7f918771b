"""Feeds as the keeper sees them: when they are launched, replaced, told to end and let go of."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from supervisor.manager import supervisor
from supervisor.manager.feeds import BORN_NS, FIRST_NS, GONE_NS, LONGEST_NS
from supervisor.model.unit import Agent, Unit
from tests.unit.manager.kit import Bench, Sent

SHIP = Unit("ship", command=("/bin/true",), attach=("web",), agent=Agent(("logs",), cursor=True))
WEB = Unit("web", command=("/bin/true",))
TERM, KILL = 15, 9


class Feeding(Bench):
    """With a clock of its own."""

    clock = 1 << 60

    def __init__(self, home: Path) -> None:
        (home / "agents").mkdir(exist_ok=True)
        many = replace(SHIP, name="many", attach=tuple(f"{'x' * 50}{n}" for n in range(40)))
        super().__init__(home, SHIP, WEB, many)

    def after(self, span: int) -> list[Sent]:
        self.clock += span
        self.sup.turn()
        return self.sent()

    def feed(self) -> int:
        """The launch number of the feed that was just asked for."""
        (number,) = launches(self.sent(), b"ship:feed:")
        return number


def launches(sent: list[Sent], key: bytes) -> list[int]:
    return [tag for op, tag, payload in sent if op == "SPAWN" and payload.startswith(key)]


def signals(sent: list[Sent]) -> list[tuple[int, int]]:
    return [(tag, payload[0]) for op, tag, payload in sent if op == "SIGNAL"]


def dropped(sent: list[Sent]) -> list[str]:
    return [payload[:-1].decode() for op, _, payload in sent if op == "DROP"]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Feeding]:
    monkeypatch.setattr(supervisor, "monotonic_ns", lambda: made.clock if made else Feeding.clock)
    made: Feeding | None = None
    made = Feeding(tmp_path)
    yield made
    made.close()


def test_launch_numbers_rise_so_a_feed_comes_after_all_that_core_asked_for(bench: Feeding) -> None:
    bench.sup.world.start(["web", "ship"], "the test", bench.clock)
    bench.sup.turn()
    sent = bench.sent()
    spawned = [(tag, payload.split(b"\0")[0]) for op, tag, payload in sent if op == "SPAWN"]
    assert [key for _, key in spawned] == [b"ship", b"web", b"ship:feed:3"]
    assert [tag for tag, _ in spawned] == [1, 2, 3]
    stored = [payload[:-1] for op, _, payload in sent if op == "PUT"]
    assert [name for name in stored if b":" in name] == [b"feed:ship", b"ack:ship"]


def test_one_that_fails_is_replaced_at_once_and_then_ever_later(bench: Feeding) -> None:
    bench.start("ship")
    number, pauses = bench.feed(), []
    for _ in range(9):
        bench.exited("ship:feed", number, 50, status=1)
        sent, pause = bench.after(1), 0
        while not launches(sent, b"ship:feed:"):
            pause = bench.sup.feeds_ns - bench.clock
            sent = bench.after(pause)
        pauses.append(round(pause / FIRST_NS, 3))
        (number,) = launches(sent, b"ship:feed:")
    assert pauses == [0, 1, 2, 4, 8, 16, 32, LONGEST_NS / FIRST_NS, LONGEST_NS / FIRST_NS]
    assert bench["ship"].phase == "launching"  # nobody minds
    assert len(bench.reports) == 8


def test_two_that_end_by_themselves_had_nobody_to_feed(bench: Feeding) -> None:
    bench.start("ship")
    bench.exited("ship:feed", bench.feed(), 50)
    (second,) = launches(bench.after(FIRST_NS), b"ship:feed:")
    bench.exited("ship:feed", second, 51)
    assert not launches(bench.after(LONGEST_NS), b"ship:feed:")
    assert bench.sup.feeds_ns == 0
    assert not bench.reports


def test_at_a_stop_it_is_told_when_it_can_hear_and_the_keeper_lets_go_of_the_pipe(
    bench: Feeding,
) -> None:
    bench.start("ship")
    feed = bench.feed()
    bench.execed("ship", 40)
    bench.sup.world.stop(["ship"], "the test", bench.clock)
    bench.sup.turn()
    sent = bench.sent()
    assert dropped(sent) == ["feed:ship"]
    assert not signals(sent)
    assert signals(bench.after(BORN_NS)) == [(feed, TERM)]
    bench.exited("ship:feed", feed, 50)
    assert not signals(bench.after(BORN_NS))
    bench.exited("ship", bench["ship"].launch, 40)
    assert "ack:ship" in dropped(bench.sent())
    assert bench["ship"].phase == "down"
    assert bench.sup.attending is not None
    assert bench.sup.attending.feeds.run_of("ship") == 0


def test_one_whose_agent_is_gone_has_a_moment_to_end(bench: Feeding) -> None:
    bench.start("ship")
    feed = bench.feed()
    bench.execed("ship", 40)
    bench.exited("ship", bench["ship"].launch, 40, status=1)
    sent = bench.sent()
    assert signals(sent) == [(feed, TERM)]
    assert dropped(sent) == ["feed:ship", "ack:ship"]
    assert (feed, KILL) in signals(bench.after(GONE_NS))


def test_the_next_run_does_not_wait_for_the_feed_of_the_last(bench: Feeding) -> None:
    bench.start("ship")
    feed = bench.feed()
    bench.execed("ship", 40)
    bench.exited("ship", bench["ship"].launch, 40, status=1)
    bench.sent()
    sent = bench.after(bench["ship"].deadline_ns - bench.clock)
    assert len(launches(sent, b"ship\0")) == 1
    assert (feed, KILL) in signals(sent)
    assert len(launches(sent, b"ship:feed:")) == 1


def test_a_plan_that_is_too_long_costs_only_the_feed(bench: Feeding) -> None:
    bench.sup.keeper.max_frame = 2 << 10
    bench.start("many")
    sent = bench.sent()
    assert len(launches(sent, b"many\0")) == 1
    assert not launches(sent, b"many:feed:")
    assert not launches(bench.after(LONGEST_NS), b"many:feed:")
    (words,) = bench.reports
    assert words.startswith("cannot feed many: its launch plan takes")
