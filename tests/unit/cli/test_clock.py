"""Times: of today only the time of day, of another day its date too."""
from __future__ import annotations

import time

import pytest

from supervisor.cli.clock import clock, moment

T0 = 1_795_233_380  # 2026-11-21T03:56:20Z


def test_a_moment_of_another_day_has_its_date(monkeypatch: pytest.MonkeyPatch) -> None:
    local = time.gmtime
    monkeypatch.setattr(time, "localtime", lambda at=T0: local(at))
    assert clock(T0 * 10**9 + 123_000_000) == "03:56:20.123"
    assert moment(T0 * 10**9 + 123_000_000) == "03:56:20.123"
    assert moment((T0 - 86_400) * 10**9) == "2026-11-20 03:56:20.000"
    assert moment((T0 + 86_400) * 10**9) == "2026-11-22 03:56:20.000"
