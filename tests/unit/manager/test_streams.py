"""What the manager tells the logger of a stream, and what the logger understands."""
from __future__ import annotations

import pytest

from supervisor.kernel.wire import MAX_NAME
from supervisor.logger.options import parse
from supervisor.manager.streams import options
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


def test_the_longest_options_have_room_in_the_keeper() -> None:
    most = 1 << 60
    longest = Logs(most, most, 3650 * DAY_NS, False, "separate", "drop", most)
    assert len(options(longest)) <= MAX_NAME
