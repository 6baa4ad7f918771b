"""Where a feed begins in a stream that is just being written."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.logger import supply
from supervisor.logger.cursor import Cursor
from supervisor.logger.segment import Segment


class Growing(Cursor):
    """Its first line is written just after all segments were looked at."""

    def segments(self) -> Iterator[Segment]:
        yield from super().segments()
        Path(self.directory, f"{0:016x}.log").write_bytes(b"first\n")


@pytest.mark.parametrize("begun", [True, False])
def test_what_is_written_while_its_begin_is_looked_for_is_not_left_out(
    tmp_path: Path, begun: bool
) -> None:
    (tmp_path / "web").mkdir()
    if begun:
        (tmp_path / "web" / f"{0:016x}.log").write_bytes(b"")
    assert supply._since(Growing(str(tmp_path), "web"), 5) == 0
