"""What the manager tells the logger of a stream, and what the logger understands."""
from __future__ import annotations

import pytest

from supervisor.kernel import plan
from supervisor.kernel.wire import MAX_NAME
from supervisor.logger import form
from supervisor.logger.options import parse
from supervisor.manager.streams import names, options, outlet
from supervisor.model.unit import Logs

DAY_NS = 86_400 * 10**9


@pytest.mark.parametrize(
    "logs, expected",
    [
        (Logs(), (256 << 20, 16 << 20, 0, True, False, 0)),
        (Logs(1 << 20, 1 << 16, on_full="drop"), (1 << 20, 1 << 16, 0, True, True, 0)),
        (Logs(max_age_ns=DAY_NS, compress=False), (256 << 20, 16 << 20, 86_400, False, False, 0)),
        (Logs(max_age_ns=1), (256 << 20, 16 << 20, 1, True, False, 0)),
        (Logs(rate_bytes=1000), (256 << 20, 16 << 20, 0, True, False, 1000)),
    ],
)
def test_the_logger_reads_what_the_manager_writes(logs: Logs, expected: tuple[object, ...]) -> None:
    one = parse(options(logs))
    found = (one.keep_bytes, one.segment_bytes, one.max_age_s, one.compress, one.drop)
    assert (*found, one.rate_bytes) == expected


@pytest.mark.parametrize(
    "logs, expected",
    [
        (Logs(), ("web/0", "", "")),
        (Logs(stderr="separate"), ("web/0", "web/0!err", "")),
        (Logs(to="console"), ("", "", "/dev/console")),
        (Logs(to="null"), ("", "", "/dev/null")),
        (Logs(to="inherit"), ("", "", "")),
    ],
)
def test_output_goes_where_the_unit_says(logs: Logs, expected: tuple[str, str, str]) -> None:
    found = outlet(logs, "web/0")
    assert (found.stream, found.errors, found.path) == expected
    assert bool(found.options) == bool(found.stream)


def test_both_sides_call_standard_error_alone_the_same() -> None:
    assert form.ERRORS == plan.ERRORS
    apart = outlet(Logs(stderr="separate"), "web")
    assert names("web") == (f"log:{apart.stream}", f"log:{apart.errors}")


def test_the_longest_options_have_room_in_the_keeper() -> None:
    most = 1 << 60
    longest = Logs(most, most, 3650 * DAY_NS, False, "separate", "drop", most)
    assert len(options(longest)) <= MAX_NAME
