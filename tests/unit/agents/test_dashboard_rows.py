from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from supervisor.agents.dashboard import rows as module
from supervisor.agents.dashboard.rows import Rows, rounded, row

STATUS: dict[str, Any] = {
    "key": "web", "unit": "web", "state": "running", "goal": "up", "since_ns": 5_000_000_123,
    "pid": 7, "ready": True, "memory_bytes": 123_456_789, "cpu_ns": 1_234_567_890,
}


def test_a_browser_gets_the_fields_that_changed_since_it_looked() -> None:
    rows = Rows()
    both = {"a": {"state": "running", "pid": 1}, "b": {"state": "running", "pid": 2}}
    rows.update(both, whole=True)
    seen = rows.version
    assert not rows.update({"a": {"state": "running", "pid": 1}}, whole=False)
    assert rows.version == seen
    assert rows.update({"a": {"state": "failed", "pid": 1}}, whole=False)
    assert rows.since(seen) == ({"a": {"state": "failed"}}, [])
    assert rows.since(rows.version) == ({}, [])


def test_what_is_gone_is_told_until_it_is_there_again() -> None:
    rows = Rows()
    rows.update({"a": {"pid": 1}, "b": {"pid": 2}}, whole=True)
    seen = rows.version
    rows.update({"a": {"pid": 1}}, whole=True)
    assert rows.since(seen) == ({}, ["b"])
    rows.update({"a": {"pid": 1}, "b": {"pid": 2}}, whole=True)
    assert rows.since(seen) == ({"b": {"pid": 2}}, [])


def test_who_has_not_looked_for_too_long_gets_everything(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 2)
    rows = Rows()
    rows.update({str(n): {"pid": n} for n in range(5)}, whole=True)
    seen = rows.version
    rows.update({str(n): {"pid": n} for n in range(3)}, whole=True)
    told = rows.since(seen)
    assert told is not None
    assert sorted(told[1]) == ["3", "4"]
    rows.update({"0": {"pid": 0}}, whole=True)
    assert rows.since(seen) is None
    assert rows.since(99_999) is None
    assert rows.since(0) == ({"0": {"pid": 0}}, [])


@given(st.lists(st.tuples(
    st.dictionaries(st.sampled_from("abc"), st.dictionaries(
        st.sampled_from("xy"), st.integers(0, 2), min_size=2), max_size=3),
    st.booleans(), st.booleans())))
def test_a_browser_that_applies_what_it_is_told_has_what_there_is(
    steps: list[tuple[dict[str, Any], bool, bool]],
) -> None:
    rows = Rows()
    truth: dict[str, Any] = {}
    page: dict[str, Any] = {}
    version = 0
    for update, whole, looks in steps:
        rows.update(update, whole=whole)
        truth = dict(update) if whole else {**truth, **update}
        if looks:
            told = rows.since(version)
            assert told is not None
            changed, gone = told
            for key, fields in changed.items():
                page[key] = {**page.get(key, {}), **fields}
            for key in gone:
                page.pop(key, None)
            version = rows.version
            assert page == truth


def test_figures_are_rounded_to_what_is_shown_and_times_are_whole_milliseconds() -> None:
    found = row(STATUS, 12.345, 0, may_act=True)
    assert found["memory"] == 123_000_000
    assert found["cpu"] == 12.3
    assert found["cpu_s"] == 1.23
    assert found["since"] == 5000
    assert found["act"] is True
    assert (found["attached"], found["agents"], found["behind"]) == ([], [], None)
    agent = {**STATUS, "attached": [f"u{n}" for n in range(30)], "behind_bytes": 7}
    found = row(agent, None, 5, may_act=False)
    assert (found["attached"][-1], found["attached_count"]) == ("u19", 30)
    assert (found["behind"], found["lost"]) == (7, 5)
    assert [rounded(n) for n in (None, 0, 999, 1234, 99_999)] == [None, 0, 999, 1230, 99_900]
