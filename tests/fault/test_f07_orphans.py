"""Fault 7: 10,000 orphans end at once: none is left as a zombie after 2 s."""

from __future__ import annotations

import os
import time

from tests.keeper.keeperclient import Keeper, plan, small_program
from tests.stack import children

ORPHANS = 10_000
LIMIT_SECONDS = 2.0


def test_ten_thousand_orphans_are_drained_in_two_seconds() -> None:
    """A process with 10,000 ended children ends without having waited for one of them, so that all
    of them are the keeper's at once."""
    program = small_program()
    with Keeper() as keeper:
        manager, logger = keeper.manager(), keeper.logger()
        manager.run(1, "service", plan("/bin/sleep", "1000"))
        manager.run(2, "forker", plan(program, "orphans", str(ORPHANS)))
        record = manager.exited(2)
        assert (record.code, record.status) == (os.CLD_EXITED, 0)
        while (ready := manager.hello()[2])[1] < ORPHANS:
            assert time.monotonic() - record.ended / 1e9 < LIMIT_SECONDS
        seconds = time.monotonic() - record.ended / 1e9
        assert ready[1] == ORPHANS
        assert seconds < LIMIT_SECONDS
        (service,) = manager.hello()[0]
        assert sorted(children(keeper.pid)) == sorted([manager.pid, logger.pid, service.pid])
