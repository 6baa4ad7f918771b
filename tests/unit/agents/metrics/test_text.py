"""What is told is what prometheus-client would write, in both formats and to the last byte."""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_open
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families as read_plain

from supervisor.agents.metrics.families import STATES, none
from supervisor.agents.metrics.text import Family, escaped, negotiate, number, render
from tests.unit.agents.metrics.kit import SUPERVISOR, told


class Told:
    """A collector of what was read."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def registry(metrics: Iterable[Metric]) -> CollectorRegistry:
    made = CollectorRegistry()
    made.register(Told(metrics))
    return made


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    found = {}
    for metric in read_plain(text):
        for sample in metric.samples:
            place = sample.name, tuple(sorted(sample.labels.items()))
            assert place not in found
            found[place] = sample.value
    return found


def test_openmetrics_is_as_the_library_writes_it() -> None:
    text = render(told(), is_open=True)
    read = list(read_open(text.decode()))  # type: ignore[no-untyped-call] # it is strict
    assert generate_open(registry(read)) == text  # type: ignore[no-untyped-call]


def test_the_plain_format_is_as_the_library_writes_it() -> None:
    """From what it read of the other format, since this one does not tell all of it."""
    read = read_open(render(told(), is_open=True).decode())  # type: ignore[no-untyped-call]
    assert generate_latest(registry(read)) == render(told(), is_open=False)


def test_without_a_supervisor_that_is_all_that_is_told() -> None:
    assert render(none(), is_open=False) == (
        b"# HELP unboxed_up Whether the supervisor answered.\n"
        b"# TYPE unboxed_up gauge\nunboxed_up 0.0\n")


def test_figures_come_out_in_base_units_under_their_labels() -> None:
    found = samples(render(told(), is_open=False).decode())

    def of(name: str, unit: str = "web", replica: str = "0", **labels: str) -> float | None:
        return found.get((f"unboxed_unit_{name}", tuple(sorted(
            {"unit": unit, "replica": replica, **labels}.items()))))

    assert found["unboxed_up", ()] == 1
    assert found["unboxed_supervisor_info", (("version", SUPERVISOR["version"]),)] == 1
    assert found["unboxed_turns_total", ()] == 12_345_678
    assert found["unboxed_process_cpu_seconds_total", (("process", "manager"),)] == 2
    assert ("unboxed_process_open_fds", (("process", "manager"),)) not in found
    assert ("unboxed_process_open_fds", (("process", "logger"),)) not in found
    assert of("state_change_timestamp_seconds") == pytest.approx(1_700_000_000.123456)
    assert (of("starts_total"), of("restarts_total")) == (3, 2)
    assert (of("exits_total", reason="oom"), of("exits_total", reason="clean")) == (1, 0)
    assert of("exits_total", unit="never", reason="oom") == 0
    assert of("cpu_seconds_total") == 1.5
    assert of("disk_read_bytes_total") == 10**12
    assert of("memory_bytes") == 4096
    assert of("swap_bytes") is None
    assert of("memory_bytes", "pool", "1") is None
    assert of("pressure_ratio", resource="cpu", scope="some") == 0.0125
    assert of("pressure_seconds_total", resource="memory", scope="full") == 7e-9
    assert of("pressure_ratio", resource="io", scope="some") is None
    assert (of("log_stored_bytes_total"), of("log_lost_bytes_total")) == (10**9, 20)
    assert of("log_losses_total", "never") is None


def test_exactly_one_state_is_that_of_an_instance() -> None:
    found = samples(render(told(), is_open=False).decode())
    for unit, replica, state in (("web", "0", "running"), ("pool", "1", "starting"),
                                 ("never", "0", "stopped")):
        labels = {"unit": unit, "replica": replica}
        states = {
            one: found["unboxed_unit_state", tuple(sorted({**labels, "state": one}.items()))]
            for one in STATES
        }
        assert [one for one, value in states.items() if value] == [state]


def test_buckets_add_up() -> None:
    found = samples(render(told(), is_open=False).decode())
    name = "unboxed_unit_start_latency_seconds"
    web = (("replica", "0"), ("unit", "web"))
    assert [found[f"{name}_bucket", (("le", le), *web)] for le in ("0.001", "2.5", "60.0", "+Inf")
            ] == [1, 1, 2, 3]
    assert found[f"{name}_count", web] == 3
    assert found[f"{name}_sum", web] == 1.234567891


@pytest.mark.parametrize("value", [
    0, 1, 10, 0.5, 1e-9, 999_999, 1_000_000, 1_234_567.5, 10**15, 2**63, float("inf")])
def test_numbers_are_as_go_writes_them_and_mean_the_same(value: float) -> None:
    assert float(number(value)) == value


def test_label_values_of_any_text_come_back_as_they_were() -> None:
    value = 'a"b\\c\nd\\n'
    text = f'x{{v="{escaped(value)}"}} 1.0\n'
    (metric,) = read_plain(f"# TYPE x gauge\n{text}")
    assert metric.samples[0].labels == {"v": value}


OPEN = "application/openmetrics-text"


@pytest.mark.parametrize("accept, is_open, content_type", [
    ("", False, "text/plain; version=0.0.4; charset=utf-8"),
    ("*/*", False, "text/plain; version=0.0.4; charset=utf-8"),
    (f"{OPEN};version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.3", True,
     f"{OPEN}; version=1.0.0; charset=utf-8; escaping=underscores"),
    (f"{OPEN};version=0.0.1,text/plain;version=0.0.4", False,
     "text/plain; version=0.0.4; charset=utf-8"),
    (f"{OPEN};version=1.0.0;escaping=allow-utf-8", True,
     f"{OPEN}; version=1.0.0; charset=utf-8; escaping=allow-utf-8"),
    (f"{OPEN};version=1.0.0;escaping=dots", True,
     f"{OPEN}; version=1.0.0; charset=utf-8; escaping=underscores"),
    (f"{OPEN};version=x", False, "text/plain; version=0.0.4; charset=utf-8"),
])  # fmt: skip
def test_the_format_is_what_is_asked_for(accept: str, is_open: bool, content_type: str) -> None:
    assert negotiate(accept) == (is_open, content_type)


def test_a_family_without_samples_is_not_told() -> None:
    rows: list[Any] = [Family("a", "counter", "A.", "", []),
                       Family("b_seconds", "counter", "B.", "seconds", ["b_seconds_total 1.0\n"])]
    assert render(rows, is_open=True) == (
        b"# HELP b_seconds B.\n# TYPE b_seconds counter\n# UNIT b_seconds seconds\n"
        b"b_seconds_total 1.0\n# EOF\n")
