from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.logger.source import MakeSource, Source


@pytest.fixture
def logdir(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def source(logdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeSource]:
    with contextlib.ExitStack() as opened:

        def make(key: str = "web/0", options: str = "", share: Source | None = None) -> Source:
            made = Source(logdir, key, options, monkeypatch)
            if share:
                made.directory = share.directory  # one logger, one lock
            opened.callback(made.close)
            return made

        yield make
