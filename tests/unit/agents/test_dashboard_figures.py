import pytest

from supervisor.agents.dashboard.figures import INTERVAL_S, KEPT_S, SAMPLES, Counters, Figures

GB = 1 << 30


def test_cpu_and_log_are_rates_between_two_samples() -> None:
    figures = Figures()
    figures.sample(100, {"web": Counters(GB, 1_000_000_000, 3, 1000)})
    figures.sample(102, {"web": Counters(GB, 2_000_000_000, 3, 5000)})
    assert figures.all("web") == [[100, GB, None, 3, None], [102, GB, 50, 3, 2000]]
    assert figures.latest("web") == [102, GB, 50, 3, 2000]


def test_what_begins_anew_has_no_rate_at_first() -> None:
    figures = Figures()
    figures.sample(100, {"web": Counters(None, 9_000_000_000, None, 9000)})
    figures.sample(102, {"web": Counters(None, 1_000_000, None, 10)})
    assert figures.latest("web") == [102, None, None, None, None]


def test_only_the_last_ten_minutes_are_kept_in_room_of_a_fixed_size() -> None:
    figures = Figures()
    for number in range(2 * SAMPLES):
        figures.sample(number * INTERVAL_S, {"web": Counters(number, None, None, None)})
    points = figures.all("web")
    assert len(points) == SAMPLES
    assert points[0][1] == pytest.approx(SAMPLES)
    assert points[-1][1] == pytest.approx(2 * SAMPLES - 1)
    figures.sample(2 * SAMPLES * INTERVAL_S + KEPT_S, {"web": Counters(1, None, None, None)})
    assert len(figures.all("web")) == 1, "nobody looked for a long time"


def test_who_is_gone_is_forgotten() -> None:
    figures = Figures()
    figures.sample(100, {"web": Counters(1, 1, 1, 1), "db": Counters(1, 1, 1, 1)})
    figures.sample(102, {"web": Counters(1, 1, 1, 1)})
    assert figures.all("db") == []
    assert figures.latest("db") is None
    figures.sample(104, {"web": Counters(1, 1, 1, 1), "db": Counters(1, 10**9, 1, 1)})
    assert figures.latest("db") == [104, 1, None, 1, None]
    assert len(figures.all("db")) == 1, "it was not there before"
