"""The times of a start, put together from what the journal has."""
from __future__ import annotations

from supervisor.core.boot_times import BootTimes
from supervisor.model.state import Phase, Transition


def moved(key: str, when: int, source: Phase, target: Phase) -> Transition:
    return Transition(when, key, when, source, target, "")


def done(times: BootTimes) -> int:
    return times.done_ns


FIRST = [
    moved("db", 10, "down", "launching"), moved("web", 11, "down", "waiting"),
    moved("db", 20, "launching", "starting"), moved("db", 30, "starting", "up"),
]  # fmt: skip
REST = [moved("web", 31, "waiting", "launching"), moved("web", 40, "launching", "up")]
BEGUN = BootTimes(marks={"keeper": 1, "begun": 12}, begun=True)


def test_it_is_over_when_all_that_was_begun_is_up() -> None:
    times = BootTimes()
    times.note(FIRST)
    times.add(BEGUN)
    assert not done(times)
    times.note(REST)
    assert done(times) == 40
    assert times.came["db"] == {"launching": 10, "starting": 20, "up": 30}
    assert times.came["web"] == {"waiting": 11, "launching": 31, "up": 40}


def test_what_happens_afterwards_is_none_of_it() -> None:
    times = BootTimes()
    times.note([*FIRST, *REST])
    assert not done(times), "others may still be begun"
    times.add(BEGUN)
    times.note([moved("late", 50, "down", "launching"), moved("db", 60, "up", "stopping")])
    assert done(times) == 40
    assert set(times.came) == {"db", "web"}
    assert "stopping" not in times.came["db"]


def test_only_the_first_time_counts() -> None:
    times = BootTimes()
    times.note([*FIRST, moved("db", 35, "up", "backoff"), moved("db", 36, "backoff", "launching")])
    assert times.came["db"] == {"launching": 10, "starting": 20, "up": 30, "backoff": 35}
    assert times.under_way == {"db", "web"}


def test_the_first_manager_s_marks_stay_when_another_one_goes_on() -> None:
    times = BootTimes()
    times.add(BootTimes(marks={"keeper": 1, "imports": 5}))
    times.add(BootTimes(marks={"imports": 90, "begun": 95}, begun=True))
    assert times.marks == {"keeper": 1, "imports": 5, "begun": 95}
    assert done(times) == 95, "a start of nothing is over when it has begun"
