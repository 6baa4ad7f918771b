from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from supervisor.logger.when import parse_time

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A zone with summer time, given as a rule so that no zone files are needed."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


NOW = 1_795_256_520 * SECOND  # 2026-11-21 11:22:00 in Berlin


def local(text: str) -> int:
    return int(time.mktime(time.strptime(text, "%Y-%m-%d %H:%M:%S"))) * SECOND


@pytest.mark.parametrize(
    "text, back",
    [
        ("5m", 5 * MINUTE), ("5m ago", 5 * MINUTE), ("1h30m", 90 * MINUTE),
        ("1h 30m ago", 90 * MINUTE), ("90s", 90 * SECOND), ("2d", 2 * DAY), ("1w", 7 * DAY),
        ("1.5h", 90 * MINUTE), ("10 minutes ago", 10 * MINUTE), ("2 Days", 2 * DAY), ("now", 0),
        ("0s", 0), ("9999999w", NOW),
    ],
)
def test_durations_lie_before_now(text: str, back: int) -> None:
    assert parse_time(text, NOW) == NOW - back


@pytest.mark.parametrize(
    "text, expected",
    [
        ("10:30", "2026-11-21 10:30:00"),
        ("10:30:15", "2026-11-21 10:30:15"),
        ("9:05", "2026-11-21 09:05:00"),
        ("23:50", "2026-11-20 23:50:00"),  # the last one, not the next
        ("today", "2026-11-21 00:00:00"),
        ("yesterday", "2026-11-20 00:00:00"),
        ("yesterday 10:30", "2026-11-20 10:30:00"),
        ("today 23:50", "2026-11-21 23:50:00"),
        ("2026-11-21", "2026-11-21 00:00:00"),
        ("2026-11-21 10:30", "2026-11-21 10:30:00"),
        ("2026-11-21T10:30:07", "2026-11-21 10:30:07"),
        ("2026-07-01 12:00", "2026-07-01 12:00:00"),  # summer time
    ],
)
def test_local_times(text: str, expected: str) -> None:
    assert parse_time(text, NOW) == local(expected)


def test_days_of_23_hours_begin_at_midnight_too() -> None:
    now = local("2026-03-29 12:00:00")
    assert now - parse_time("today", now) == 11 * HOUR
    now = local("2026-03-01 00:30:00")
    assert parse_time("yesterday", now) == local("2026-02-28 00:00:00")


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("2026-11-21T10:22:00Z", 1_795_256_520),
        ("2026-11-21 11:22:00+01:00", 1_795_256_520),
        ("2026-11-21T10:22:00.25Z", 1_795_256_520.25),
        ("@1795256520", 1_795_256_520),
        ("@1795256520.5", 1_795_256_520.5),
        ("@0", 0),
    ],
)
def test_times_with_a_zone(text: str, seconds: float) -> None:
    assert parse_time(text, 0) == int(seconds * 100) * SECOND // 100


@pytest.mark.parametrize(
    "text",
    ["", "soon", "5", "5 parsecs", "25:00", "10:61", "tomorrowish", "2026-13-01", "2026-02-30", "@",
     "@x", "m5", "5m later", "-5m", "yesterday noon", "99999999999999999999-01-01", "\0",
     "5m" * 50 + "x"],
)
def test_what_is_no_time_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="cannot read the time"):
        parse_time(text, NOW)
