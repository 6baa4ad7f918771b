"""The live view's lines: in order, and in columns that stay where they are."""
from __future__ import annotations

from typing import Any

import pytest

from supervisor.cli.screen import Screen
from supervisor.cli.view import HOLD_NS, LONG_HOLD_NS, View
from tests.unit.cli.fake import instance, transition

NOW = 1_800_000_000 * 10**9
MS = 10**6
UP = "launching", "up", "started"
ENDED = "up", "backoff", "exit 3"


def status(*keys: str) -> dict[str, Any]:
    return {"instances": [instance(key) for key in keys], "supervisor": {"pid": 1}}


def event(number: int, change: tuple[str, str, str], at_ns: int = NOW) -> dict[str, Any]:
    return {**transition(number, "web", *change), "time_ns": at_ns}


@pytest.fixture
def view() -> View:
    made = View(Screen())
    made.answer(status("web"), NOW)
    return made


def lines(capfd: pytest.CaptureFixture[str]) -> list[str]:
    return capfd.readouterr().out.splitlines()


def test_a_start_stands_above_the_end_that_came_first_by_the_other_way(
    view: View, capfd: pytest.CaptureFixture[str]
) -> None:
    view.transition(event(2, ENDED), NOW)
    view.transition(event(1, UP), NOW + 5 * MS)
    view.transition(event(2, ENDED), NOW + 5 * MS)
    view.draw(NOW + 10 * MS)
    assert view.holds
    assert lines(capfd) == []
    view.draw(NOW + HOLD_NS)
    assert lines(capfd) == ["web     > up: started", "web     > ended: exit 3"]
    assert not view.holds


def test_numbers_decide_even_where_the_clock_was_set_back_between(
    view: View, capfd: pytest.CaptureFixture[str]
) -> None:
    view.transition(event(1, UP, NOW), NOW)
    view.transition(event(2, ENDED, NOW - 60 * MS), NOW)
    view.draw(NOW - 3600 * 10**9)
    assert [line.split()[2] for line in lines(capfd)] == ["up:", "ended:"]


def test_lines_stand_where_their_time_is_among_the_states(
    view: View, capfd: pytest.CaptureFixture[str]
) -> None:
    view.transition(event(1, UP, NOW), NOW + 4 * MS)
    view.transition(event(2, ENDED, NOW + 3 * MS), NOW + 4 * MS)
    view.log(NOW + 2 * MS, "web", b"second", NOW + 5 * MS)
    view.log(NOW + 1 * MS, "web", b"first", NOW + 5 * MS)
    view.draw(NOW + HOLD_NS + 4 * MS)
    assert lines(capfd) == [
        "web     > up: started", "web     | first", "web     | second", "web     > ended: exit 3"]


def test_what_is_missing_by_one_way_is_waited_for_and_not_for_ever(
    view: View, capfd: pytest.CaptureFixture[str]
) -> None:
    view.transition(event(4, ENDED), NOW)
    view.draw(NOW + HOLD_NS)
    assert lines(capfd) == []
    for number in (1, 2, 3):
        view.transition(event(number, UP), NOW + HOLD_NS)
    view.draw(NOW + HOLD_NS)
    assert [line.split()[2] for line in lines(capfd)] == ["up:", "up:", "up:", "ended:"]
    view.transition(event(9, UP), NOW)
    view.draw(NOW + LONG_HOLD_NS)
    assert lines(capfd) == ["web     > up: started"]
    view.transition(event(10, ENDED), NOW)
    view.draw(NOW + HOLD_NS)
    assert lines(capfd) == ["web     > ended: exit 3"]


def test_last_words_stand_above_the_end_though_the_logger_had_them_a_little_later(
    view: View, capfd: pytest.CaptureFixture[str]
) -> None:
    view.transition(event(1, ENDED, NOW), NOW)
    view.log(NOW + 2 * MS, "web", b"farewell", NOW + 3 * MS)
    view.draw(NOW + HOLD_NS + 3 * MS)
    assert lines(capfd) == ["web     | farewell", "web     > ended: exit 3"]


def test_an_end_shows_even_where_the_next_start_begins_at_once(
    view: View, capfd: pytest.CaptureFixture[str]
) -> None:
    view.transition(event(1, ("up", "waiting", "killed by SIGKILL")), NOW)
    view.transition(event(2, ("waiting", "launching", "killed by SIGKILL")), NOW)
    view.transition(event(3, UP), NOW)
    view.transition(event(4, ("down", "waiting", "started by uid 0")), NOW)
    view.draw(NOW + HOLD_NS)
    assert lines(capfd) == ["web     > ended: killed by SIGKILL", "web     > up: started"]


def test_all_names_have_their_room_before_the_first_line(
    capfd: pytest.CaptureFixture[str]
) -> None:
    view = View(Screen(), ["web", "a-long-name"])
    view.note("ready", NOW)
    view.draw(NOW + HOLD_NS)
    assert lines(capfd) == []  # instances are not known yet
    view.answer(status("web", "a-long-name/0"), NOW)
    view.log(NOW, "web", b"x", NOW)
    view.log(NOW, "a-long-name/0", b"y", NOW)
    view.draw(NOW + HOLD_NS)
    assert lines(capfd) == [
        "unboxed       > ready", "web           | x", "a-long-name/0 | y"]


def test_without_any_answer_what_is_held_is_shown_in_the_end(
    capfd: pytest.CaptureFixture[str]
) -> None:
    view = View(Screen())
    view.note("cannot begin", NOW)
    view.close()
    assert lines(capfd) == ["unboxed > cannot begin"]


def test_a_flood_is_not_held(view: View, capfd: pytest.CaptureFixture[str]) -> None:
    count = 0
    while not view.full:
        view.log(NOW, "web", b"x", NOW)
        count += 1
    view.draw(NOW)
    assert len(lines(capfd)) == count
