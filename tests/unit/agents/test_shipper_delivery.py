from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from supervisor.agents.shipper import delivery
from supervisor.agents.shipper.delivery import Delivery
from supervisor.agents.shipper.intake import Line
from supervisor.agents.shipper.outcome import Later, Never, TooLarge
from tests.unit.agents.shipper_kit import line, settings

Step = int | Exception


class Receiver:
    """`steps`: what becomes of each try; of all further ones the last."""

    refused_why = "they smell"

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.tries: list[list[str]] = []
        self.timeouts: list[float] = []

    def send(self, lines: list[Line], timeout_seconds: float) -> int:
        self.tries.append([line.message for line in lines])
        self.timeouts.append(timeout_seconds)
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, Exception):
            raise step
        return step

    def close(self) -> None:
        raise AssertionError


class Clock:
    """Sleeps in no time."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.waits: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        return False


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: clock.now)
        yield clock


def make(receiver: Receiver, clock: Clock) -> Delivery:
    return Delivery(settings("loki", timeout_seconds=10), receiver, clock.wait)


LINES = [line(str(number)) for number in range(4)]


def test_what_is_taken_is_delivered(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    receiver = Receiver(0)
    one = make(receiver, clock)
    assert one.deliver(LINES)
    assert (one.delivered, one.refused, clock.waits) == (4, 0, [])
    assert capsys.readouterr().err == ""


def test_a_receiver_that_is_away_is_waited_for_longer_and_longer(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver = Receiver(*[Later("nobody is there")] * 12, 0)
    one = make(receiver, clock)
    assert one.deliver(LINES)
    assert receiver.tries == [["0", "1", "2", "3"]] * 13
    for number, waited in enumerate(clock.waits):
        most = min(delivery.MOST_SECONDS, delivery.FIRST_SECONDS * 2**number)
        assert most / 2 <= waited <= most
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2  # not of each try
    assert said[0].startswith("shipper: cannot deliver to http://localhost:1/: nobody is there; 4")
    assert "again, after" in said[1]
    assert (one.delivered, one.refused) == (4, 0)


def test_a_failure_that_goes_on_or_changes_is_told_again(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    one = make(Receiver(Later("a"), Later("b"), *[Later("c")] * 50, 0), clock)
    assert one.deliver(LINES)
    said = capsys.readouterr().err
    assert (said.count(": a;"), said.count(": b;")) == (1, 1)
    assert 2 <= said.count(": c;") <= 6


def test_waits_differ_by_chance(clock: Clock) -> None:
    for _ in range(20):
        make(Receiver(Later("x"), 0), clock).deliver(LINES)
    assert len(set(clock.waits)) > 10


def test_a_receiver_that_says_when_is_believed(clock: Clock) -> None:
    make(Receiver(Later("busy", 33), 0), clock).deliver(LINES)
    assert clock.waits == [33]


def test_what_is_too_large_is_sent_in_halves_and_in_order(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    large = TooLarge("413")
    receiver = Receiver(large, large, 0, large, 0, 0)
    one = make(receiver, clock)
    assert one.deliver(LINES)
    assert receiver.tries == [
        ["0", "1", "2", "3"], ["0", "1"], ["0"], ["1"], ["2", "3"]]
    assert (one.delivered, one.refused) == (3, 1)
    assert "cannot deliver 1 lines" in capsys.readouterr().err


def test_what_is_refused_for_good_is_lost_with_a_word(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver = Receiver(Never("400 Bad Request: no"), 0)
    one = make(receiver, clock)
    assert one.deliver(LINES)
    assert one.deliver(LINES)
    assert (one.delivered, one.refused, len(receiver.tries)) == (4, 4, 2)
    said = capsys.readouterr().err
    assert "cannot deliver 4 lines to http://localhost:1/: 400 Bad Request: no;" in said
    assert "(4 refused since the start)" in said


def test_what_is_refused_in_part_is_counted(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    one = make(Receiver(3), clock)
    assert one.deliver(LINES)
    assert (one.delivered, one.refused) == (1, 3)
    assert "cannot deliver 3 lines to http://localhost:1/: they smell;" in capsys.readouterr().err


def test_at_the_end_there_is_only_so_much_time(clock: Clock) -> None:
    receiver = Receiver(Later("away"))
    one = make(receiver, clock)
    one.deadline = clock.now + 5
    assert not one.deliver(LINES)
    assert clock.now <= one.deadline
    assert max(receiver.timeouts) <= 5
    assert (one.delivered, one.refused) == (0, 0)
