"""Figures and states in words: short, never wrong by rounding, and the same everywhere."""
from __future__ import annotations

from typing import Any

import pytest

from supervisor.cli import words

S = 10**9
NOW = 1_800_000_000 * S


@pytest.mark.parametrize("ns, text", [
    (0, "0 s"), (-5 * S, "0 s"), (400_000_000, "0.4 s"), (9 * S, "9 s"), (9_960_000_000, "10 s"),
    (48 * S, "48 s"), (99 * S, "99 s"), (100 * S, "2 min"), (3 * 60 * S, "3 min"),
    (5_970 * S, "100 min"), (6_000 * S, "2 h"), (47 * 3600 * S, "47 h"), (5 * 86400 * S, "5 d"),
])  # fmt: skip
def test_durations_are_coarse_and_short(ns: int, text: str) -> None:
    assert words.span(ns) == text


@pytest.mark.parametrize("count, text", [
    (None, ""), (0, "0K"), (812 * 1024, "812K"), (1023 * 1024, "1.0M"), (12_900_000, "12.3M"),
    (123 * 2**20, "123M"), (4 * 2**30, "4.0G"), (5 * 2**50, "5P"),
])  # fmt: skip
def test_sizes_have_at_most_four_characters_and_a_unit(count: int | None, text: str) -> None:
    assert words.size(count) == text


@pytest.mark.parametrize("ns, text", [
    (None, ""), (20_000_000, "0.02s"), (12_340_000_000, "12.3s"), (250 * S, "4m10s"),
    (25_320 * S, "7h02m"),
])  # fmt: skip
def test_cpu_time(ns: int | None, text: str) -> None:
    assert words.cpu(ns) == text


def test_seconds_left_are_rounded_up_so_that_zero_is_never_shown_early() -> None:
    assert words.left(NOW + 1, NOW) == "1 s left"
    assert words.left(NOW + 48 * S, NOW) == "48 s left"
    assert words.left(NOW, NOW) == "overdue"


def remark(state: str, **fields: Any) -> str:
    return words.remark({"state": state, **fields}, NOW)


def test_in_back_off_it_says_how_it_ended_when_it_tries_next_and_how_often_it_may() -> None:
    assert remark("backoff", last_exit="exit 1", next_try_ns=NOW + 12 * S, recent_restarts=4,
                  restart_limit=10) == "exit 1; next try in 12 s (4/10)"
    assert remark("backoff", last_exit="exit 1", next_try_ns=NOW + 12 * S, recent_restarts=4,
                  restart_limit=None) == "exit 1; next try in 12 s (try 4)"


def test_an_instance_on_its_way_says_what_it_waits_for_and_until_when() -> None:
    assert remark("waiting", waiting_for=["db", "cache"]) == "waiting for db, cache"
    assert remark("starting", deadline_ns=NOW + 48 * S) == "waiting for ready, 48 s left"
    assert remark("stopping", deadline_ns=NOW + 8 * S) == "ending its processes, 8 s left"
    assert remark("stopping", waiting_for=["web"]) == "waiting for web"


def test_a_failure_names_its_reason_once() -> None:
    assert remark("failed", reason="exit 1, 10 times in 5 min", last_exit="exit 1") == (
        "exit 1, 10 times in 5 min")
    assert remark("failed", reason="directory /srv: no such file", last_exit="") == (
        "directory /srv: no such file")


def test_a_running_service_shows_its_own_words_its_last_end_and_a_changed_file() -> None:
    assert remark("running") == ""
    assert remark("running", last_exit="killed by SIGTERM", restarts=0) == ""
    assert remark("running", status_text="12 clients", last_exit="killed by SIGKILL", restarts=1,
                  stale=True) == (
        "12 clients; last: killed by SIGKILL; unit file changed since its start")
    assert remark("running", removed=True) == "its unit file is gone"


def test_a_summary_counts_the_alarming_states_last() -> None:
    states = ["failed", "running", "backoff", "running", "sideways"]
    assert words.summary([{"state": state} for state in states]) == (
        "2 running, 1 backoff, 1 failed, 1 sideways")
    assert words.summary([]) == "no units"


def test_every_state_has_a_predicate() -> None:
    assert words.SAID.keys() == words.STATES.keys()
    assert words.SAID["failed"] == "has failed"


def test_the_table_says_how_the_last_run_ended_and_leaves_by_whom_to_why() -> None:
    status = {"state": "running", "restarts": 1, "status_text": "open",
              "last_exit": "killed by SIGKILL, sent by uid 0 with `unboxed kill`"}
    assert words.remark(status, NOW) == "open; last: killed by SIGKILL"
