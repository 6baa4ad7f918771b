"""The list of targets: whose listeners, under which labels, and when one is none."""
from __future__ import annotations

import argparse
import json
from typing import Any

import pytest

from supervisor.agents.metrics.targets import (
    Listener,
    Target,
    document,
    target,
    tcp_listeners,
)

EVERY = [Target("*", "metrics", "")]


def described(key: str, *listeners: tuple[str, str], goal: str = "up") -> dict[str, Any]:
    return {
        "status": {"key": key, "unit": key.partition("/")[0], "goal": goal},
        "listeners": [{"name": name, "address": address} for name, address in listeners],
    }


def listed(wanted: list[Target], *rows: Listener) -> list[tuple[str, dict[str, str]]]:
    groups = json.loads(document(wanted, rows))
    return [(address, group["labels"]) for group in groups for address in group["targets"]]


@pytest.mark.parametrize("text, wanted", [
    ("web", Target("web", "", "")), ("web:http", Target("web", "http", "")),
    ("web/stats", Target("web", "", "/stats")), ("we*:http/a/b", Target("we*", "http", "/a/b")),
])  # fmt: skip
def test_a_target_is_a_unit_perhaps_a_listener_and_a_path(text: str, wanted: Target) -> None:
    assert target(text) == wanted


@pytest.mark.parametrize("text", ["", ":http", "/metrics", "web:", "web x", "web:a:b", "web:a b"])
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as raised:
        target(text)
    assert str(raised.value) == f"{text!r} is not UNIT[:LISTENER][/PATH]"


def test_only_tcp_listeners_of_what_is_to_run_can_be_scraped() -> None:
    addresses = [
        ("a", "tcp:127.0.0.1:80"), ("b", "tcp6:[::]:81"), ("c", "tcp:0.0.0.0:82"),
        ("d", "unix:/run/x"), ("e", "udp:127.0.0.1:83"), ("f", "tcp6:[fe80::1]:84"),
    ]  # fmt: skip
    assert tcp_listeners(described("web/1", *addresses)) == [
        Listener("web/1", "web", "a", "127.0.0.1:80"), Listener("web/1", "web", "b", "[::1]:81"),
        Listener("web/1", "web", "c", "127.0.0.1:82"),
        Listener("web/1", "web", "f", "[fe80::1]:84"),
    ]  # fmt: skip
    assert tcp_listeners(described("web/1", *addresses, goal="down")) == []


def test_by_default_listeners_of_the_name_metrics_are_targets() -> None:
    rows = [Listener("web", "web", "http", "127.0.0.1:80"),
            Listener("db", "db", "metrics", "127.0.0.1:9187")]
    assert listed(EVERY, *rows) == [
        ("127.0.0.1:9187", {"unit": "db", "replica": "0", "__metrics_path__": "/metrics"})]


def test_the_first_wish_that_fits_says_where_the_metrics_are() -> None:
    wanted = [Target("web/1", "", "/one"), Target("web", "http", "/all"), Target("d?", "", "")]
    rows = [Listener("web/0", "web", "http", "127.0.0.1:80"),
            Listener("web/1", "web", "http", "127.0.0.1:81"),
            Listener("web/1", "web", "admin", "127.0.0.1:91"),
            Listener("web/0", "web", "admin", "127.0.0.1:90"),
            Listener("db", "db", "sql", "127.0.0.1:5432"),
            Listener("other", "other", "http", "127.0.0.1:1")]
    assert [(address, labels["__metrics_path__"]) for address, labels in listed(wanted, *rows)] == [
        ("127.0.0.1:5432", "/metrics"), ("127.0.0.1:80", "/all"), ("127.0.0.1:81", "/one"),
        ("127.0.0.1:91", "/one"),
    ]  # fmt: skip


def test_an_address_that_instances_share_is_one_target_of_the_unit() -> None:
    rows = [Listener(f"web/{n}", "web", "metrics", "127.0.0.1:80") for n in range(3)]
    assert listed(EVERY, *rows) == [
        ("127.0.0.1:80", {"unit": "web", "__metrics_path__": "/metrics"})]


def test_the_same_targets_are_the_same_text_in_whatever_order() -> None:
    rows = [Listener(key, key, "metrics", f"127.0.0.1:{n}") for n, key in enumerate("cab")]
    assert document(EVERY, rows) == document(EVERY, rows[::-1])
    assert document(EVERY, []) == "[]\n"
